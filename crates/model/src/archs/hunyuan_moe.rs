//! `hunyuan-moe`: norms on heads behind the rotation, experts in every layer, and a network beside them. Answers to
//! `src/models/hunyuan-moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, MoeLayers, MoeSpec, Network, QkNorm, Shared};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "hunyuan-moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    // It must be there, and the experts are as wide as the layers say.
    keys.required_width("expert_feed_forward_length")?;
    hparams.experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { qk_norm: QkNorm::Head, norm_rotated: true, ..AttentionSpec::default() };
    let n_ff_shared = Some(hparams.experts.n_ff_shared).filter(|n_ff| *n_ff > 0);
    let shared = Shared::of_width(n_ff_shared.unwrap_or_else(|| hparams.n_ff()));
    let moe = MoeSpec { shared: Some(shared), ..MoeSpec::default() };
    Decoder { attention, moe: Some((moe, MoeLayers::ALL)), ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "A13B",
        _ => UNKNOWN_SIZE,
    }
}
