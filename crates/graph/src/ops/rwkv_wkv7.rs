//! RWKV_WKV7: the recurrence of RWKV 7.

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome};
use super::rwkv_wkv6::{heads_and_states, rows_and_states};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "RWKV_WKV7",
    ggml_id: 84,
    n_src: 7..=7,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    heads_and_states(src, &[0, 1, 2, 3, 4, 5], 6)?;
    rows_and_states(src[0], src[6])
}

impl Graph {
    /// For each token of each head, with receptances `r`, decays `w`, keys `k`, values `v` and the two halves `a`, `b` of a correction, all f32
    /// `[head size, n_head, n_tokens]`: `r s`, where `s` was `w s + k v + (a s) b` before. The states `s` are f32 `[head size * head size *
    /// n_head, n_seqs]`. Rows of all tokens, then the new states (`ggml_rwkv_wkv7`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    #[allow(clippy::many_single_char_names)] // the reference's names
    pub fn rwkv_wkv7(
        &mut self,
        [r, w, k, v, a, b]: [TensorId; 6],
        state: TensorId,
    ) -> Result<TensorId, Error> {
        self.node(Op::RwkvWkv7, &[r, w, k, v, a, b, state])
    }
}
