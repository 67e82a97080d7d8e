//! `talkie`: norms without weights, a factor for each query head, and the embeddings added again behind every layer. Answers to
//! `src/models/talkie.cpp`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Decoder, Embeddings, FfnSpec, KeyRotation, Layer, Network, Norm, Norms, Output,
    OutputSpec, QkNorm, Scales, Tied,
};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

pub(super) const ARCH: Architecture = Architecture { name: "talkie", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.multipliers.logits = keys.required_f32("logit_scale")?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        norms: Norms::Weightless,
        attention: AttentionSpec {
            qk_norm: QkNorm::Weightless,
            norm_rotated: true,
            ..AttentionSpec::default()
        },
        ffn: FfnSpec { scales: Scales::Down, ..FfnSpec::default() },
        output: OutputSpec {
            norm_weight: false,
            tied: Tied::Never,
            logit_scale: Some(hparams.multipliers.logits),
            ..OutputSpec::default()
        },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?.normed(Norm::weightless(hparams));
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    let mut layers = Vec::new();
    for il in 0..hparams.n_layer() {
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        let layer = decoder.layer(loader, hparams, il, attention, ffn)?;
        let share = loader.require(&block(il, "layer_output_scale.weight"), &[1], Elementwise)?;
        layers.push((layer, share));
    }
    Ok(Box::new(Talkie { embeddings, layers, output }))
}

/// Layers, and which share of the embeddings is added behind each.
#[derive(Debug)]
struct Talkie {
    embeddings: Embeddings,
    layers: Vec<(Layer, Weight)>,
    output: Output,
}

impl Network for Talkie {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let embd = self.embeddings.forward(&mut b)?;
        let mut x = embd;
        for (layer, share) in &self.layers {
            x = layer.forward(&mut b, x)?;
            let skip = b.keep_if_last(layer.il, embd)?;
            let share = b.weight(share)?;
            let skip = b.graph.mul(skip, share)?;
            x = b.graph.add(x, skip)?;
        }
        let (embd, logits) = self.output.forward(&mut b, x)?;
        Ok(b.finish(embd, logits))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        self.layers.iter().map(|(layer, _)| layer.memory()).collect()
    }

    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>> {
        self.layers.get(il)?.0.key_rotation()
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "13B",
        _ => UNKNOWN_SIZE,
    }
}
