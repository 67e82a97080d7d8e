//! `qwen3`: as llama with rotary halves and norms on the heads of queries and keys. Answers to `src/models/qwen3.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output, OutputSpec,
    QkNorm, RopeFactors, Scales, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    // A reranker's head: part of the file, not of generation.
    loader.classifier(hparams)?;
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let attention = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() };
    let ffn = FfnSpec { scales: Scales::All, ..FfnSpec::default() };
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
        28 if size.n_embd == 1024 => "0.6B",
        28 => "1.7B",
        36 if size.n_embd == 2560 => "4B",
        36 => "8B",
        40 => "14B",
        64 => "32B",
        _ => UNKNOWN_SIZE,
    }
}
