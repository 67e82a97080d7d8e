//! MUL_MAT: every row of one matrix times every row of another.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "MUL_MAT",
    ggml_id: 29,
    n_src: 2..=2,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let (a, b) = (src[0], src[1]);
    let repeats = (2..4).all(|i| a.ne[i] != 0 && b.ne[i].is_multiple_of(a.ne[i]));
    let expected = "equal ne[0] and a's outer dimensions dividing b's";
    ensure(a.ne[0] == b.ne[0] && repeats, Broken::two(0, 1, expected))?;
    ensure(a.has_contiguous_rows(), Broken::one(0, "rows without gaps"))?;
    f32_rows(src, 1)?;
    fresh(DType::F32, [a.ne[1], b.ne[1], b.ne[2], b.ne[3]])
}

impl Graph {
    /// Rows of `a` (`[k, n, x, y]`) times rows of `b` (`[k, m, ..]`, f32), giving f32 `[n, m, ..]`; `a` is
    /// repeated over `b`'s outer dimensions (`ggml_mul_mat`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that do not multiply.
    pub fn mul_mat(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        self.node(Op::MulMat, &[a, b])
    }
}
