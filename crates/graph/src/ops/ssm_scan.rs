//! SSM_SCAN: the selective scan of state space models, by Mamba and Mamba 2.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "SSM_SCAN",
    ggml_id: 77,
    n_src: 7..=7,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    (0..6).try_for_each(|i| f32_rows(src, i))?;
    let &[s, x, dt, a, b, c, ids] = src else { return Err(Broken::node("seven operands")) };
    let ([d_state, dim, n_head, _], [_, _, n_seq_tokens, n_seqs]) = (s.ne, x.ne);
    for i in [0, 2, 3] {
        ensure(src[i].is_contiguous(), Broken::one(i, "a contiguous tensor"))?;
    }
    for i in [1, 4, 5] {
        let dense = src[i].nb[1] == src[i].ne[0] * size_of::<f32>();
        ensure(dense, Broken::one(i, "heads or groups of a token side by side"))?;
    }
    ensure(x.ne[..2] == [dim, n_head], Broken::two(0, 1, "states of as many heads of that size"))?;
    ensure(
        dt.ne == [n_head, n_seq_tokens, n_seqs, 1],
        Broken::two(1, 2, "a step for each head of each token"),
    )?;
    let decays = a.ne[1..] == [n_head, 1, 1] && (a.ne[0] == 1 || a.ne[0] == d_state);
    ensure(decays, Broken::two(0, 3, "decays for each head, one or one for each element of its state"))?;
    let groups = b.ne[0] == d_state && b.ne[2..] == [n_seq_tokens, n_seqs] && b.ne[1] != 0;
    ensure(groups && n_head.is_multiple_of(b.ne[1]), Broken::two(1, 4, "groups of heads of each token"))?;
    ensure(b.ne == c.ne, Broken::two(4, 5, "equal shapes"))?;
    let numbers = ids.dtype == DType::I32 && ids.is_contiguous() && ids.ne == [n_seqs, 1, 1, 1];
    ensure(numbers, Broken::two(1, 6, "the i32 number of a state for each sequence"))?;
    let n_state = [d_state, dim, n_head, n_seqs].into_iter().try_fold(1usize, usize::checked_mul);
    let n = n_state.and_then(|n| n.checked_add(x.n_elements()));
    fresh(DType::F32, [n.ok_or(Broken::node("a result that can be addressed"))?, 1, 1, 1])
}

/// The operands of [`Graph::ssm_scan`], all f32 but the numbers.
#[derive(Clone, Copy, Debug)]
pub struct SsmScan {
    /// States, `[d_state, dim, n_head, n_rows]`.
    pub s: TensorId,
    /// What comes in, `[dim, n_head, n_seq_tokens, n_seqs]`.
    pub x: TensorId,
    /// Steps before their softplus, `[n_head, n_seq_tokens, n_seqs]`.
    pub dt: TensorId,
    /// Decays: `[d_state, n_head]` (Mamba) or `[1, n_head]` (Mamba 2).
    pub a: TensorId,
    /// How states take in, `[d_state, n_group, n_seq_tokens, n_seqs]`.
    pub b: TensorId,
    /// How they are read, of the shape of `b`.
    pub c: TensorId,
    /// The i32 row of each sequence's state, `[n_seqs]`.
    pub ids: TensorId,
}

impl Graph {
    /// Results of all tokens, of the size of `x`, and behind them the states after the last token, `[d_state, dim, n_head, n_seqs]`, in one
    /// row (`ggml_ssm_scan`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not what [`SsmScan`] says.
    pub fn ssm_scan(&mut self, scan: &SsmScan) -> Result<TensorId, Error> {
        let SsmScan { s, x, dt, a, b, c, ids } = *scan;
        self.node(Op::SsmScan, &[s, x, dt, a, b, c, ids])
    }
}
