//! `orion`: as llama with layer norms and rotary halves. Answers to `src/models/orion.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Bias, Decoder, Network, OutputSpec, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "orion", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.rotates_whole_heads()?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    Decoder { norm_bias: Bias::Required, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "14B",
        _ => UNKNOWN_SIZE,
    }
}
