//! `chatglm`: heads rotated in part, gate and up in one matrix. Answers to `src/models/chatglm.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, FfnSpec, Gate, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "chatglm", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let ffn = FfnSpec { gate: Gate::Halves, ..FfnSpec::default() };
    Decoder { ffn, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_head) {
        (28, 16) => "1.5B",
        (28, _) => "6B",
        (40, 24) => "4B",
        (40, _) => "9B",
        _ => UNKNOWN_SIZE,
    }
}
