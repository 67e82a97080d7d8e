//! `qwen35moe`: as qwen35, with experts. Answers to `src/models/qwen35moe.cpp`, for text, without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE, qwen3next, qwen35};
use crate::blocks::{DeltaNetKind, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen35moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    qwen3next::read_experts(keys, qwen35::read(keys, hparams)?)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    qwen3next::load_layers(loader, hparams, DeltaNetKind::Qwen35, Some(qwen3next::experts(hparams)))
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "35B.A3B",
        48 => "122B.A10B",
        60 => "397B.A17B",
        _ => UNKNOWN_SIZE,
    }
}
