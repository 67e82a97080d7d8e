//! A layer: a block that mixes tokens, a feed-forward block, and the residual stream around them.

use quipu_graph::TensorId;

use super::embeddings::scaled;
use super::{Block, KeyRotation, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::memory::LayerMemory;

/// What the feed-forward block reads, and the order in which the sum is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residual {
    /// It reads the residual stream with the mixer's result in it.
    Sequential,
    /// It reads what the mixer reads, or the residual stream through a norm of its own: `ffn + (mixed + x)`.
    Parallel,
    /// The same, summed as `(ffn + mixed) + x`.
    ParallelMixedFirst,
    /// The same, summed as `(ffn + x) + mixed`.
    ParallelStreamFirst,
}

/// A layer. Norms before a block, behind it, or both.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Number of the layer.
    pub il: usize,
    /// Before the mixer.
    pub attn_norm: Option<Norm>,
    /// Attention, or what stands in for it; `None`: tokens are not mixed.
    pub mixer: Option<Box<dyn Block>>,
    /// Behind the mixer.
    pub attn_post_norm: Option<Norm>,
    /// Where the feed-forward block reads.
    pub residual: Residual,
    /// On the residual stream with the mixer's result in it, in place of the stream itself (`attn_output_norm`).
    pub sum_norm: Option<Norm>,
    /// Behind that the layer's input is added again, and normed again (`attn_norm_2` of `jina-bert-v2`).
    pub again_norm: Option<Norm>,
    /// Factor on the results of both blocks.
    pub residual_scale: Option<f32>,
    /// Before the feed-forward block, if it reads the residual stream.
    pub ffn_norm: Option<Norm>,
    /// The feed-forward block.
    pub ffn: Box<dyn Block>,
    /// Behind the feed-forward block.
    pub ffn_post_norm: Option<Norm>,
    /// What reads the layer's input through a norm of its own; its result is added last.
    pub beside: Option<(Norm, Box<dyn Block>)>,
    /// On the layer's result.
    pub out_norm: Option<Norm>,
}

impl Layer {
    /// A layer without norms.
    pub fn new(il: usize, mixer: impl Block + 'static, ffn: impl Block + 'static) -> Layer {
        Layer::of(il, Some(Box::new(mixer)), Box::new(ffn))
    }

    /// A layer without norms, of blocks that were chosen layer by layer.
    pub fn of(il: usize, mixer: Option<Box<dyn Block>>, ffn: Box<dyn Block>) -> Layer {
        Layer {
            il,
            attn_norm: None,
            mixer,
            attn_post_norm: None,
            residual: Residual::Sequential,
            sum_norm: None,
            again_norm: None,
            residual_scale: None,
            ffn_norm: None,
            ffn,
            ffn_post_norm: None,
            beside: None,
            out_norm: None,
        }
    }

    /// What it remembers of each token.
    pub fn memory(&self) -> LayerMemory {
        self.mixer.as_ref().map_or(LayerMemory::None, |mixer| mixer.memory())
    }

    /// How the keys it remembers follow their tokens to other positions.
    pub fn key_rotation(&self) -> Option<KeyRotation<'_>> {
        self.mixer.as_ref()?.key_rotation()
    }

    /// Adds the layer to a graph; the last layer keeps only the rows whose outputs are wanted.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let il = self.il;
        let Some(mixer) = &self.mixer else {
            let [x] = b.keep_outputs(il, [x])?;
            return self.feed_forward(b, x, x);
        };
        let normed = norm(b, self.attn_norm.as_ref(), x, "attn_norm", il)?;
        let mixed = mixer.forward(b, normed)?;
        if self.residual == Residual::Sequential {
            let [mixed, x] = b.keep_outputs(il, [mixed, x])?;
            let mixed = norm(b, self.attn_post_norm.as_ref(), mixed, "attn_post_norm", il)?;
            let mixed = scaled(b, mixed, self.residual_scale)?;
            let ffn_inp = b.graph.add(mixed, x)?;
            let mut ffn_inp = norm(b, self.sum_norm.as_ref(), ffn_inp, "attn_out_norm", il)?;
            if self.again_norm.is_some() {
                ffn_inp = b.graph.add(ffn_inp, x)?;
                ffn_inp = norm(b, self.again_norm.as_ref(), ffn_inp, "attn_norm_2", il)?;
            }
            return self.feed_forward(b, ffn_inp, x);
        }
        let [mixed, x, normed] = b.keep_outputs(il, [mixed, x, normed])?;
        let cur = match &self.ffn_norm {
            Some(ffn_norm) => norm(b, Some(ffn_norm), x, "ffn_norm", il)?,
            None => normed,
        };
        if self.residual == Residual::Parallel {
            let ffn_inp = b.graph.add(mixed, x)?;
            b.name(ffn_inp, "ffn_inp", il);
            let ffn = self.ffn.forward(b, cur)?;
            b.name(ffn, "ffn_out", il);
            let out = b.graph.add(ffn, ffn_inp)?;
            let out = b.steered(il, out)?;
            b.name(out, "l_out", il);
            return Ok(out);
        }
        let ffn = self.ffn.forward(b, cur)?;
        b.name(ffn, "ffn_out", il);
        let [first, second] =
            if self.residual == Residual::ParallelMixedFirst { [mixed, x] } else { [x, mixed] };
        let out = b.graph.add(ffn, first)?;
        let out = b.graph.add(out, second)?;
        let out = b.steered(il, out)?;
        b.name(out, "l_out", il);
        Ok(out)
    }

    /// The second half, over the residual stream with the mixer's result in it; `x` is the layer's input.
    fn feed_forward(&self, b: &mut Builder<'_>, ffn_inp: TensorId, x: TensorId) -> Result<TensorId, Error> {
        let il = self.il;
        b.name(ffn_inp, "ffn_inp", il);
        let cur = norm(b, self.ffn_norm.as_ref(), ffn_inp, "ffn_norm", il)?;
        let cur = self.ffn.forward_in_layer(b, cur, x)?;
        b.name(cur, "ffn_out", il);
        let cur = norm(b, self.ffn_post_norm.as_ref(), cur, "ffn_post_norm", il)?;
        let cur = scaled(b, cur, self.residual_scale)?;
        let mut out = b.graph.add(cur, ffn_inp)?;
        if let Some((beside_norm, beside)) = &self.beside {
            let cur = norm(b, Some(beside_norm), x, "ffn_norm_exps", il)?;
            let cur = beside.forward(b, cur)?;
            out = b.graph.add(cur, out)?;
        }
        let out = b.steered(il, out)?;
        b.name(out, "l_out", il);
        norm(b, self.out_norm.as_ref(), out, "loop_norm", il)
    }
}

/// `x` through a norm, if there is one.
fn norm(
    b: &mut Builder<'_>,
    norm: Option<&Norm>,
    x: TensorId,
    name: &str,
    il: usize,
) -> Result<TensorId, Error> {
    let Some(norm) = norm else { return Ok(x) };
    let normed = norm.forward(b, x)?;
    b.name(normed, name, il);
    Ok(normed)
}
