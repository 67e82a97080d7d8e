//! `laguna`: heads by layer, norms on them, a gate on what attention gives, windows in all but the first of four layers that turn in a way
//! of their own, dense layers first, then experts and a network beside them. Answers to `src/models/laguna.cpp`.

use quipu_graph::{RopeMode, UnaryOp};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Decoder, GateSpec, GateWidth, MoeLayers, MoeSpec, Network, QkNorm, Shared,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "laguna", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.has_one_head_size()?;
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(0);
    if n_swa > 0 {
        let window = hparams.standard_window(n_swa)?;
        let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4);
        hparams.set_windows_behind_first(window, period);
        let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(hparams.rope_freq_base);
        hparams.rotate_windows(LayerRope::OwnUnscaled { freq_base });
        hparams.turn_in_windows(keys)?;
    }
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    let n_shared = keys.optional_u32("expert_shared_count")?.unwrap_or(1);
    let n_ff_shared = keys.width("expert_shared_feed_forward_length")?;
    experts.n_ff_shared = n_ff_shared.unwrap_or(experts.n_ff.saturating_mul(n_shared));
    experts.n_dense_lead = keys.u32("leading_dense_block_count")?;
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(Gating::Sigmoid))?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let gate = GateSpec { function: UnaryOp::Softplus, width: GateWidth::Either, is_optional: false };
    let attention = AttentionSpec { qk_norm: QkNorm::Head, gate: Some(gate), ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", true)),
        normalised: experts.normalised,
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers::from(experts.n_dense_lead)));
    Decoder { attention, moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "30B.A3B",
        48 => "118B.A8B",
        70 => "230B.A10B",
        _ => UNKNOWN_SIZE,
    }
}
