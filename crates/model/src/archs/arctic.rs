//! `arctic`: a dense network, and beside the whole layer experts that read the layer's input. Answers to `src/models/arctic.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, Bias, Decoder, Embeddings, FfnSpec, Moe, MoeSpec, Network, Norm, Output, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "arctic", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?
        .has_experts()?
        .rotates_whole_heads()?
        .heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder =
        Decoder { ffn: FfnSpec { n_ff: Some(hparams.n_embd), ..FfnSpec::default() }, ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        let mut layer = decoder.layer(loader, hparams, il, attention, ffn)?;
        let norm = Norm::of_layer(loader, hparams, il, "ffn_norm_exps", Bias::Never)?;
        let moe = Moe::load(loader, hparams, il, &MoeSpec::default())?;
        layer.beside = Some((norm, Box::new(moe)));
        Ok(layer)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_expert, size.n_layer) {
        (128, 35) => "10B+128x3.66B",
        _ => UNKNOWN_SIZE,
    }
}
