//! `ernie4_5`: as llama; a bias on attention that its files may carry is not used. Answers to `src/models/ernie4-5.cpp`, the dense
//! half.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "ernie4_5", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    // Some files of this dense model say that it has experts.
    Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?
        .rotates_whole_heads()?
        .has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Unused, ..AttentionSpec::default() };
    Decoder { attention, ..Decoder::default() }.load(loader, hparams)
}

pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        18 => "0.3B",
        28 => "21B.A3B",
        54 => "300B.A47B",
        _ => UNKNOWN_SIZE,
    }
}
