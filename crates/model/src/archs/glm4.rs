//! `glm4`: norms around both blocks, heads rotated in part, gate and up in one matrix. Answers to `src/models/glm4.cpp`; with several
//! sections of positions, pairs are halves.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, FfnSpec, Gate, Network, Norms};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "glm4", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?.has_one_head_size()?;
    hparams.turn_by_sections_if_any(keys)?.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let ffn = FfnSpec { gate: Gate::Halves, ..FfnSpec::default() };
    Decoder { norms: Norms::Around, ffn, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        17 => "1B",
        40 => "9B",
        61 => "32B",
        _ => UNKNOWN_SIZE,
    }
}
