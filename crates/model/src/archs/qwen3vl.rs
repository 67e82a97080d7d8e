//! `qwen3vl`: as `qwen3` with four positions for each token; embeddings of images bring rows for the first layers too. Answers to
//! `src/models/qwen3vl.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, Network, OutputSpec, QkNorm};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen3vl", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    with_images(Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?, keys)
}

/// Positions by sections that take turns, and parts of embeddings for the first layers.
pub(super) fn with_images(hparams: Hparams, keys: &Keys<'_>) -> Result<Hparams, Error> {
    const NAME: &str = "n_deepstack_layers";
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.turn_by_sections(keys, true)?;
    let n = keys.optional_u32(NAME)?.unwrap_or(0);
    if n >= hparams.n_layer() {
        return Err(keys.error(NAME, &n, format!("fewer than the {} layers", hparams.n_layer())));
    }
    // What the reference adds behind a layer is added before the next one.
    hparams.deepstack = (0..=n).map(|il| (il > 0).then_some(il)).collect();
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    load_with(loader, hparams, OutputSpec::default())
}

/// The decoder with another end.
pub(super) fn load_with(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    output: OutputSpec,
) -> Result<Box<dyn Network>, Error> {
    loader.classifier(hparams)?;
    let attention = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() };
    Decoder { attention, output, ..Decoder::default() }.load(loader, hparams)
}

pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        28 => "1.7B",
        36 if size.n_embd == 2560 => "4B",
        36 => "8B",
        64 => "32B",
        _ => UNKNOWN_SIZE,
    }
}
