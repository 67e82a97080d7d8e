//! RWKV_WKV6: the recurrence of RWKV 6.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "RWKV_WKV6",
    ggml_id: 82,
    n_src: 6..=6,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    heads_and_states(src, &[0, 1, 2, 4], 5)?;
    let bonus = src[3].dtype == DType::F32 && src[3].is_contiguous();
    ensure(
        bonus && src[3].n_elements() == src[0].ne[0] * src[0].ne[1],
        Broken::one(3, "a contiguous f32 row of all heads"),
    )?;
    rows_and_states(src[0], src[5])
}

/// Operands `like` are contiguous f32 `[head size, n_head, n_tokens]`, all alike; operand `state` has a square state for each head of each of
/// its sequences, `[.., n_seqs]`, that share the tokens equally.
pub(super) fn heads_and_states(src: &[&Tensor], like: &[usize], state: usize) -> Result<(), Broken> {
    let first = src[like[0]];
    for i in like {
        ensure(
            src[*i].dtype == DType::F32 && src[*i].is_contiguous(),
            Broken::one(*i, "a contiguous f32 tensor"),
        )?;
        ensure(
            src[*i].ne == first.ne && first.ne[3] == 1,
            Broken::two(like[0], *i, "equal shapes of three dimensions"),
        )?;
    }
    let [size, n_head, n_tokens, _] = first.ne;
    let s = src[state];
    ensure(s.dtype == DType::F32 && s.is_contiguous(), Broken::one(state, "a contiguous f32 tensor"))?;
    let squares =
        s.ne[2..] == [1, 1] && size.checked_mul(size).and_then(|n| n.checked_mul(n_head)) == Some(s.ne[0]);
    let shared = s.ne[1] != 0 && n_tokens.is_multiple_of(s.ne[1]);
    ensure(
        squares && shared,
        Broken::two(like[0], state, "a square state for each head of sequences that share the tokens"),
    )
}

/// A row for each token, then the states in rows as long.
pub(super) fn rows_and_states(heads: &Tensor, state: &Tensor) -> Result<Outcome, Broken> {
    let [size, n_head, n_tokens, _] = heads.ne;
    fresh(DType::F32, [size * n_head, n_tokens + size * state.ne[1], 1, 1])
}

impl Graph {
    /// For each token of each head, with keys `k`, values `v`, receptances `r`, decays `w`, all f32 `[head size, n_head, n_tokens]`, and a
    /// bonus `u` for the token itself, f32 `[head size, n_head]`: `r (u k v + s)`, where `s` becomes `w s + k v`. The states `s` are f32
    /// `[head size * head size * n_head, n_seqs]`. Rows of all tokens, then the new states (`ggml_rwkv_wkv6`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    #[allow(clippy::many_single_char_names)] // the reference's names
    pub fn rwkv_wkv6(&mut self, [k, v, r, u, w]: [TensorId; 5], state: TensorId) -> Result<TensorId, Error> {
        self.node(Op::RwkvWkv6, &[k, v, r, u, w, state])
    }
}
