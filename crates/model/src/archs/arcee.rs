//! `arcee`: as llama with squares of what is positive in place of a gate. Answers to `src/models/arcee.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Activation, Decoder, Factors, FfnSpec, Gate, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "arcee", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let ffn = FfnSpec { activation: Activation::ReluSquared, gate: Gate::None, ..FfnSpec::default() };
    Decoder { factors: Factors::One, ffn, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        36 => "4B",
        _ => UNKNOWN_SIZE,
    }
}
