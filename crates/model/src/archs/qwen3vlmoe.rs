//! `qwen3vlmoe`: as `qwen3moe` with four positions for each token; embeddings of images bring rows for the first layers too. Answers to
//! `src/models/qwen3vlmoe.cpp`.

use quipu_graph::RopeMode;

use super::qwen3vl::with_images;
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, MoeLayers, MoeSpec, Network, QkNorm};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen3vlmoe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = with_images(hparams, keys)?;
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or(hparams.n_ff_by_use());
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() };
    let moe = MoeSpec { n_ff: Some(hparams.experts.n_ff), ..MoeSpec::default() };
    Decoder { attention, moe: Some((moe, MoeLayers::ALL)), ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        48 => "30B.A3B",
        94 => "235B.A22B",
        _ => UNKNOWN_SIZE,
    }
}
