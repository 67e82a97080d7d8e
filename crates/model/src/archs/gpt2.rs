//! `gpt2`: learned positions, fused projections, biases everywhere, GELU. Answers to `src/models/gpt2.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Gate, Layer, Network, Norm, Output,
    OutputSpec, Projections, RopeFactors, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gpt2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, None)?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_positions(loader, hparams)?;
    let output = OutputSpec { norm_bias: Bias::Required, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
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
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        Ok(Layer {
            attn_norm: Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Required)?),
            ffn_norm: Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Required)?),
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        12 => "0.1B",
        24 => "0.4B",
        36 => "0.8B",
        48 => "1.5B",
        _ => UNKNOWN_SIZE,
    }
}
