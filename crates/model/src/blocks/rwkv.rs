//! RWKV: layers that mix each token with the one before it, and remember in a square state for each head.
//!
//! A network of its own: what a layer keeps of its last token belongs to both of its blocks, and version 7 hands the first layer's values
//! to all others.

use quipu_graph::{TensorId, UnaryOp};
use quipu_kv_cache::{RecurrentShape, StatePart};

use super::rwkv_parts::{mix, row};
use super::{Bias, Block, Embeddings, Ffn, KeyRotation, Linear, Network, Norm, Output, TimeMix6, TimeMix7};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::{Hparams, Rwkv as Shape};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// The first block of a layer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
pub(crate) enum TimeMix {
    Six(TimeMix6),
    Seven(TimeMix7),
}

/// The second block of a layer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
pub(crate) enum Feed {
    /// RWKV's own, which mixes each token with the one before it too.
    Channels(ChannelMix),
    /// A network as in other models.
    Plain(Ffn),
}

/// A layer.
#[derive(Debug)]
pub(crate) struct RwkvLayer {
    pub norm: Norm,
    pub time: TimeMix,
    pub feed_norm: Norm,
    pub feed: Feed,
}

/// Embeddings, such layers, output.
#[derive(Debug)]
pub(crate) struct Rwkv {
    pub embeddings: Embeddings,
    pub layers: Vec<RwkvLayer>,
    pub output: Output,
    pub shape: Shape,
    pub n_embd: usize,
}

impl Network for Rwkv {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let mut x = self.embeddings.forward(&mut b)?;
        let mut first_values = None;
        for (il, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&mut b, il, x, self.shape.n_shifts, &mut first_values)?;
            if self.shape.rescale_every > 0 && (il + 1).is_multiple_of(self.shape.rescale_every) {
                x = b.graph.scale(x, 0.5, 0.0)?;
            }
            b.name(x, "l_out", il);
        }
        let (embd, logits) = self.output.forward(&mut b, x)?;
        Ok(b.finish(embd, logits))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        let Shape { head_size, n_shifts, .. } = self.shape;
        let state = RecurrentShape { n_embd_r: n_shifts * self.n_embd, n_embd_s: self.n_embd * head_size };
        vec![LayerMemory::Recurrent(state); self.layers.len()]
    }

    fn key_rotation(&self, _: usize) -> Option<KeyRotation<'_>> {
        None
    }
}

impl RwkvLayer {
    fn forward(
        &self,
        b: &mut Builder<'_>,
        il: usize,
        x: TensorId,
        n_shifts: usize,
        first_values: &mut Option<TensorId>,
    ) -> Result<TensorId, Error> {
        let x = b.by_sequence(x)?;
        let [n_embd, _, n_seqs, _] = b.graph[x].ne;
        let kept = b.load_state(il, StatePart::Inputs)?;
        let kept = b.graph.reshape(kept, [n_embd, n_shifts, n_seqs, 1])?;
        let normed = self.norm.forward(b, x)?;
        b.name(normed, "attn_norm", il);
        let before = shifted(b, kept, 0, normed)?;
        let mixed = match &self.time {
            TimeMix::Six(time) => time.forward(b, normed, before)?,
            TimeMix::Seven(time) => time.forward(b, normed, before, first_values)?,
        };
        let mixed = b.by_sequence(mixed)?;
        let sum = b.graph.add(mixed, x)?;
        b.name(sum, "ffn_inp", il);
        let last = last_of(b, normed)?;
        let out = match &self.feed {
            Feed::Plain(ffn) => {
                b.store_state(il, StatePart::Inputs, last)?;
                let sum = b.in_a_row(sum)?;
                let [sum] = b.keep_outputs(il, [sum])?;
                let normed = self.feed_norm.forward(b, sum)?;
                let out = ffn.forward(b, normed)?;
                b.graph.add(out, sum)?
            }
            Feed::Channels(channels) => {
                let normed = self.feed_norm.forward(b, sum)?;
                b.name(normed, "ffn_norm", il);
                let before = shifted(b, kept, 1, normed)?;
                let own_last = last_of(b, normed)?;
                let both = b.graph.concat(last, own_last, 1)?;
                b.store_state(il, StatePart::Inputs, both)?;
                let rows = [b.in_a_row(sum)?, b.in_a_row(normed)?, b.in_a_row(before)?];
                let [sum, normed, before] = b.keep_outputs(il, rows)?;
                let out = channels.forward(b, normed, before)?;
                b.graph.add(out, sum)?
            }
        };
        Ok(out)
    }
}

/// The rows of `x` `[n_embd, n_seq_tokens, n_seqs]` one token later: first what was kept, number `which`.
fn shifted(b: &mut Builder<'_>, kept: TensorId, which: usize, x: TensorId) -> Result<TensorId, Error> {
    let ([n_embd, n_seq_tokens, n_seqs, _], nb) = (b.graph[x].ne, b.graph[x].nb);
    let of_kept = b.graph[kept].nb;
    let strides = [of_kept[1], of_kept[2], of_kept[3]];
    let first = b.graph.view(kept, [n_embd, 1, n_seqs, 1], strides, which * of_kept[1])?;
    if n_seq_tokens == 1 {
        return Ok(b.graph.cont(first)?);
    }
    let rest = b.graph.view(x, [n_embd, n_seq_tokens - 1, n_seqs, 1], [nb[1], nb[2], nb[3]], 0)?;
    Ok(b.graph.concat(first, rest, 1)?)
}

/// The last row of each sequence: `[n_embd, 1, n_seqs]`.
fn last_of(b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
    let ([n_embd, n_seq_tokens, n_seqs, _], nb) = (b.graph[x].ne, b.graph[x].nb);
    Ok(b.graph.view(x, [n_embd, 1, n_seqs, 1], [nb[1], nb[2], nb[3]], (n_seq_tokens - 1) * nb[1])?)
}

/// RWKV's feed-forward block.
#[derive(Debug)]
pub(crate) struct ChannelMix {
    lerp_k: Weight,
    /// Version 6 gates the result by a mix of its own.
    receptance: Option<(Weight, Linear)>,
    key: Linear,
    value: Linear,
}

impl ChannelMix {
    /// The block of layer `il`, gated or not.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        is_gated: bool,
    ) -> Result<ChannelMix, Error> {
        let (n_embd, n_ff) = (hparams.n_embd, hparams.n_ff());
        if n_ff == 0 {
            return Err(hparams.error(
                "feed_forward_length",
                &"missing or 0",
                "the width of the second block",
            ));
        }
        let name = |part: &str| block(il, &format!("channel_mix_{part}"));
        let mut linear =
            |part: &str, ne| Linear::load(loader, &name(part), ne, Bias::Never).map(Linear::unscaled);
        let key = linear("key", [n_embd, n_ff])?;
        let value = linear("value", [n_ff, n_embd])?;
        let mut receptance = None;
        if is_gated {
            let matrix = linear("receptance", [n_embd, n_embd])?;
            receptance = Some((row(loader, il, "channel_mix_lerp_r", &[n_embd])?, matrix));
        }
        Ok(ChannelMix { lerp_k: row(loader, il, "channel_mix_lerp_k", &[n_embd])?, receptance, key, value })
    }

    fn forward(&self, b: &mut Builder<'_>, x: TensorId, before: TensorId) -> Result<TensorId, Error> {
        let change = b.graph.sub(before, x)?;
        let mixed = mix(b, x, change, &self.lerp_k)?;
        let k = self.key.forward(b, mixed)?;
        let k = b.graph.unary(UnaryOp::Relu, k)?;
        let k = b.graph.sqr(k)?;
        let value = self.value.forward(b, k)?;
        let Some((lerp, receptance)) = &self.receptance else { return Ok(value) };
        let mixed = mix(b, x, change, lerp)?;
        let r = receptance.forward(b, mixed)?;
        let r = b.graph.unary(UnaryOp::Sigmoid, r)?;
        Ok(b.graph.mul(r, value)?)
    }
}
