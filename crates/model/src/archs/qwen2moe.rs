//! `qwen2moe`: as qwen2 with experts, and beside them a network whose result has a gate. Answers to `src/models/qwen2moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, MoeLayers, MoeSpec, Network, OutputSpec, Shared, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen2moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or_else(|| hparams.n_ff_by_use());
    let shared = keys.width("expert_shared_feed_forward_length")?;
    hparams.experts.n_ff_shared = shared.unwrap_or_else(|| hparams.n_ff());
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let shared = Shared { is_gated: true, ..Shared::of_width(hparams.experts.n_ff_shared) };
    let moe = MoeSpec {
        n_ff: Some(hparams.experts.n_ff),
        normalised: false,
        shared: Some(shared),
        ..MoeSpec::default()
    };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { moe: Some((moe, MoeLayers::ALL)), output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "A2.7B",
        28 => "57B.A14B",
        _ => UNKNOWN_SIZE,
    }
}
