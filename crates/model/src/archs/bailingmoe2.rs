//! `bailingmoe2`: one projection, norms on heads, dense layers first, then experts in groups, and a network beside them. Answers to
//! `src/models/bailingmoe2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, OutputSpec, Projections, QkNorm, Shared, Tied,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "bailingmoe2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.heads_fill_rows()?;
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    let n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(hparams.experts.n_ff);
    hparams.experts.n_ff_shared = n_ff_shared * keys.required_width("expert_shared_count")?;
    hparams.experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    hparams.experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    hparams.experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    hparams.experts.gating = Gating::read(keys, None)?;
    hparams.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());

    let experts = hparams.experts;
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        qk_norm: QkNorm::Head,
        ..AttentionSpec::default()
    };
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
        20 => "16B.A1B",
        32 => "100B.A6B",
        _ => UNKNOWN_SIZE,
    }
}
