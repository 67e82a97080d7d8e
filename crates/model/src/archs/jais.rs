//! `jais`: ALiBi, scores divided by the head size, one projection, SwiGLU, biases everywhere. Answers to `src/models/jais.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, FfnSpec, Network, OutputSpec, Projections, Scale, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "jais", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, None)?.heads_fill_rows()?;
    hparams.max_alibi_bias = keys.f32("attention.max_alibi_bias")?.unwrap_or(0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let head_size = hparams.layers.first().map_or(0, |layer| layer.n_embd_head_v);
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Required,
        scale: Scale::Factor(1.0 / head_size as f32),
        out_bias: Bias::Required,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec { bias: Bias::Required, ..FfnSpec::default() };
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "1.3B",
        40 => "13B",
        _ => UNKNOWN_SIZE,
    }
}
