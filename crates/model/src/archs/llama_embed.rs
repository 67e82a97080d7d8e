//! `llama-embed`: llama's layers, whose tokens attend over their own batch, and rows as the result. Answers to
//! `src/models/llama-embed.cpp`; an output matrix is not used.

use quipu_graph::RopeMode;

use super::{Architecture, llama};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Decoder, Embeddings, Encoder, Factors, FfnSpec, HeadSpec, MoeLayers,
    MoeSpec, Network, Norm, Scales,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture =
    Architecture { name: "llama-embed", hparams, load, size_class: llama::ARCH.size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    hparams.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::of_encoder() };
    let ffn = FfnSpec { bias: Bias::Optional, scales: Scales::All, ..FfnSpec::default() };
    let moe = MoeSpec { gate_is_optional: true, scales: true, ..MoeSpec::default() };
    let moe = (hparams.experts.n > 0).then_some((moe, MoeLayers::ALL));
    let decoder = Decoder { factors: Factors::ByScaling, attention, ffn, moe, ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let final_norm = Norm::load(loader, hparams, "output_norm", &[hparams.n_embd], Bias::Never)?;
    loader.ignore("output.weight");
    let factors = decoder.factors(loader, hparams)?;
    let head = HeadSpec { n_dense: Some(0), has_output: false, ..HeadSpec::default() };
    Encoder::load(loader, hparams, embeddings, Some(final_norm), &head, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}
