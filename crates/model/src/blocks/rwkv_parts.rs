//! What the blocks of RWKV's layers are made of: states, norms of heads, mixes.

use quipu_backend::WeightUse::{Elementwise, MulMat};
use quipu_graph::TensorId;
use quipu_kv_cache::StatePart;

use crate::build::Builder;
use crate::error::Error;
use crate::loader::{Loader, block};
use crate::weight::Weight;

const FLOAT: usize = size_of::<f32>();

/// Runs square states through the ubatch by `op`, which is given them and returns rows of all tokens with the new states behind; these rows,
/// `[n_embd, n_tokens]`.
pub(super) fn recur(
    b: &mut Builder<'_>,
    il: usize,
    op: impl FnOnce(&mut Builder<'_>, TensorId) -> Result<TensorId, Error>,
) -> Result<TensorId, Error> {
    let states = b.load_state(il, StatePart::State)?;
    let n_states = b.graph[states].n_elements();
    let out = op(b, states)?;
    let [n_embd, n_rows, ..] = b.graph[out].ne;
    let n_tokens = n_rows - n_states / n_embd;
    let row = n_states * FLOAT;
    let new = b.graph.view(out, [n_states, 1, 1, 1], [row, row, row], n_embd * n_tokens * FLOAT)?;
    b.store_state(il, StatePart::State, new)?;
    let row = n_embd * FLOAT;
    Ok(b.graph.view(out, [n_embd, n_tokens, 1, 1], [row, row * n_tokens, row * n_tokens], 0)?)
}

/// The norm of each head behind the recurrence.
#[derive(Debug)]
pub(super) struct HeadNorm {
    weight: Weight,
    bias: Weight,
}

impl HeadNorm {
    /// `time_mix_ln` of layer `il`, if the file has it.
    pub fn optional(loader: &mut Loader<'_>, n_embd: usize, il: usize) -> Result<Option<HeadNorm>, Error> {
        let name = block(il, "time_mix_ln");
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        match [&weight, &bias].map(|name| loader.has(name)) {
            [false, false] => return Ok(None),
            [true, true] => {}
            // One without the other is half a norm.
            [has_weight, _] => {
                let missing = if has_weight { &bias } else { &weight };
                return Err(Loader::missing(missing, &[n_embd], &[]));
            }
        }
        let weight = loader.require(&weight, &[n_embd], Elementwise)?;
        let bias = loader.require(&bias, &[n_embd], Elementwise)?;
        Ok(Some(HeadNorm { weight, bias }))
    }

    /// The error where it must be there.
    pub fn missing(n_embd: usize, il: usize) -> Error {
        Loader::missing(&block(il, "time_mix_ln.weight"), &[n_embd], &[])
    }

    /// `[n_embd, n_tokens]`, normed head by head.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId, head_size: usize) -> Result<TensorId, Error> {
        let [n_embd, n_tokens, ..] = b.graph[x].ne;
        let heads = b.graph.reshape(x, [head_size, n_embd / head_size, n_tokens, 1])?;
        let normed = b.graph.norm(heads, 64e-5)?;
        let x = b.graph.reshape(normed, [n_embd, n_tokens, 1, 1])?;
        let weight = b.weight(&self.weight)?;
        let x = b.graph.mul(x, weight)?;
        let bias = b.weight(&self.bias)?;
        Ok(b.graph.add(x, bias)?)
    }
}

/// A matrix `name.weight` without anything beside it.
pub(super) fn matrix(loader: &mut Loader<'_>, il: usize, name: &str, ne: &[usize]) -> Result<Weight, Error> {
    loader.require(&block(il, &format!("{name}.weight")), ne, MulMat)
}

/// A row `name.weight` that takes part element by element.
pub(super) fn row(loader: &mut Loader<'_>, il: usize, name: &str, ne: &[usize]) -> Result<Weight, Error> {
    loader.require(&block(il, &format!("{name}.weight")), ne, Elementwise)
}

/// `x + change * lerp`.
pub(super) fn mix(
    b: &mut Builder<'_>,
    x: TensorId,
    change: TensorId,
    lerp: &Weight,
) -> Result<TensorId, Error> {
    let lerp = b.weight(lerp)?;
    let part = b.graph.mul(change, lerp)?;
    Ok(b.graph.add(part, x)?)
}

/// `w x`.
pub(super) fn product(b: &mut Builder<'_>, w: &Weight, x: TensorId) -> Result<TensorId, Error> {
    let w = b.weight(w)?;
    Ok(b.graph.mul_mat(w, x)?)
}

/// `x + w`, row by row.
pub(super) fn plus(b: &mut Builder<'_>, x: TensorId, w: &Weight) -> Result<TensorId, Error> {
    let w = b.weight(w)?;
    Ok(b.graph.add(x, w)?)
}

/// Part `which` of several mixes of all tokens, `[n_embd, n_tokens]`, that lie one behind the other.
pub(super) fn part_of(
    b: &mut Builder<'_>,
    all: TensorId,
    n_tokens: usize,
    which: usize,
) -> Result<TensorId, Error> {
    let n_embd = b.graph[all].ne[0];
    let row = n_embd * FLOAT;
    let ne = [n_embd, n_tokens, 1, 1];
    Ok(b.graph.view(all, ne, [row, row * n_tokens, row * n_tokens], which * row * n_tokens)?)
}
