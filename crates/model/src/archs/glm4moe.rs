//! `glm4moe`: heads rotated in part and perhaps normed, dense layers first, then experts chosen by biased scores, and a network
//! beside them. Answers to `src/models/glm4-moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, MoeLayers, MoeSpec, Network, Norms, QkNorm, Shared};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "glm4moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.has_one_head_size()?;
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    hparams.experts.n_ff_shared = hparams.experts.n_ff * keys.required_width("expert_shared_count")?;

    hparams.experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    hparams.experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    hparams.experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    hparams.experts.gating = Gating::read(keys, Some(Gating::Sigmoid))?;
    hparams.turn_by_sections_if_any(keys)?.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());

    let experts = hparams.experts;
    let attention = AttentionSpec { qk_norm: QkNorm::OptionalHead, ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", true)),
        normalised: experts.normalised,
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers::from(experts.n_dense_lead)));
    let norms = Norms::Before("attn_norm", Some("post_attention_norm"));
    Decoder { norms, attention, moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        46 => "106B.A12B",
        48 => "102B.A12B",
        92 => "355B.A32B",
        _ => UNKNOWN_SIZE,
    }
}
