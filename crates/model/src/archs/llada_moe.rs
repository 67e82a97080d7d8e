//! `llada-moe`: as `llada` with rotary halves, norms on heads, and experts whose weights are not made to sum to one. Answers to
//! `src/models/llada-moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, MoeLayers, MoeSpec, Network, OutputSpec, QkNorm, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "llada-moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or_else(|| hparams.n_ff_by_use());
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::of_encoder() };
    let moe = MoeSpec { n_ff: Some(hparams.experts.n_ff), normalised: false, ..MoeSpec::default() };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    let moe = Some((moe, MoeLayers::ALL));
    Decoder { attention, moe, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        16 => "A1.7B",
        _ => UNKNOWN_SIZE,
    }
}
