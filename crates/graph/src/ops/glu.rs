//! GLU: gated linear units, of two tensors or of the halves of one.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "GLU",
    ggml_id: 100,
    n_src: 1..=2,
    can_inplace: false,
    overwrites: &[0, 1],
    form: Form::Computed(rule),
};

/// The function on the gate (`ggml_glu_op`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GluOp {
    /// `relu(gate) * up`.
    Reglu,
    /// `gelu(gate) * up`.
    Geglu,
    /// `silu(gate) * up`.
    Swiglu,
    /// `x * sigmoid(alpha * x) * (y + 1)`, `x` being the gate, at most `limit`, and `y` up, between `-limit` and `limit`.
    SwigluOai {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// Bound of gate and up.
        limit: f32,
    },
    /// `gelu_erf(gate) * up`.
    GegluErf,
    /// `gelu_quick(gate) * up`.
    GegluQuick,
}

impl GluOp {
    /// One of each kind, for tests.
    pub const ALL: [GluOp; 6] = [
        GluOp::Reglu,
        GluOp::Geglu,
        GluOp::Swiglu,
        GluOp::SwigluOai { alpha: 1.702, limit: 7.0 },
        GluOp::GegluErf,
        GluOp::GegluQuick,
    ];
}

fn rule(op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let Op::Glu { swapped, .. } = op else { return Err(Broken::node("an op of this rule")) };
    f32_rows(src, 0)?;
    let mut ne = src[0].ne;
    if let Some(up) = src.get(1) {
        f32_rows(src, 1)?;
        ensure(up.ne == ne, Broken::two(0, 1, "equal shapes"))?;
        ensure(!swapped, Broken::two(0, 1, "halves of one tensor, to be swapped"))?;
    } else {
        ensure(ne[0].is_multiple_of(2), Broken::one(0, "rows of two halves"))?;
        ne[0] /= 2;
    }
    fresh(DType::F32, ne)
}

impl Graph {
    /// `f(gate) * up` (`ggml_glu_split`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not f32 rows of equal shapes.
    pub fn glu(&mut self, op: GluOp, gate: TensorId, up: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Glu { op, swapped: false }, &[gate, up])
    }

    /// `f(gate) * up` of the halves of each row of `a`: gate first, or up first if `swapped` (`ggml_glu`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows of two halves.
    pub fn glu_halves(&mut self, op: GluOp, a: TensorId, swapped: bool) -> Result<TensorId, Error> {
        self.node(Op::Glu { op, swapped }, &[a])
    }
}
