//! `qwen2`: as llama with rotary halves and biases on queries, keys and values. Answers to `src/models/qwen2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output, OutputSpec,
    RopeFactors, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.rotates_whole_heads()?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = OutputSpec { bias: Bias::Optional, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention =
            Attention::load(loader, hparams, il, &RopeFactors::none(), &AttentionSpec::default())?;
        let ffn = Ffn::load(loader, hparams, il, &FfnSpec::default())?;
        Ok(Layer {
            attn_norm: Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?),
            ffn_norm: Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?),
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 if size.n_embd == 1024 => "0.5B",
        24 => "1B",
        28 if size.n_embd == 1536 => "1.5B",
        28 | 32 => "7B",
        36 => "3B",
        40 if size.n_head == 20 => "4B",
        40 => "13B",
        48 => "14B",
        64 => "32B",
        80 => "70B",
        _ => UNKNOWN_SIZE,
    }
}
