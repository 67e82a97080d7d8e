//! `nomic-bert`: as bert with rotary positions and SwiGLU, whose biases are not used. Answers to `src/models/nomic-bert.cpp`.

use quipu_graph::RopeMode;

use super::bert::Bert;
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Bias, Embeddings, Ffn, FfnSpec, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "nomic-bert", hparams, load, size_class };

/// What both kinds of this family read.
pub(super) fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Layer, Some(RopeMode::Neox))?;
    let mut hparams = hparams.heads_fill_rows()?;
    hparams.encoder.moe_period = keys.optional_dim("moe_every_n_layers")?.unwrap_or(0);
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_types(loader, hparams)?;
    Bert { ffn: swiglu, ..Bert::default() }.load(loader, hparams, embeddings)
}

fn swiglu(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<Ffn, Error> {
    Ffn::load(loader, hparams, il, &FfnSpec { bias: Bias::Unused, ..FfnSpec::default() })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        12 if size.n_embd == 768 => "137M",
        _ => UNKNOWN_SIZE,
    }
}
