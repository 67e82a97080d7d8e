//! `granite`: as llama with factors on embeddings, blocks, scores and logits; dense or with experts; positions may be left out.
//! Answers to `src/models/granite.cpp`.

use quipu_gguf::{Array, Value};
use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Bias, Decoder, Embeddings, Factors, FfnSpec, MoeLayers, MoeSpec, Network, OutputSpec,
    Scale, Shared,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "granite", hparams, load, size_class };

/// Which part of an image's embeddings each layer gets.
const DEEPSTACK: &str = "deepstack_mapping";

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = read(keys)?;
    if let Some(Value::Array(parts)) = keys.metadata.get(&keys.key(DEEPSTACK)) {
        hparams.deepstack = parts_of_layers(keys, parts, hparams.n_layer())?;
    }
    Ok(hparams)
}

/// Which part of an image's embeddings each layer but the first gets; a negative number is none.
fn parts_of_layers(keys: &Keys<'_>, parts: &Array, n_layer: usize) -> Result<Vec<Option<usize>>, Error> {
    let numbers: Vec<i64> = (0..n_layer).map(|il| parts.integer(il).map_or(-1, |n| n as i64)).collect();
    let mut known: Vec<i64> = numbers.iter().copied().filter(|n| *n >= 0).collect();
    known.sort_unstable();
    known.dedup();
    if known.first() == Some(&0) || known.last().is_some_and(|last| *last > known.len() as i64) {
        let expected = "numbers of parts, from 1 on without gaps, or -1";
        return Err(keys.error(DEEPSTACK, &format!("{numbers:?}"), expected));
    }
    let part = |(il, n): (usize, &i64)| usize::try_from(*n).ok().filter(|_| il > 0);
    Ok(numbers.iter().enumerate().map(part).collect())
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    load_scaled(loader, hparams)
}

/// What this family shares: factors, and whether positions are known at all.
pub(super) fn read(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.multipliers.logits = keys.required_f32("logit_scale")?;
    hparams.multipliers.residual = keys.f32("residual_scale")?.unwrap_or(0.0);
    hparams.multipliers.embeddings = keys.f32("embedding_scale")?.unwrap_or(0.0);
    hparams.multipliers.scores = keys.f32("attention.scale")?.unwrap_or(0.0);
    if !keys.bool("rope.scaling.finetuned")?.unwrap_or(true) {
        for layer in &mut hparams.layers {
            layer.rope = LayerRope::Off;
        }
    }
    hparams.experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(0);
    if hparams.multipliers.logits == 0.0 {
        return Err(keys.error("logit_scale", &0, "a number to divide logits by"));
    }
    Ok(hparams)
}

/// Layers between scaled embeddings and scaled logits; a factor of 0 is none.
pub(super) fn load_scaled(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let scales = hparams.multipliers;
    let some = |scale: f32| (scale != 0.0).then_some(scale);
    let mut embeddings = Embeddings::load(loader, hparams)?;
    if let Some(scale) = some(scales.embeddings) {
        embeddings = embeddings.scaled(scale);
    }
    let attention = AttentionSpec {
        scale: some(scales.scores).map_or(Scale::Scores, Scale::Factor),
        out_bias: Bias::Optional,
        ..AttentionSpec::default()
    };
    let shared = Some(hparams.experts.n_ff_shared).filter(|n_ff| *n_ff > 0).map(Shared::of_width);
    let moe = MoeSpec { gate_is_optional: true, shared, ..MoeSpec::default() };
    let decoder = Decoder {
        factors: Factors::ByScaling,
        attention,
        residual_scale: some(scales.residual),
        ffn: FfnSpec { bias: Bias::Optional, ..FfnSpec::default() },
        moe: (hparams.experts.n > 0).then_some((moe, MoeLayers::ALL)),
        output: OutputSpec { logit_scale: Some(1.0 / scales.logits), ..OutputSpec::default() },
        ..Decoder::default()
    };
    decoder.load_behind(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 | 40 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
