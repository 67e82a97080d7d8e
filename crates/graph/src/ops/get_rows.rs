//! GET_ROWS: rows picked from a table.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "GET_ROWS",
    ggml_id: 40,
    n_src: 2..=2,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let (a, ids) = (src[0], src[1]);
    let numbers = ids.dtype == DType::I32 && ids.has_contiguous_rows() && ids.ne[3] == 1;
    ensure(numbers, Broken::one(1, "rows of i32 row numbers"))?;
    let one_each = a.ne[2..] == ids.ne[1..3];
    ensure(one_each, Broken::two(0, 1, "numbers for each of as many tables"))?;
    ensure(a.has_contiguous_rows(), Broken::one(0, "rows without gaps"))?;
    let dtype = if a.dtype == DType::I32 { DType::I32 } else { DType::F32 };
    fresh(dtype, [a.ne[0], ids.ne[0], ids.ne[1], ids.ne[2]])
}

impl Graph {
    /// Rows of the tables `a` (`[ne0, n_rows, x, y]`) at the i32 indices `ids` (`[n, x, y]`), as f32 `[ne0, n, x, y]`
    /// (`ggml_get_rows`). Mostly there is one table and a vector of indices.
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn get_rows(&mut self, a: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        self.node(Op::GetRows, &[a, ids])
    }
}
