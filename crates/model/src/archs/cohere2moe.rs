//! `cohere2moe`: as `cohere2` with dense layers first, which all know positions, and then experts, whose result is averaged with that of
//! a network beside them. Answers to `src/models/cohere2moe.cpp` without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Decoder, FfnSpec, MoeLayers, MoeSpec, Network, Norms, OutputSpec, Residual, Scales, Shared,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "cohere2moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let rms = keys.f32("attention.layer_norm_rms_epsilon")?.unwrap_or(0.0) != 0.0;
    let norm = if rms { NormKind::Rms } else { NormKind::Layer };
    let hparams = Hparams::read_with_experts(keys, norm, Some(RopeMode::Norm))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    match keys.scalar_u32("attention.sliding_window_pattern")? {
        Some(period) => hparams.set_windows_behind_first(window, period),
        None => hparams.set_windows_by_key(keys, window)?,
    }
    keys.f32("rope.freq_base_swa")?;
    hparams.rotate_only_windows();
    hparams.multipliers.logits = keys.required_f32("logit_scale")?;
    let n_ff = hparams.n_ff();
    let experts = &mut hparams.experts;
    experts.n_dense_lead = keys.u32("leading_dense_block_count")?;
    experts.n_ff = Some(keys.u32("expert_feed_forward_length")?).filter(|n| *n > 0).unwrap_or(n_ff);
    if let Some(n_shared) = keys.width("expert_shared_count")? {
        let n_ff_shared = keys.width("expert_shared_feed_forward_length")?;
        experts.n_ff_shared = n_ff_shared.unwrap_or(experts.n_ff.saturating_mul(n_shared));
    }
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(Gating::Sigmoid))?;
    for layer in hparams.layers.iter_mut().take(hparams.experts.n_dense_lead) {
        layer.rope = LayerRope::Context;
    }
    hparams.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let experts = hparams.experts;
    let ffn = FfnSpec { scales: Scales::All, ..FfnSpec::default() };
    let shared = Some(experts.n_ff_shared).filter(|n_ff| *n_ff > 0).map(|n_ff| Shared {
        ffn: FfnSpec { n_ff: Some(n_ff), suffix: "_shexp", ..ffn.clone() },
        is_averaged: true,
        is_gated: false,
    });
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        normalised: experts.normalised,
        scale: experts.scale,
        may_be_merged: true,
        scales: true,
        shared,
        ..MoeSpec::default()
    };
    let scale = hparams.multipliers.logits;
    Decoder {
        norms: Norms::Before("attn_norm", None),
        residual: Residual::ParallelStreamFirst,
        ffn,
        moe: Some((moe, MoeLayers::from(experts.n_dense_lead))),
        output: OutputSpec { logit_scale: (scale != 0.0).then_some(scale), ..OutputSpec::default() },
        ..Decoder::default()
    }
    .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        49 => "30B.A3B",
        _ => UNKNOWN_SIZE,
    }
}
