//! `eurobert`: llama's layers as an encoder, with rotary halves. Answers to `src/models/eurobert.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Encoder, Ffn, FfnSpec, HeadSpec, Layer, Network, Norm,
    RopeFactors,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "eurobert", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.heads_fill_rows()?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let final_norm = Norm::load(loader, hparams, "output_norm", &[hparams.n_embd], Bias::Never)?;
    let head = HeadSpec { n_dense: Some(0), has_output: false, ..HeadSpec::default() };
    Encoder::load(loader, hparams, embeddings, Some(final_norm), &head, |loader, il| {
        let attn_norm = Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?);
        let ffn_norm = Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?);
        let spec = AttentionSpec::of_encoder();
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &spec)?;
        let ffn = Ffn::load(loader, hparams, il, &FfnSpec::default())?;
        Ok(Layer { attn_norm, ffn_norm, ..Layer::new(il, attention, ffn) })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        12 => "Small",
        _ => UNKNOWN_SIZE,
    }
}
