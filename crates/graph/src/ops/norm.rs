//! NORM: rows of mean 0 and variance 1.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "NORM",
    ggml_id: 24,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// Mean 0 and variance 1 per row (`ggml_norm`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn norm(&mut self, a: TensorId, eps: f32) -> Result<TensorId, Error> {
        self.node(Op::Norm { eps }, &[a])
    }
}
