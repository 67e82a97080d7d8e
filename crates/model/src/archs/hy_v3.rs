//! `hy_v3`: norms on heads; layers with a router have experts, split or merged, chosen by biased scores, and a network beside them.
//! Answers to `src/models/hy-v3.cpp` without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Decoder, Embeddings, FfnSpec, MoeSpec, Network, Output, QkNorm, RopeFactors,
    Scales, Shared, Transformer,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "hy_v3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(experts.n_ff);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(Gating::Sigmoid))?;
    hparams.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let mut shared = Shared::of_width(experts.n_ff_shared);
    shared.ffn.scales = Scales::All;
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b", false)),
        normalised: experts.normalised,
        scale: experts.scale,
        may_be_merged: true,
        scales: true,
        shared: Some(shared),
        ..MoeSpec::default()
    };
    let decoder = Decoder {
        attention: AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() },
        ffn: FfnSpec { scales: Scales::All, ..FfnSpec::default() },
        ..Decoder::default()
    };
    loader.skip_layers_from(hparams.n_layer());
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &decoder.attention)?;
        let ffn = decoder.load_ffn_by_router(loader, hparams, il, &moe)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        48 => "30B.A3B",
        _ => UNKNOWN_SIZE,
    }
}
