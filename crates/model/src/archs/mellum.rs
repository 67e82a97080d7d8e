//! `mellum`: norms on heads, windows in three layers of four that turn without scaling, experts in every layer. Answers to
//! `src/models/mellum.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, MoeLayers, MoeSpec, Network, OutputSpec, QkNorm, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "mellum", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let n_ff = keys.u32("expert_feed_forward_length")?;
    hparams.experts.n_ff = if n_ff > 0 { n_ff } else { hparams.n_ff_by_use() };
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(0);
    if n_swa > 0 {
        let window = hparams.standard_window(n_swa)?;
        match keys.scalar_u32("attention.sliding_window_pattern")? {
            Some(period) => hparams.set_windows(window, period),
            None => hparams.set_windows_by_key(keys, window)?,
        }
        keys.f32("rope.freq_base_swa")?;
        hparams.rotate_windows(LayerRope::Unscaled);
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let moe = MoeSpec { n_ff: Some(hparams.experts.n_ff), scales: true, ..MoeSpec::default() };
    Decoder {
        attention: AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() },
        moe: Some((moe, MoeLayers::ALL)),
        output: OutputSpec { tied: Tied::Never, ..OutputSpec::default() },
        ..Decoder::default()
    }
    .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        28 => "12B.A2.5B",
        _ => UNKNOWN_SIZE,
    }
}
