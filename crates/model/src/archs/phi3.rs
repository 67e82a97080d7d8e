//! `phi3`: gate and up in one matrix, queries scaled before the scores, rotary factors by context length. Answers to
//! `src/models/phi3.cpp`, which reads a window and switches it off.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Gate, Layer, Network, Norm, Output, OutputSpec,
    RopeFactors, Scale, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "phi3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let factors = RopeFactors::by_length(loader, hparams)?;
    let attention = AttentionSpec { scale: Scale::Queries, ..AttentionSpec::default() };
    let ffn = FfnSpec { gate: Gate::Halves, ..FfnSpec::default() };
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &factors, &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        Ok(Layer {
            attn_norm: Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?),
            ffn_norm: Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?),
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "1B",
        32 => "3B",
        40 => "14B",
        _ => UNKNOWN_SIZE,
    }
}
