//! LEAKY_RELU: the positive part, and a share of the negative one.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "LEAKY_RELU",
    ggml_id: 71,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// `x` where it is positive, else `slope * x` (`ggml_leaky_relu`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn leaky_relu(&mut self, a: TensorId, slope: f32) -> Result<TensorId, Error> {
        self.node(Op::LeakyRelu { slope }, &[a])
    }
}
