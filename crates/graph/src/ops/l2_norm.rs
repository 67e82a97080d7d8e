//! L2_NORM: rows of length 1.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "L2_NORM",
    ggml_id: 28,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// Each row divided by its length, or by `eps` if it is shorter (`ggml_l2_norm`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn l2_norm(&mut self, a: TensorId, eps: f32) -> Result<TensorId, Error> {
        self.node(Op::L2Norm { eps }, &[a])
    }
}
