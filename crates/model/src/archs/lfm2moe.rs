//! `lfm2moe`: as lfm2, with experts behind the first layers. Answers to `src/models/lfm2moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE, lfm2};
use crate::blocks::{Decoder, MoeLayers, MoeSpec, Network};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "lfm2moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const WIDTH: &str = "expert_feed_forward_length";
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = lfm2::read(keys, hparams.has_experts()?)?;
    let experts = &mut hparams.experts;
    experts.n_ff =
        keys.width(WIDTH)?.ok_or_else(|| keys.error(WIDTH, &"missing", "the width of the experts"))?;
    experts.n_dense_lead = keys.optional_dim("leading_dense_block_count")?.unwrap_or(0);
    experts.gating = Gating::read(keys, None)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", true)),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers::from(experts.n_dense_lead)));
    lfm2::load_decoder(loader, hparams, &Decoder { moe, ..Decoder::default() })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "8B.A1B",
        40 => "24B.A2B",
        _ => UNKNOWN_SIZE,
    }
}
