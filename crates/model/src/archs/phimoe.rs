//! `phimoe`: as phi3 with experts, norms with biases, and biases on attention and logits. Answers to `src/models/phimoe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Bias, Decoder, Factors, MoeLayers, MoeSpec, Network, OutputSpec, Scale, Tied,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "phimoe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention =
        AttentionSpec { scale: Scale::Queries, out_bias: Bias::Required, ..AttentionSpec::default() };
    let output = OutputSpec {
        norm_bias: Bias::Required,
        tied: Tied::Never,
        bias: Bias::Required,
        ..OutputSpec::default()
    };
    let decoder = Decoder {
        norm_bias: Bias::Required,
        factors: Factors::ByLength,
        attention,
        moe: Some((MoeSpec::default(), MoeLayers::ALL)),
        output,
        ..Decoder::default()
    };
    decoder.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "16x3.8B",
        _ => UNKNOWN_SIZE,
    }
}
