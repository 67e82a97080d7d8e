//! `dream`: a diffusion model made of qwen2's layers: tokens see each other, and nothing is remembered. Answers to
//! `src/models/dream.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Network, OutputSpec};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "dream", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    // A bias on logits is loaded and not added.
    let output = OutputSpec { bias: Bias::Unused, ..OutputSpec::default() };
    Decoder { attention: AttentionSpec::of_encoder(), output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        28 => "7B",
        _ => UNKNOWN_SIZE,
    }
}
