//! `paddleocr`: as `ernie4_5` with four positions for each token, and a bias on attention where the file has one. Answers to
//! `src/models/paddleocr.cpp`.

use quipu_graph::RopeMode;

use super::Architecture;
use super::ernie4_5::size_class;
use crate::blocks::{AttentionSpec, Bias, Decoder, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "paddleocr", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    // Some files of this dense model say that it has experts.
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.turn_by_sections(keys, false)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::default() };
    Decoder { attention, ..Decoder::default() }.load(loader, hparams)
}
