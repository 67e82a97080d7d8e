//! GATED_LINEAR_ATTN: linear attention with a gate on its state.

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome};
use super::rwkv_wkv6::{heads_and_states, rows_and_states};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "GATED_LINEAR_ATTN",
    ggml_id: 83,
    n_src: 5..=5,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    heads_and_states(src, &[0, 1, 2, 3], 4)?;
    rows_and_states(src[0], src[4])
}

impl Graph {
    /// For each token of each head, with keys `k`, values `v`, queries `q` and gates `g`, all f32 `[head size, n_head, n_tokens]`: `scale q s`,
    /// where `s` was `g s + k v` before. The states `s` are f32 `[head size * head size * n_head, n_seqs]`. Rows of all tokens, then the new
    /// states (`ggml_gated_linear_attn`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn gated_linear_attn(
        &mut self,
        [k, v, q, g]: [TensorId; 4],
        state: TensorId,
        scale: f32,
    ) -> Result<TensorId, Error> {
        self.node(Op::GatedLinearAttn { scale }, &[k, v, q, g, state])
    }
}
