//! `afmoe`: norms around both blocks and on heads, a gate on what attention gives, windows in three layers of four and positions in
//! all but every fourth, dense layers first, then experts and a network beside them. Answers to `src/models/afmoe.cpp`.

use quipu_graph::{RopeMode, UnaryOp};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Decoder, Embeddings, GateSpec, GateWidth, MoeLayers, MoeSpec, Network, Norms, QkNorm,
    Shared,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "afmoe", hparams, load, size_class };

/// Every layer at the end of so many knows no positions.
const STILL_PERIOD: usize = 4;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.has_one_head_size()?;
    // The reference's graph asks for windows, which a file of the architecture therefore has.
    let window = hparams.standard_window(keys.optional_u32("attention.sliding_window")?.unwrap_or(0))?;
    hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4));
    hparams.rotate_windows_by_key(keys)?;
    for (il, layer) in hparams.layers.iter_mut().enumerate() {
        if (il + 1).is_multiple_of(STILL_PERIOD) {
            layer.rope = LayerRope::Off;
        }
    }
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = experts.n_ff.saturating_mul(keys.u32("expert_shared_count")?);
    experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(Gating::Sigmoid))?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let experts = hparams.experts;
    let gate = GateSpec { function: UnaryOp::Sigmoid, width: GateWidth::Elements, is_optional: false };
    let attention = AttentionSpec { qk_norm: QkNorm::Head, gate: Some(gate), ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", true)),
        normalised: experts.normalised,
        scale: experts.scale,
        shared: Some(experts.n_ff_shared).filter(|n_ff| *n_ff > 0).map(Shared::of_width),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers::from(experts.n_dense_lead)));
    let embeddings = Embeddings::load(loader, hparams)?.scaled((hparams.n_embd as f32).sqrt());
    Decoder { norms: Norms::Around, attention, moe, ..Decoder::default() }
        .load_behind(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "26B",
        56 => "6B",
        _ => UNKNOWN_SIZE,
    }
}
