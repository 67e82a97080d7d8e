//! `smallthinker`: experts chosen before attention, bent by what is positive, windows in all but the first of four layers, which knows
//! no positions. Answers to `src/models/smallthinker.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Activation, Decoder, MoeLayers, MoeSpec, Network};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "smallthinker", hparams, load, size_class };

/// The window, whatever the file says.
const WINDOW: Window = Window { n_swa: 4096, kind: WindowKind::Standard };
/// In models with windows, the first layer of so many knows no positions.
const STILL_PERIOD: usize = 4;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    if keys.optional_u32("attention.sliding_window")?.unwrap_or(0) > 0 {
        let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4);
        hparams.set_windows_behind_first(WINDOW, period);
        hparams.rotate_windows_by_key(keys)?;
        // Where there are as many layers, the reference takes that for "all rotate".
        let all_rotate = hparams.n_layer() == STILL_PERIOD;
        for layer in hparams.layers.iter_mut().step_by(STILL_PERIOD).filter(|_| !all_rotate) {
            layer.rope = LayerRope::Off;
        }
    }
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    hparams.experts.gating = Gating::read(keys, None)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let moe = MoeSpec {
        n_ff: Some(hparams.experts.n_ff),
        gating: hparams.experts.gating,
        routes_layer_input: true,
        activation: Activation::Relu,
        ..MoeSpec::default()
    };
    Decoder { moe: Some((moe, MoeLayers::ALL)), ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "4B",
        52 => "20B",
        _ => UNKNOWN_SIZE,
    }
}
