//! UNARY: element-wise functions of one operand.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "UNARY",
    ggml_id: 91,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

/// Element-wise functions of one operand (`ggml_unary_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `x * sigmoid(x)`.
    Silu,
    /// Tanh approximation, through ggml's f16 table.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Graph {
    /// An element-wise function (`ggml_unary`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn unary(&mut self, op: UnaryOp, a: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Unary(op), &[a])
    }
}
