//! `llada`: a diffusion model made of llama's layers: tokens see each other, and nothing is remembered. Biases and rotary factors that
//! its files may carry are not used. Answers to `src/models/llada.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Factors, FfnSpec, Network, Projections};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "llada", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Never,
        out_bias: Bias::Unused,
        ..AttentionSpec::of_encoder()
    };
    let ffn = FfnSpec { bias: Bias::Unused, ..FfnSpec::default() };
    Decoder { factors: Factors::Unused, attention, ffn, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "8B",
        _ => UNKNOWN_SIZE,
    }
}
