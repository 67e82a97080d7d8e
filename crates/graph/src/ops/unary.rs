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
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// `alpha_p x^2 + beta x` where `x` is positive, else `alpha_n (e^min(x, eps) - 1 - x) + beta x`.
    Xielu {
        /// Of what is not positive.
        alpha_n: f32,
        /// Of what is positive.
        alpha_p: f32,
        /// Of both.
        beta: f32,
        /// Upper bound inside the exponential.
        eps: f32,
    },
}

impl UnaryOp {
    /// One of each kind, in the reference's order.
    pub const ALL: [UnaryOp; 17] = [
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
        UnaryOp::Xielu { alpha_n: 1.2, alpha_p: 0.9, beta: 0.5, eps: -1e-6 },
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
