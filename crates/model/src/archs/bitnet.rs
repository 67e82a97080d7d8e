//! `bitnet`: a norm before the last matrix of both blocks, and factors beside all matrices. Answers to `src/models/bitnet.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, FfnSpec, Network, OutputSpec, Projections, Scales, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "bitnet", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Never,
        sub_norm: true,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec { scales: Scales::All, sub_norm: true, ..FfnSpec::default() };
    let output = OutputSpec { tied: Tied::Always, ..OutputSpec::default() };
    Decoder { attention, ffn, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        26 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
