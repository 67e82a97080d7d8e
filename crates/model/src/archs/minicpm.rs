//! `minicpm`: as granite with factors of its own where the file has none. Answers to `src/models/minicpm.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::Network;
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "minicpm", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.multipliers.embeddings = keys.f32("embedding_scale")?.unwrap_or(12.0);
    let residual = 1.4 / (hparams.n_layer() as f32).sqrt();
    hparams.multipliers.residual = keys.f32("residual_scale")?.unwrap_or(residual);
    // Logits are divided by it, although the constant looks like a factor; real files carry the key.
    hparams.multipliers.logits = keys.f32("logit_scale")?.unwrap_or(256.0 / hparams.n_embd as f32);
    if hparams.multipliers.logits == 0.0 {
        return Err(keys.error("logit_scale", &0, "a number to divide logits by"));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    super::granite::load_scaled(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        52 => "1B",
        40 => "2B",
        _ => UNKNOWN_SIZE,
    }
}
