//! `ernie4_5-moe`: as ernie4_5 with dense layers first, then experts chosen by biased scores, and perhaps a network beside them.
//! Answers to `src/models/ernie4-5-moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, Shared};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "ernie4_5-moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const STEP: &str = "interleave_moe_layer_step";
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(0);
    experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    experts.period = keys.required_width(STEP)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let attention = AttentionSpec { out_bias: Bias::Unused, ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        choice_bias: Some(("exp_probs_b.bias", false)),
        gate_is_optional: true,
        shared: Some(experts.n_ff_shared).filter(|n_ff| *n_ff > 0).map(Shared::of_width),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers { first: experts.n_dense_lead, period: experts.period }));
    Decoder { attention, moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        18 => "0.3B",
        28 => "21B.A3B",
        54 => "300B.A47B",
        _ => UNKNOWN_SIZE,
    }
}
