//! SUM_ROWS: the sum of each row.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "SUM_ROWS",
    ggml_id: 15,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    let [_, ne1, ne2, ne3] = src[0].ne;
    fresh(DType::F32, [1, ne1, ne2, ne3])
}

impl Graph {
    /// The sum of each row: f32 `[1, ..]` (`ggml_sum_rows`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn sum_rows(&mut self, a: TensorId) -> Result<TensorId, Error> {
        self.node(Op::SumRows, &[a])
    }
}
