//! GET_ROWS: rows picked from a table.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, fresh, is_vector};
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
    let fits = is_vector(ids, DType::I32) && a.ne[2..] == [1; 2];
    ensure(fits, Broken::two(0, 1, "a matrix and a vector of i32 row numbers"))?;
    ensure(a.has_contiguous_rows(), Broken::one(0, "rows without gaps"))?;
    let dtype = if a.dtype == DType::I32 { DType::I32 } else { DType::F32 };
    fresh(dtype, [a.ne[0], ids.ne[0], 1, 1])
}

impl Graph {
    /// Rows of the matrix `a` at the i32 indices `ids` (`[n]`), as f32 `[ne0, n]` (`ggml_get_rows`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn get_rows(&mut self, a: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        self.node(Op::GetRows, &[a, ids])
    }
}
