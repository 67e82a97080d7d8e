//! MUL_MAT_ID: rows of several matrices, of which each column of the other operand names some.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "MUL_MAT_ID",
    ggml_id: 30,
    n_src: 3..=3,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let (matrices, b, ids) = (src[0], src[1], src[2]);
    ensure(matrices.has_contiguous_rows(), Broken::one(0, "rows without gaps"))?;
    ensure(matrices.ne[3] == 1, Broken::one(0, "matrices one behind the other"))?;
    f32_rows(src, 1)?;
    ensure(b.ne[3] == 1, Broken::one(1, "columns of tokens"))?;
    let numbers = ids.dtype == DType::I32 && ids.has_contiguous_rows() && ids.ne[2..] == [1; 2];
    ensure(numbers, Broken::one(2, "rows of i32 matrix numbers"))?;
    ensure(ids.ne[1] == b.ne[2], Broken::two(1, 2, "numbers for each token"))?;
    let one_each = b.ne[1] != 0 && ids.ne[0].is_multiple_of(b.ne[1]);
    ensure(one_each, Broken::two(1, 2, "a column for each number, or one for all"))?;
    ensure(matrices.ne[0] == b.ne[0], Broken::two(0, 1, "equal ne[0]"))?;
    fresh(DType::F32, [matrices.ne[1], ids.ne[0], b.ne[2], 1])
}

impl Graph {
    /// Of the matrices `a` (`[k, n, n_matrices]`), token `t` takes those that `ids` (i32 `[n_used, n_tokens]`) names, each times its
    /// column of `b` (f32 `[k, n_used, n_tokens]`, or `[k, 1, n_tokens]` for all of them): f32 `[n, n_used, n_tokens]`
    /// (`ggml_mul_mat_id`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn mul_mat_id(&mut self, a: TensorId, b: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        self.node(Op::MulMatId, &[a, b, ids])
    }
}
