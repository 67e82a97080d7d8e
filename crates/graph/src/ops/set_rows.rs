//! SET_ROWS: rows put into a table.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, is_vector};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "SET_ROWS",
    ggml_id: 42,
    n_src: 3..=3,
    can_inplace: false,
    overwrites: &[2],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    let (rows, ids, table) = (src[0], src[1], src[2]);
    let matrices = table.ne[0] == rows.ne[0] && table.ne[2..] == [1; 2] && rows.ne[2..] == [1; 2];
    ensure(matrices, Broken::two(2, 0, "two matrices of the same row length"))?;
    let numbered = is_vector(ids, DType::I64) && ids.ne[0] == rows.ne[1];
    ensure(numbered, Broken::two(0, 1, "one i64 row number for each row"))?;
    let apart = table.has_contiguous_rows() && table.is_injective();
    ensure(apart, Broken::one(2, "rows without gaps that do not overlap"))?;
    Ok(Outcome::Over(2))
}

impl Graph {
    /// Writes the rows of `rows` (f32 `[ne0, n]`) into the matrix `a` at the i64 indices `ids` (`[n]`),
    /// converted to `a`'s type; the result is a view of `a` (`ggml_set_rows`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn set_rows(&mut self, a: TensorId, rows: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        self.node(Op::SetRows, &[rows, ids, a])
    }
}
