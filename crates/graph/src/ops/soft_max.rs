//! SOFT_MAX: rows of probabilities, with mask and ALiBi slopes.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh, is_vector};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "SOFT_MAX",
    ggml_id: 46,
    n_src: 1..=3,
    can_inplace: true,
    overwrites: &[0, 1, 2],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    let a = src[0];
    if let Some(mask) = src.get(1) {
        let fits = mask.ne[0] == a.ne[0]
            && mask.ne[1] >= a.ne[1]
            && (2..4).all(|i| mask.ne[i] != 0 && a.ne[i].is_multiple_of(mask.ne[i]));
        let is_mask = matches!(mask.dtype, DType::F16 | DType::F32) && mask.is_contiguous();
        ensure(fits && is_mask, Broken::two(0, 1, "a contiguous f16 or f32 mask that covers a"))?;
    }
    if let Some(sinks) = src.get(2) {
        let fits = is_vector(sinks, DType::F32) && sinks.ne[0] == a.ne[2];
        ensure(fits, Broken::two(0, 2, "one f32 sink for each head"))?;
    }
    fresh(DType::F32, a.ne)
}

impl Graph {
    /// `softmax(a * scale + slope * mask)` per row; the mask (f16 or f32) is repeated over heads
    /// (`ggml_soft_max_ext`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] if `a` is not f32 rows, or the mask does not cover it.
    pub fn soft_max(
        &mut self,
        a: TensorId,
        mask: Option<TensorId>,
        scale: f32,
        max_bias: f32,
    ) -> Result<TensorId, Error> {
        let op = Op::SoftMax { scale, max_bias };
        match mask {
            Some(mask) => self.node(op, &[a, mask]),
            None => self.node(op, &[a]),
        }
    }

    /// As [`Graph::soft_max`]; each head's `sinks` entry (f32 `[n_head]`) is one more score that takes its share of the sum and of nothing
    /// else (`ggml_soft_max_add_sinks`).
    ///
    /// # Errors
    /// As [`Graph::soft_max`], and if there is not one sink for each head (`a.ne[2]`).
    pub fn soft_max_with_sinks(
        &mut self,
        a: TensorId,
        mask: TensorId,
        sinks: TensorId,
        scale: f32,
        max_bias: f32,
    ) -> Result<TensorId, Error> {
        self.node(Op::SoftMax { scale, max_bias }, &[a, mask, sinks])
    }
}
