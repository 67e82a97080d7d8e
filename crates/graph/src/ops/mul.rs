//! MUL: element-wise, the second operand repeated.

use super::Op;
use super::rule::{Form, OpRule, repeated};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "MUL",
    ggml_id: 7,
    n_src: 2..=2,
    can_inplace: true,
    overwrites: &[0, 1],
    form: Form::Computed(repeated),
};

impl Graph {
    /// `a * b`; `b` is repeated to `a`'s shape (`ggml_mul`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not f32 rows, or do not repeat.
    pub fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Mul, &[a, b])
    }
}
