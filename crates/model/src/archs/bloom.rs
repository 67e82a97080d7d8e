//! `bloom`: ALiBi, a norm on the embeddings, one projection, biases everywhere, GELU. Answers to `src/models/bloom.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, Embeddings, FfnSpec, Gate, Network, Norm, OutputSpec,
    Projections,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "bloom", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, None)?.heads_fill_rows()?;
    hparams.max_alibi_bias = 8.0;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let norm = Norm::load(loader, hparams, "token_embd_norm", &[hparams.n_embd], Bias::Required)?;
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
    let output = OutputSpec { norm_bias: Bias::Required, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }.load_behind(
        loader,
        hparams,
        embeddings.normed(norm),
    )
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (24, _) => "1B",
        (30, 2560) => "3B",
        (30, 4096) => "7B",
        _ => UNKNOWN_SIZE,
    }
}
