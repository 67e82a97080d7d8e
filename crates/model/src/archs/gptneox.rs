//! `gptneox`: both blocks read the residual stream through norms of their own, side by side or one after the other. Answers to
//! `src/models/gptneox.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, FfnSpec, Gate, Network, OutputSpec, Projections, Residual, Tied,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gptneox", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?;
    let mut hparams = hparams.heads_fill_rows()?;
    let parallel = keys.bool("use_parallel_residual")?;
    let missing = || keys.error("use_parallel_residual", &"missing", "true or false");
    hparams.is_parallel = parallel.ok_or_else(missing)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let residual = if hparams.is_parallel { Residual::ParallelStreamFirst } else { Residual::Sequential };
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Required,
        out_bias: Bias::Required,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec {
        activation: Activation::Gelu,
        gate: Gate::None,
        bias: Bias::Required,
        ..FfnSpec::default()
    };
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, residual, ffn, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_ff) {
        (6, 512) => "14M",
        (6, 2048) => "70M",
        (12, 3072) => "160M",
        (16, 8192) => "1B",
        (24, 4096) => "410M",
        (24, 8192) => "1.4B",
        (32, 10240) => "2.8B",
        (32, 16384) => "6.9B",
        (36, 20480) => "12B",
        (44, 24576) => "20B",
        _ => UNKNOWN_SIZE,
    }
}
