//! `nemotron_h`: each layer is a state space model, attention without positions, or a feed-forward network. Answers to
//! `src/models/nemotron-h.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Block, Ffn, FfnSpec, Gate, Mamba2, Moe, MoeSpec, Network,
    RopeFactors, Scales, Shared, Singles,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "nemotron_h", hparams, load, size_class };

pub(super) fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const LATENT: &str = "moe_latent_size";
    let mut hparams = Hparams::read_with_experts(keys, NormKind::Rms, None)?.has_one_head_size()?;
    hparams.ssm = Ssm::read_heads(keys)?;
    if keys.optional_dim(LATENT)?.unwrap_or(0) > 0 {
        return Err(keys.error(LATENT, &"present", "experts as wide as the residual stream"));
    }
    let by_use = hparams.n_ff_by_use();
    let experts = &mut hparams.experts;
    experts.n_ff = keys.width("expert_feed_forward_length")?.filter(|n_ff| *n_ff > 0).unwrap_or(by_use);
    experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    Ok(hparams)
}

/// A layer without key heads and without a width is recurrent, without a width alone it attends.
pub(super) fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::default() };
    let ffn = FfnSpec {
        activation: Activation::ReluSquared,
        gate: Gate::None,
        bias: Bias::Optional,
        scales: Scales::All,
        ..FfnSpec::default()
    };
    let experts = hparams.experts;
    let shared =
        FfnSpec { bias: Bias::Never, n_ff: Some(experts.n_ff_shared), suffix: "_shexp", ..ffn.clone() };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: Gating::Sigmoid,
        choice_bias: Some(("exp_probs_b.bias", true)),
        normalised: experts.normalised,
        scale: experts.scale,
        activation: Activation::ReluSquared,
        gate_is_optional: true,
        scales: true,
        shared: Some(Shared { ffn: shared, is_gated: false, is_averaged: false }),
        ..MoeSpec::default()
    };
    let factors = RopeFactors::none();
    Singles::load(loader, hparams, |loader, il| {
        let layer = &hparams.layers[il];
        Ok::<Box<dyn Block>, Error>(match (layer.n_head_kv, layer.n_ff) {
            (0, 0) => Box::new(Mamba2::load(loader, hparams, il, false)?),
            (_, 0) => Box::new(Attention::load(loader, hparams, il, &factors, &attention)?),
            _ if experts.n > 0 => Box::new(Moe::load(loader, hparams, il, &moe)?),
            _ => Box::new(Ffn::load(loader, hparams, il, &ffn)?),
        })
    })
}

pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        52 => "31B.A3.5B",
        56 => "9B",
        88 => "120B.A12B",
        _ => UNKNOWN_SIZE,
    }
}
