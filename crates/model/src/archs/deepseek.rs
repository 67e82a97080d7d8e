//! `deepseek`: dense layers first, then experts with a network beside them that every token goes through. Answers to
//! `src/models/deepseek.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, MoeLayers, MoeSpec, Network, Shared};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "deepseek", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    hparams.experts.n_ff_shared = hparams.experts.n_ff * keys.required_width("expert_shared_count")?;

    hparams.experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    hparams.experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        normalised: false,
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers::from(experts.n_dense_lead)));
    Decoder { moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_ff_exp {
        1408 => "16B",
        1792 => "20B",
        _ => UNKNOWN_SIZE,
    }
}
