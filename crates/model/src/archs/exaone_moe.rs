//! `exaone-moe`: norms on heads, windows in three layers of four and positions in those alone, dense layers first, then experts and a
//! network beside them. Answers to `src/models/exaone-moe.cpp` without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Decoder, Factors, MoeLayers, MoeSpec, Network, OutputSpec, QkNorm, Shared, Tied,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "exaone-moe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4));
    // The graph turns windows as the context says, whatever base the file has for them.
    keys.f32("rope.freq_base_swa")?;
    hparams.rotate_only_windows();
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(experts.n_ff);
    keys.optional_u32("expert_shared_count")?;
    experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, None)?;
    hparams.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let experts = hparams.experts;
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", false)),
        normalised: experts.normalised,
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    Decoder {
        factors: Factors::One,
        attention: AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() },
        moe: Some((moe, MoeLayers::from(experts.n_dense_lead))),
        output: OutputSpec { tied: Tied::Never, ..OutputSpec::default() },
        ..Decoder::default()
    }
    .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "30B.A3B",
        48 => "235B.A22B",
        _ => UNKNOWN_SIZE,
    }
}
