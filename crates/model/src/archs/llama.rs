//! `llama`: pre-norm, rotary neighbours, grouped queries, SwiGLU. Answers to `src/models/llama.cpp` (dense).

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output, OutputSpec,
    RopeFactors, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "llama", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let factors = RopeFactors::by_scaling(loader, hparams)?;
    let attention = AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::default() };
    let ffn = FfnSpec { bias: Bias::Optional, scales: true, ..FfnSpec::default() };
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
        32 if size.n_expert == 8 => "8x7B",
        56 if size.n_expert == 8 => "8x22B",
        _ if size.n_expert == 8 => UNKNOWN_SIZE,
        16 | 22 => "1B",
        26 | 28 => "3B",
        30 => "256M",
        32 if size.n_vocab == 49152 => "3B",
        32 if size.n_vocab < 40000 => "7B",
        32 | 36 => "8B",
        40 => "13B",
        48 => "34B",
        60 => "30B",
        80 if size.n_head == size.n_head_kv => "65B",
        80 => "70B",
        _ => UNKNOWN_SIZE,
    }
}
