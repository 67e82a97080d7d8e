//! `bailingmoe`: experts in every layer, with a network beside them that every token goes through. Answers to
//! `src/models/bailingmoe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, MoeLayers, MoeSpec, Network, OutputSpec, Shared, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "bailingmoe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    hparams.experts.n_ff_shared = hparams.experts.n_ff * keys.required_width("expert_shared_count")?;

    hparams.experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    hparams.experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        normalised: experts.normalised,
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { moe: Some((moe, MoeLayers::ALL)), output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        28 => "16B",
        88 => "290B",
        _ => UNKNOWN_SIZE,
    }
}
