//! `openelm`: heads and widths differ from layer to layer; norms on the heads of queries and keys. Answers to
//! `src/models/openelm.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Network, OutputSpec, Projections, QkNorm, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "openelm", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        qkv_scales: false,
        qk_norm: QkNorm::Head,
        ..AttentionSpec::default()
    };
    let output = OutputSpec { tied: Tied::Always, ..OutputSpec::default() };
    Decoder { attention, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        16 => "270M",
        20 => "450M",
        28 => "1B",
        36 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
