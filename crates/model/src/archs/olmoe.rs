//! `olmoe`: experts, and norms on all queries and keys together; biases that its files may carry are not used. Answers to
//! `src/models/olmoe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, OutputSpec, Projections, QkNorm, Tied,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "olmoe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?
        .has_experts()?
        .rotates_whole_heads()?
        .heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Unused,
        qkv_scales: false,
        qk_norm: QkNorm::Whole,
        ..AttentionSpec::default()
    };
    let moe = MoeSpec { normalised: false, ..MoeSpec::default() };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { attention, moe: Some((moe, MoeLayers::ALL)), output, ..Decoder::default() }
        .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        16 => "A1.7B",
        _ => UNKNOWN_SIZE,
    }
}
