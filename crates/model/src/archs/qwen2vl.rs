//! `qwen2vl`: as `qwen2` with four positions for each token. Its norms have no epsilon: the reference never reads the key. Answers to
//! `src/models/qwen2vl.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Bias, Decoder, Network, OutputSpec};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen2vl", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.norm_eps = 0.0;
    hparams.turn_by_sections(keys, false)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let output = OutputSpec { bias: Bias::Optional, ..OutputSpec::default() };
    Decoder { output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(_: &SizeFacts) -> &'static str {
    UNKNOWN_SIZE
}
