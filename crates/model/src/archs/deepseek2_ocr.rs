//! `deepseek2-ocr`: the networks of `deepseek2` behind plain attention that turns halves by a fixed base. Answers to
//! `src/models/deepseek2ocr.cpp`.

use quipu_graph::RopeMode;

use super::deepseek2::experts;
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Network, Projections};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "deepseek2-ocr", hparams, load, size_class };

/// The base that the reference's graph insists on.
const FREQ_BASE: f32 = 10000.0;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    if (hparams.rope_freq_base - FREQ_BASE).abs() >= 1e-4 {
        return Err(keys.error("rope.freq_base", &hparams.rope_freq_base, FREQ_BASE.to_string()));
    }
    if hparams.rope_freq_scale.to_bits() != 1f32.to_bits() {
        // It would scale scores and nothing else.
        return Err(keys.error("rope.scaling.factor", &(1.0 / hparams.rope_freq_scale), "no scaling"));
    }
    for layer in &mut hparams.layers {
        layer.rope = LayerRope::OwnUnscaled { freq_base: FREQ_BASE };
        if layer.n_head_kv != layer.n_head {
            let expected = format!("{}, one for each head", layer.n_head);
            return Err(keys.error("attention.head_count_kv", &layer.n_head_kv, expected));
        }
    }
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = experts.n_ff.saturating_mul(keys.required_width("expert_shared_count")?);
    experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(Gating::Softmax))?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Never,
        qkv_scales: false,
        ..AttentionSpec::default()
    };
    Decoder { attention, moe: Some(experts(hparams)), ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        12 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
