//! `plamo`: both blocks side by side behind one norm. Answers to `src/models/plamo.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, Network, Norms, OutputSpec, Residual, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "plamo", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.rotates_whole_heads()?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let norms = Norms::Before("attn_norm", None);
    let residual = Residual::ParallelMixedFirst;
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { norms, residual, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "13B",
        _ => UNKNOWN_SIZE,
    }
}
