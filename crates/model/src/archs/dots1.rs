//! `dots1`: norms on heads, dense layers first, then experts chosen by biased scores, and a network beside them. Answers to
//! `src/models/dots1.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, MoeLayers, MoeSpec, Network, OutputSpec, QkNorm, Shared, Tied};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "dots1", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    hparams.experts.n_ff_shared = hparams.experts.n_ff * keys.required_width("expert_shared_count")?;

    hparams.experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    hparams.experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    hparams.experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    hparams.experts.gating = Gating::read(keys, None)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let attention = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", false)),
        normalised: experts.normalised,
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers::from(experts.n_dense_lead)));
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { attention, moe, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        62 => "142B",
        _ => UNKNOWN_SIZE,
    }
}
