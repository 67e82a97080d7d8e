//! `gemma3n`: four residual streams of which one is active, a low-rank path beside attention, rows of each token for every layer, gates that
//! keep their largest elements in the first layers, later layers that read the keys and values of earlier ones. Answers to
//! `src/models/gemma3n.cpp`.

use quipu_backend::WeightUse::{Elementwise, MulMat};
use quipu_graph::{RopeMode, TensorId, UnaryOp};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Block, Embeddings, KeyRotation, Linear, Network, Norm, Output,
    OutputSpec, PerLayer, PerLayerInputs, Projections, QkNorm, RopeFactors, Scale, Values, slice,
};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

pub(super) const ARCH: Architecture = Architecture { name: "gemma3n", hparams, load, size_class };

/// Residual streams; the first is the active one.
const N_STREAMS: usize = 4;
/// Width of the low-rank path.
const N_LAUREL: usize = 64;
/// Width of each layer's rows of a token.
const N_PER_LAYER: usize = 256;
/// Layers that remember keys and values of their own.
const N_LAYER_KV: usize = 20;
/// Layers whose gates keep only what is far above their mean.
const N_SPARSE: usize = 10;
/// How many standard deviations that is.
const SPARSE_DEVIATIONS: f32 = 1.644_853_6;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(5));
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
    hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    let n_layer_kv = N_LAYER_KV.min(hparams.n_layer());
    hparams.share_memory_from(n_layer_kv)?;
    hparams.final_logit_softcap = 30.0;
    Ok(hparams)
}

/// All of the model.
#[derive(Debug)]
struct Gemma3n {
    embeddings: Embeddings,
    per_layer: PerLayerInputs,
    /// To the other streams, and back: `[n_embd, n_embd, streams - 1]`.
    spread: Weight,
    gather: Weight,
    layers: Vec<StreamsLayer>,
    output: Output,
}

/// A layer over all streams.
#[derive(Debug)]
struct StreamsLayer {
    il: usize,
    streams: Streams,
    attn_norm: Norm,
    attention: Attention,
    attn_post_norm: Norm,
    laurel: [Linear; 2],
    laurel_norm: Norm,
    ffn_norm: Norm,
    /// Gate, up, down.
    ffn: [Linear; 3],
    ffn_post_norm: Norm,
    per_layer: PerLayer,
}

/// How streams are predicted from each other, and corrected by what the active one became.
#[derive(Debug)]
struct Streams {
    router_norm: Norm,
    router: Linear,
    predict: Linear,
    correct: Linear,
    /// On the corrected active stream, for the layer's rows.
    correct_scale: Weight,
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let n_embd = hparams.n_embd;
    let embeddings = Embeddings::load(loader, hparams)?.tokens_scaled((n_embd as f32).sqrt());
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let ne = [n_embd, n_embd, N_STREAMS - 1];
    let spread = loader.require("altup_proj.weight", &ne, MulMat)?;
    let gather = loader.require("altup_unembd_proj.weight", &ne, MulMat)?;
    let per_layer = PerLayerInputs::load(loader, hparams, N_PER_LAYER)?;
    let layers = (0..hparams.n_layer()).map(|il| StreamsLayer::load(loader, hparams, il));
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Box::new(Gemma3n { embeddings, per_layer, spread, gather, layers, output }))
}

impl Network for Gemma3n {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let x = self.embeddings.forward(&mut b)?;
        let rows = self.per_layer.forward(&mut b, x)?;
        let [n_embd, n_tokens, ..] = b.graph[x].ne;
        let repeated = b.graph.repeat(x, [n_embd, n_tokens, N_STREAMS - 1, 1])?;
        let others = like(&mut b, &self.spread, repeated, x)?;
        let mut streams = b.graph.concat(x, others, 2)?;
        for layer in &self.layers {
            streams = layer.forward(&mut b, streams, rows)?;
        }
        let active = slice(&mut b, streams, 0)?;
        let others = rest(&mut b, streams)?;
        let others = like(&mut b, &self.gather, others, active)?;
        let mut x = active;
        for i in 0..N_STREAMS - 1 {
            let other = slice(&mut b, others, i)?;
            x = b.graph.add(x, other)?;
        }
        let x = b.graph.scale(x, 1.0 / N_STREAMS as f32, 0.0)?;
        let x = b.keep_if_last(self.layers.len().saturating_sub(1), x)?;
        let (embd, logits) = self.output.forward(&mut b, x)?;
        Ok(b.finish(embd, logits))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        self.layers.iter().map(|layer| layer.attention.memory()).collect()
    }

    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>> {
        self.layers.get(il)?.attention.key_rotation()
    }
}

/// Streams through their matrices, as long as the rows of `model`.
fn like(
    b: &mut Builder<'_>,
    matrices: &Weight,
    streams: TensorId,
    model: TensorId,
) -> Result<TensorId, Error> {
    let target = length(b, model)?;
    let matrices = b.weight(matrices)?;
    let out = b.graph.mul_mat(matrices, streams)?;
    let now = length(b, out)?;
    let out = b.graph.mul(out, target)?;
    Ok(b.graph.div(out, now)?)
}

/// The length of each row.
fn length(b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
    let squares = b.graph.sqr(x)?;
    let sum = b.graph.sum_rows(squares)?;
    Ok(b.graph.sqrt(sum)?)
}

/// All streams but the first.
fn rest(b: &mut Builder<'_>, streams: TensorId) -> Result<TensorId, Error> {
    let ([n0, n1, n2, _], nb) = (b.graph[streams].ne, b.graph[streams].nb);
    Ok(b.graph.view(streams, [n0, n1, n2 - 1, 1], [nb[1], nb[2], nb[3]], nb[2])?)
}

impl StreamsLayer {
    fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<StreamsLayer, Error> {
        let (n_embd, n_ff, reads) = (hparams.n_embd, hparams.layers[il].n_ff, hparams.memory_source(il));
        let spec = AttentionSpec {
            projections: if reads.is_some() { Projections::Separate } else { Projections::Either },
            qkv_bias: if reads.is_some() { Bias::Unused } else { Bias::Optional },
            qkv_scales: reads.is_none(),
            qk_norm: QkNorm::Head,
            scale: Scale::Factor(1.0),
            values: Values::Normed,
            reads,
            ..AttentionSpec::default()
        };
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &spec)?;
        if n_ff == 0 {
            let found = format!("missing or 0 in layer {il}");
            return Err(hparams.error(
                "feed_forward_length",
                &found,
                "the width of the feed-forward network",
            ));
        }
        let correct_scale =
            loader.require(&block(il, "altup_correct_scale.weight"), &[n_embd], Elementwise)?;
        let per_layer = PerLayer::load(loader, hparams, il, N_PER_LAYER)?;
        let mut linear = |name: &str, ne: [usize; 2]| {
            Linear::load(loader, &block(il, name), ne, Bias::Never).map(Linear::unscaled)
        };
        let ffn = [
            linear("ffn_gate", [n_embd, n_ff])?,
            linear("ffn_up", [n_embd, n_ff])?,
            linear("ffn_down", [n_ff, n_embd])?,
        ];
        let laurel = [linear("laurel_l", [n_embd, N_LAUREL])?, linear("laurel_r", [N_LAUREL, n_embd])?];
        let router = linear("altup_router", [n_embd, N_STREAMS])?;
        let predict = linear("altup_predict_coef", [N_STREAMS, N_STREAMS * N_STREAMS])?;
        let correct = linear("altup_correct_coef", [N_STREAMS, N_STREAMS])?;
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never);
        Ok(StreamsLayer {
            il,
            streams: Streams {
                router_norm: norm("altup_router_norm")?,
                router,
                predict,
                correct,
                correct_scale,
            },
            attn_norm: norm("attn_norm")?,
            attention,
            attn_post_norm: norm("post_attention_norm")?,
            laurel,
            laurel_norm: norm("laurel_post_norm")?,
            ffn_norm: norm("ffn_norm")?,
            ffn,
            ffn_post_norm: norm("post_ffw_norm")?,
            per_layer,
        })
    }

    /// Streams `[n_embd, n_tokens, streams]` to such; `rows` are those of all layers.
    fn forward(&self, b: &mut Builder<'_>, streams: TensorId, rows: TensorId) -> Result<TensorId, Error> {
        let predicted = self.streams.predict(b, streams)?;
        let active = slice(b, predicted, 0)?;
        let x = self.attn_norm.forward(b, active)?;
        let laurel = self.laurel(b, x)?;
        let mixed = self.attention.forward(b, x)?;
        let mixed = self.attn_post_norm.forward(b, mixed)?;
        let mixed = b.graph.add(mixed, active)?;
        let sum = b.graph.add(mixed, laurel)?;
        let sum = b.graph.scale(sum, 1.0 / 2f32.sqrt(), 0.0)?;
        let x = self.ffn_norm.forward(b, sum)?;
        let x = self.feed_forward(b, x)?;
        let x = self.ffn_post_norm.forward(b, x)?;
        let activated = b.graph.add(x, sum)?;
        b.name(activated, "attn_ffw_laurel_gated", self.il);
        let corrected = self.streams.correct(b, predicted, activated)?;
        let first = slice(b, corrected, 0)?;
        let scale = b.weight(&self.streams.correct_scale)?;
        let scaled = b.graph.mul(first, scale)?;
        let of_layer = PerLayerInputs::of_layer(b, rows, self.il)?;
        let more = self.per_layer.forward(b, scaled, of_layer)?;
        let others = rest(b, corrected)?;
        let others = b.graph.add(others, more)?;
        let out = b.graph.concat(first, others, 2)?;
        b.name(out, "l_out", self.il);
        Ok(out)
    }

    /// The low-rank path and what goes past it.
    fn laurel(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let [left, right] = &self.laurel;
        let low = left.forward(b, x)?;
        let out = right.forward(b, low)?;
        let out = self.laurel_norm.forward(b, out)?;
        Ok(b.graph.add(out, x)?)
    }

    fn feed_forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let [gate, up, down] = &self.ffn;
        let up = up.forward(b, x)?;
        let mut gate = gate.forward(b, x)?;
        if self.il < N_SPARSE {
            gate = largest(b, gate)?;
        }
        let gate = b.graph.unary(UnaryOp::Gelu, gate)?;
        let bent = b.graph.mul(up, gate)?;
        down.forward(b, bent)
    }
}

/// What of each row is above its mean by more than some standard deviations, less that bound.
fn largest(b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
    let n = b.graph[x].ne[0] as f32;
    let sum = b.graph.sum_rows(x)?;
    let mean = b.graph.scale(sum, 1.0 / n, 0.0)?;
    let apart = b.graph.sub(x, mean)?;
    let squares = b.graph.sqr(apart)?;
    let sum = b.graph.sum_rows(squares)?;
    let variance = b.graph.scale(sum, 1.0 / (n - 1.0), 0.0)?;
    let deviation = b.graph.sqrt(variance)?;
    let above = b.graph.scale(deviation, SPARSE_DEVIATIONS, 0.0)?;
    let bound = b.graph.add(mean, above)?;
    let over = b.graph.sub(x, bound)?;
    Ok(b.graph.unary(UnaryOp::Relu, over)?)
}

impl Streams {
    /// How much each stream is in what `x` says, f32 `[streams, n_tokens]`.
    fn route(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let n_embd = b.graph[x].ne[0] as f32;
        let x = self.router_norm.forward(b, x)?;
        let x = b.graph.scale(x, 1.0 / n_embd, 0.0)?;
        let x = self.router.forward(b, x)?;
        Ok(b.graph.unary(UnaryOp::Tanh, x)?)
    }

    /// What the layer will make of each stream, guessed from all of them.
    fn predict(&self, b: &mut Builder<'_>, streams: TensorId) -> Result<TensorId, Error> {
        let n_tokens = b.graph[streams].ne[1];
        let active = slice(b, streams, 0)?;
        let routed = self.route(b, active)?;
        let coefficients = self.predict.forward(b, routed)?;
        let coefficients = b.graph.reshape(coefficients, [N_STREAMS, N_STREAMS, n_tokens, 1])?;
        let by_token = b.graph.permute(streams, [1, 2, 0, 3])?;
        let by_token = b.graph.cont(by_token)?;
        let mixed = b.graph.mul_mat(by_token, coefficients)?;
        let mixed = b.graph.permute(mixed, [0, 2, 1, 3])?;
        let mixed = b.graph.cont(mixed)?;
        Ok(b.graph.add(mixed, streams)?)
    }

    /// The guesses, corrected by how far the active one was off.
    fn correct(
        &self,
        b: &mut Builder<'_>,
        predicted: TensorId,
        activated: TensorId,
    ) -> Result<TensorId, Error> {
        let [n_embd, n_tokens, ..] = b.graph[predicted].ne;
        let routed = self.route(b, activated)?;
        let active = slice(b, predicted, 0)?;
        let off = b.graph.sub(activated, active)?;
        let coefficients = self.correct.forward(b, routed)?;
        let coefficients = b.graph.scale(coefficients, 1.0, 1.0)?;
        let coefficients = b.graph.transpose(coefficients);
        let coefficients = b.graph.cont(coefficients)?;
        let coefficients = b.graph.reshape(coefficients, [1, n_tokens, N_STREAMS, 1])?;
        let off = b.graph.repeat(off, [n_embd, n_tokens, N_STREAMS, 1])?;
        let corrections = b.graph.mul(off, coefficients)?;
        Ok(b.graph.add(corrections, predicted)?)
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        30 => "E2B",
        35 => "E4B",
        _ => UNKNOWN_SIZE,
    }
}
