//! `hunyuan-dense`: rotary halves of a base that grows with a factor, and norms on the heads of queries and keys behind the rotation.
//! Answers to `src/models/hunyuan-vl.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, Network, QkNorm};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "hunyuan-dense", hparams, load, size_class };

pub(super) fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let mut hparams = hparams.turn_by_sections_if_any(keys)?;
    let alpha = keys.f32("rope.scaling.alpha")?.unwrap_or(0.0);
    if let Some(layer) = hparams.layers.first().filter(|layer| alpha > 0.0 && layer.n_embd_head_k > 2) {
        let dim = layer.n_embd_head_k as f32;
        hparams.rope_freq_base *= alpha.powf(dim / (dim - 2.0));
    }
    Ok(hparams)
}

pub(super) fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { qk_norm: QkNorm::Head, norm_rotated: true, ..AttentionSpec::default() };
    Decoder { attention, ..Decoder::default() }.load(loader, hparams)
}

pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_embd {
        1024 => "0.5B",
        2048 => "1.8B",
        3072 => "4B",
        4096 => "7B",
        _ => UNKNOWN_SIZE,
    }
}
