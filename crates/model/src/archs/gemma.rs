//! `gemma`: scaled embeddings that are the output matrix too, GeGLU, queries scaled before the scores. Answers to
//! `src/models/gemma.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output,
    OutputSpec, RopeFactors, Scale, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gemma", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.scaled((hparams.n_embd as f32).sqrt());
    let output = OutputSpec { tied: Tied::Always, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    let attention = AttentionSpec { scale: Scale::Queries, ..AttentionSpec::default() };
    let ffn = FfnSpec { activation: Activation::Gelu, ..FfnSpec::default() };
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
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
        18 => "2B",
        28 => "7B",
        _ => UNKNOWN_SIZE,
    }
}
