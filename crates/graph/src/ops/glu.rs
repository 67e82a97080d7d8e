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
    n_src: 2..=2,
    can_inplace: false,
    overwrites: &[0, 1],
    form: Form::Computed(rule),
};

/// Gated linear units of two operands (`ggml_glu_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GluOp {
    /// `silu(gate) * up`.
    Swiglu,
    /// `gelu(gate) * up`.
    Geglu,
}

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    f32_rows(src, 1)?;
    ensure(src[0].ne == src[1].ne, Broken::two(0, 1, "equal shapes"))?;
    fresh(DType::F32, src[0].ne)
}

impl Graph {
    /// `f(gate) * up` (`ggml_glu_split`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not f32 rows of equal shapes.
    pub fn glu(&mut self, op: GluOp, gate: TensorId, up: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Glu(op), &[gate, up])
    }
}
