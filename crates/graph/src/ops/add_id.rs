//! ADD_ID: rows that numbers name, added to columns.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "ADD_ID",
    ggml_id: 3,
    n_src: 3..=3,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let (a, rows, ids) = (src[0], src[1], src[2]);
    f32_rows(src, 0)?;
    f32_rows(src, 1)?;
    let fits = rows.ne[0] == a.ne[0] && rows.ne[2..] == [1; 2] && a.ne[3] == 1;
    ensure(fits, Broken::two(0, 1, "a table of rows as long as the columns"))?;
    let numbers = ids.dtype == DType::I32 && ids.has_contiguous_rows() && ids.ne == [a.ne[1], a.ne[2], 1, 1];
    ensure(numbers, Broken::two(0, 2, "an i32 row number for each column"))?;
    fresh(DType::F32, a.ne)
}

impl Graph {
    /// Adds to column `i` of token `t` in `a` (f32 `[n, n_used, n_tokens]`) the row of `b` (f32 `[n, n_rows]`) that `ids` (i32
    /// `[n_used, n_tokens]`) names (`ggml_add_id`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn add_id(&mut self, a: TensorId, b: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        self.node(Op::AddId, &[a, b, ids])
    }
}
