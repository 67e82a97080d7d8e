//! `gemma4`: as `gemma3` with heads of another size in layers with windows, values that are normed and may be the keys, later layers that
//! read the keys and values of earlier ones, experts beside the dense network, and rows of each token for every layer. Answers to
//! `src/models/gemma4.cpp`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{RopeMode, TensorId};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Block, Embeddings, Ffn, FfnSpec, KeyRotation, Layer, Moe,
    MoeSpec, Network, Norm, Output, OutputSpec, PerLayer, PerLayerInputs, Projections, QkNorm, RopeFactors,
    Scale, Scales, Values,
};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

pub(super) const ARCH: Architecture = Architecture { name: "gemma4", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const SHARED: &str = "attention.shared_kv_layers";
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.has_one_head_size()?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows_by_key(keys, window)?;
    for name in ["attention.key_length_swa", "attention.value_length_swa"] {
        keys.required_width(name)?;
    }
    hparams.size_heads_of_windows(keys)?;
    let mut hparams = hparams.has_one_head_size()?;
    hparams.turn_in_windows(keys)?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
    hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    let n_shared = keys.optional_u32(SHARED)?.unwrap_or(0);
    let n_layer = hparams.n_layer();
    hparams.share_memory_from(n_layer.saturating_sub(n_shared))?;
    hparams.n_embd_per_layer = keys.u32("embedding_length_per_layer_input")?;
    if hparams.n_embd_per_layer > 1 << 20 {
        let expected = "at most 1048576";
        return Err(keys.error("embedding_length_per_layer_input", &hparams.n_embd_per_layer, expected));
    }
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or(0);
    hparams.final_logit_softcap = keys.f32("final_logit_softcapping")?.unwrap_or(30.0);
    Ok(hparams)
}

/// All of the model.
#[derive(Debug)]
struct Gemma4 {
    embeddings: Embeddings,
    per_layer: Option<PerLayerInputs>,
    layers: Vec<Gemma4Layer>,
    output: Output,
}

/// A layer and what follows it.
#[derive(Debug)]
struct Gemma4Layer {
    layer: Layer,
    per_layer: Option<PerLayer>,
    /// A factor on the result.
    scale: Option<Weight>,
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.tokens_scaled((hparams.n_embd as f32).sqrt());
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let n = hparams.n_embd_per_layer;
    let mut per_layer = None;
    if n > 0 {
        per_layer = Some(PerLayerInputs::load(loader, hparams, n)?);
    }
    let factors = if hparams.layers.iter().any(|layer| layer.window.is_none()) {
        RopeFactors::one(loader, hparams)?
    } else {
        RopeFactors::none()
    };
    let mut layers = Vec::with_capacity(hparams.n_layer());
    for il in 0..hparams.n_layer() {
        let none = RopeFactors::none();
        let factors = if hparams.layers[il].window.is_some() { &none } else { &factors };
        let spec = AttentionSpec {
            projections: Projections::Separate,
            qkv_bias: Bias::Never,
            qk_norm: QkNorm::Head,
            scale: Scale::Factor(1.0),
            values: Values::NormedOrKeys,
            reads: hparams.memory_source(il),
            ..AttentionSpec::default()
        };
        let attention = Attention::load(loader, hparams, il, factors, &spec)?;
        let has_experts = loader.has(&block(il, "ffn_gate_inp.weight"));
        let (ffn_norm, ffn): (Option<Norm>, Box<dyn Block>) = if has_experts {
            (None, Box::new(DenseAndExperts::load(loader, hparams, il)?))
        } else {
            let norm = Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?;
            (Some(norm), Box::new(Ffn::load(loader, hparams, il, &dense())?))
        };
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        let layer = Layer {
            attn_norm: norm("attn_norm")?,
            attn_post_norm: norm("post_attention_norm")?,
            ffn_norm,
            ffn_post_norm: norm("post_ffw_norm")?,
            ..Layer::of(il, Some(Box::new(attention)), ffn)
        };
        let mut of_tokens = None;
        if n > 0 {
            of_tokens = Some(PerLayer::load(loader, hparams, il, n)?);
        }
        let scale = loader.optional(&block(il, "layer_output_scale.weight"), &[1], Elementwise)?;
        layers.push(Gemma4Layer { layer, per_layer: of_tokens, scale });
    }
    Ok(Box::new(Gemma4 { embeddings, per_layer, layers, output }))
}

/// The dense network of a layer.
fn dense() -> FfnSpec {
    FfnSpec { activation: Activation::Gelu, scales: Scales::All, ..FfnSpec::default() }
}

impl Network for Gemma4 {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let mut x = self.embeddings.forward(&mut b)?;
        let mut rows = None;
        if let Some(inputs) = &self.per_layer {
            rows = Some(inputs.forward(&mut b, x)?);
        }
        for Gemma4Layer { layer, per_layer, scale } in &self.layers {
            x = layer.forward(&mut b, x)?;
            if let (Some(rows), Some(per_layer)) = (rows, per_layer) {
                let of_layer = PerLayerInputs::of_layer(&mut b, rows, layer.il)?;
                let of_layer = b.keep_if_last(layer.il, of_layer)?;
                let more = per_layer.forward(&mut b, x, of_layer)?;
                x = b.graph.add(x, more)?;
            }
            if let Some(scale) = scale {
                let scale = b.weight(scale)?;
                x = b.graph.mul(x, scale)?;
            }
        }
        let (embd, logits) = self.output.forward(&mut b, x)?;
        Ok(b.finish(embd, logits))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        self.layers.iter().map(|layer| layer.layer.memory()).collect()
    }

    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>> {
        self.layers.get(il)?.layer.key_rotation()
    }
}

/// A dense network and experts side by side, each between norms of its own; the router reads rows that are normed in another way.
#[derive(Debug)]
struct DenseAndExperts {
    dense_norm: Norm,
    dense: Ffn,
    dense_post_norm: Norm,
    /// Without a weight.
    router_norm: Norm,
    router_scale: Weight,
    experts_norm: Norm,
    experts: Moe,
    experts_post_norm: Norm,
}

impl DenseAndExperts {
    fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<DenseAndExperts, Error> {
        let moe = MoeSpec {
            n_ff: Some(hparams.experts.n_ff),
            activation: Activation::Gelu,
            may_be_merged: true,
            scales: true,
            ..MoeSpec::default()
        };
        let router_scale =
            loader.require(&block(il, "ffn_gate_inp.scale"), &[hparams.n_embd], Elementwise)?;
        let dense = Ffn::load(loader, hparams, il, &dense())?;
        let experts = Moe::load(loader, hparams, il, &moe)?;
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never);
        Ok(DenseAndExperts {
            dense_norm: norm("ffn_norm")?,
            dense,
            dense_post_norm: norm("post_ffw_norm_1")?,
            router_norm: Norm::weightless(hparams),
            router_scale,
            experts_norm: norm("pre_ffw_norm_2")?,
            experts,
            experts_post_norm: norm("post_ffw_norm_2")?,
        })
    }
}

impl Block for DenseAndExperts {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let dense = self.dense_norm.forward(b, x)?;
        let dense = self.dense.forward(b, dense)?;
        let dense = self.dense_post_norm.forward(b, dense)?;
        let routed = self.router_norm.forward(b, x)?;
        let routed = b.graph.scale(routed, 1.0 / (b.graph[x].ne[0] as f32).sqrt(), 0.0)?;
        let scale = b.weight(&self.router_scale)?;
        let routed = b.graph.mul(routed, scale)?;
        let experts = self.experts_norm.forward(b, x)?;
        let experts = self.experts.mix(b, experts, routed)?;
        let experts = self.experts_post_norm.forward(b, experts)?;
        Ok(b.graph.add(dense, experts)?)
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        30 => "26B.A4B",
        35 => "E2B",
        42 => "E4B",
        60 => "31B",
        _ => UNKNOWN_SIZE,
    }
}
