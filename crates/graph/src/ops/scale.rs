//! SCALE: a factor and a summand for every element.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "SCALE",
    ggml_id: 32,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// `a * scale + bias` (`ggml_scale_bias`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn scale(&mut self, a: TensorId, scale: f32, bias: f32) -> Result<TensorId, Error> {
        self.node(Op::Scale { scale, bias }, &[a])
    }
}
