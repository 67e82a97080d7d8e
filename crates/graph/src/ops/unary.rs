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

/// The function (`ggml_unary_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `|x|`.
    Abs,
    /// -1, 0 or 1.
    Sgn,
    /// `-x`.
    Neg,
    /// 1 where `x` is positive, else 0.
    Step,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` where it is positive, else `e^x - 1`.
    Elu,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Tanh approximation, through ggml's f16 table.
    Gelu,
    /// Sigmoid approximation, through ggml's f16 table.
    GeluQuick,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * hardsigmoid(x)`.
    HardSwish,
    /// `(x + 3) / 6` between 0 and 1.
    HardSigmoid,
    /// `e^x`.
    Exp,
    /// `ln(1 + e^x)`.
    Softplus,
    /// By the error function, exactly.
    GeluErf,
}

impl UnaryOp {
    /// All of them, in the reference's order.
    pub const ALL: [UnaryOp; 16] = [
        UnaryOp::Abs,
        UnaryOp::Sgn,
        UnaryOp::Neg,
        UnaryOp::Step,
        UnaryOp::Tanh,
        UnaryOp::Elu,
        UnaryOp::Relu,
        UnaryOp::Sigmoid,
        UnaryOp::Gelu,
        UnaryOp::GeluQuick,
        UnaryOp::Silu,
        UnaryOp::HardSwish,
        UnaryOp::HardSigmoid,
        UnaryOp::Exp,
        UnaryOp::Softplus,
        UnaryOp::GeluErf,
    ];
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
