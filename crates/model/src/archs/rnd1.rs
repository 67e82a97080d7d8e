//! `rnd1`: a diffusion model made of qwen3moe's layers: tokens see each other, and nothing is remembered. Answers to
//! `src/models/rnd1.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, QkNorm};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "rnd1", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or_else(|| hparams.n_ff_by_use());
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention =
        AttentionSpec { qk_norm: QkNorm::Head, out_bias: Bias::Never, ..AttentionSpec::of_encoder() };
    let moe = MoeSpec { n_ff: Some(hparams.experts.n_ff), ..MoeSpec::default() };
    let moe = Some((moe, MoeLayers::ALL));
    Decoder { attention, moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        48 => "30B.A3B",
        _ => UNKNOWN_SIZE,
    }
}
