//! `minimax-m2`: norms on all queries and keys together, heads rotated in part, experts chosen by biased scores; biases of
//! projections are not used. Answers to `src/models/minimax-m2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, OutputSpec, Projections, QkNorm, Tied,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "minimax-m2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.has_one_head_size()?;
    // It must be there, and the experts are as wide as the layers say.
    keys.required_width("expert_feed_forward_length")?;
    hparams.experts.gating = Gating::read(keys, None)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Unused,
        qkv_scales: false,
        qk_norm: QkNorm::Whole,
        ..AttentionSpec::default()
    };
    let moe = MoeSpec {
        gating: hparams.experts.gating,
        choice_bias: Some(("exp_probs_b.bias", true)),
        ..MoeSpec::default()
    };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { attention, moe: Some((moe, MoeLayers::ALL)), output, ..Decoder::default() }
        .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        62 => "230B.A10B",
        _ => UNKNOWN_SIZE,
    }
}
