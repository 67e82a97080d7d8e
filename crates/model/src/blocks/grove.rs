//! Experts with smaller ones behind them, each of which belongs to experts of neighbouring numbers. Answers to the two calls of
//! `build_moe_ffn` in `src/models/grovemoe.cpp`.

use quipu_graph::TensorId;

use super::{Block, Moe, MoeSpec};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Chunks, Hparams};
use crate::loader::Loader;

/// A mixture and the smaller one behind it.
#[derive(Debug)]
pub(crate) struct Grove {
    moe: Moe,
    /// Numbers and weights of its matrices follow from the other one's choice.
    small: Moe,
    chunks: Chunks,
}

impl Grove {
    /// Both mixtures of layer `il`.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        spec: &MoeSpec,
    ) -> Result<Grove, Error> {
        let chunks = hparams.experts.chunks;
        let moe = Moe::load(loader, hparams, il, spec)?;
        let n = hparams.experts.n / chunks.n_experts;
        let small =
            MoeSpec { n_ff: Some(chunks.n_ff), suffix: "_chexps", n_matrices: Some(n), ..spec.clone() };
        Ok(Grove { moe, small: Moe::load(loader, hparams, il, &small)?, chunks })
    }
}

impl Block for Grove {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let [chosen, probs] = self.moe.choose(b, x)?;
        let weights = self.moe.weights(b, chosen, probs)?;
        let out = self.moe.mix_chosen(b, x, [chosen, weights])?;
        // Expert i's smaller one has the number i / n; so has the score that weighs it.
        let [n_used, n_tokens, ..] = b.graph[chosen].ne;
        let n = b.graph[probs].ne[0];
        let numbers = (0..n).map(|i| (i / self.chunks.n_experts) as i32).collect();
        let table = b.constant("chunk_of_expert", numbers)?;
        let flat = b.graph.cont(chosen)?;
        let flat = b.graph.reshape(flat, [n_used * n_tokens, 1, 1, 1])?;
        let small = b.graph.get_rows(table, flat)?;
        let small = b.graph.reshape(small, [n_used, n_tokens, 1, 1])?;
        let weights = self.moe.weights(b, small, probs)?;
        let more = self.small.mix_chosen(b, out, [small, weights])?;
        let more = b.graph.scale(more, self.chunks.scale, 0.0)?;
        Ok(b.graph.add(out, more)?)
    }
}
