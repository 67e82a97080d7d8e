//! `mpt`: ALiBi or learned positions, one projection that may be clamped, biases where there are some, GELU. Answers to
//! `src/models/mpt.cpp`. A norm on queries is refused: the reference cannot compute it over one projection.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, Embeddings, FfnSpec, Gate, Network, OutputSpec, Projections,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "mpt", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, None)?.heads_fill_rows()?;
    hparams.clamp_kqv = keys.f32("attention.clamp_kqv")?.filter(|clamp| *clamp > 0.0);
    hparams.max_alibi_bias = keys.f32("attention.max_alibi_bias")?.unwrap_or(0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_optional_positions(loader, hparams)?;
    for il in 0..hparams.n_layer() {
        // A norm on keys counts only together with one on queries.
        loader.ignore(&block(il, "attn_k_norm.weight"));
        loader.ignore(&block(il, "attn_k_norm.bias"));
    }
    let attention = AttentionSpec {
        projections: Projections::Fused,
        clamp: hparams.clamp_kqv,
        out_bias: Bias::Optional,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec {
        activation: Activation::Gelu,
        gate: Gate::None,
        bias: Bias::Optional,
        act_divisors: true,
        ..FfnSpec::default()
    };
    let output = OutputSpec { norm_bias: Bias::Optional, ..OutputSpec::default() };
    let norm_bias = Bias::Optional;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }
        .load_behind(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "7B",
        48 => "30B",
        _ => UNKNOWN_SIZE,
    }
}
