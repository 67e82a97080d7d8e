//! GATED_DELTA_NET: the delta rule with a decay.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "GATED_DELTA_NET",
    ggml_id: 86,
    n_src: 6..=6,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let Op::GatedDeltaNet { n_states } = op else { return Err(Broken::node("an op of this rule")) };
    (0..6).try_for_each(|i| f32_rows(src, i))?;
    let &[q, k, v, g, beta, state] = src else { return Err(Broken::node("six operands")) };
    for i in [3, 4, 5] {
        ensure(src[i].is_contiguous(), Broken::one(i, "a contiguous tensor"))?;
    }
    let [size, n_head, n_tokens, n_seqs] = v.ne;
    for (i, x) in [(0, q), (1, k)] {
        let repeats = |n: usize, all: usize| n != 0 && all.is_multiple_of(n);
        let fits =
            x.ne[0] == size && x.ne[2] == n_tokens && repeats(x.ne[1], n_head) && repeats(x.ne[3], n_seqs);
        ensure(fits, Broken::two(2, i, "heads of the values' size, as many or a part"))?;
    }
    let decays = (g.ne[0] == 1 || g.ne[0] == size) && g.ne[1..] == [n_head, n_tokens, n_seqs];
    ensure(decays, Broken::two(2, 3, "decays of each head, one or one for each key element"))?;
    ensure(beta.ne == [1, n_head, n_tokens, n_seqs], Broken::two(2, 4, "a rate of each head"))?;
    ensure(state.ne == [size, size, n_head, n_seqs], Broken::two(2, 5, "a square state for each head"))?;
    ensure(n_states > 0, Broken::node("at least the last state"))?;
    let rows = n_states.checked_mul(size).and_then(|n| n.checked_mul(n_seqs));
    let rows = rows.and_then(|n| n.checked_add(n_tokens * n_seqs));
    fresh(DType::F32, [size * n_head, rows.ok_or(Broken::node("a result that can be addressed"))?, 1, 1])
}

impl Graph {
    /// For each token of each head, with queries `q`, keys `k` and values `v` `[head size, n_head, n_tokens, n_seqs]` (`q` and `k` may have fewer
    /// heads, which are repeated), decays `g` `[1 or head size, n_head, n_tokens, n_seqs]` and rates `beta` `[1, n_head, n_tokens, n_seqs]`:
    /// the state becomes `exp(g) s`, then `s + k (beta (v - k s))`, and `q s / sqrt(head size)` is read from it. States are f32 `[head size,
    /// head size, n_head, n_seqs]`. Rows `[head size * n_head]` of all tokens, then the states after each of the last `n_states` tokens, the last
    /// one first (`ggml_gated_delta_net`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn gated_delta_net(
        &mut self,
        [q, k, v, g, beta]: [TensorId; 5],
        state: TensorId,
        n_states: usize,
    ) -> Result<TensorId, Error> {
        self.node(Op::GatedDeltaNet { n_states }, &[q, k, v, g, beta, state])
    }
}
