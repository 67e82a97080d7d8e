//! ARGSORT: where the elements of each row stand in its order.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "ARGSORT",
    ggml_id: 69,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

/// Which elements come first (`ggml_sort_order`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortOrder {
    /// Small ones.
    Ascending,
    /// Large ones.
    Descending,
}

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    let counted = i32::try_from(src[0].ne[0]).is_ok();
    ensure(counted, Broken::one(0, "rows of fewer than 2^31 elements"))?;
    fresh(DType::I32, src[0].ne)
}

impl Graph {
    /// For each row, its elements' numbers (i32) in the order of the elements (`ggml_argsort`). The first `k` of the descending
    /// order are `ggml_argsort_top_k`.
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn argsort(&mut self, a: TensorId, order: SortOrder) -> Result<TensorId, Error> {
        self.node(Op::Argsort(order), &[a])
    }
}
