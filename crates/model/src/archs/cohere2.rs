//! `cohere2`: both blocks side by side behind one norm, windows in three layers of four, and positions in those alone. Answers to
//! `src/models/cohere2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, FfnSpec, Network, Norms, OutputSpec, Residual, Scales, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "cohere2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Norm))?.heads_fill_rows()?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4));
    // The graph turns windows as the context says, whatever base the file has for them.
    keys.f32("rope.freq_base_swa")?;
    hparams.rotate_only_windows();
    hparams.multipliers.logits = keys.required_f32("logit_scale")?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let scale = hparams.multipliers.logits;
    Decoder {
        norms: Norms::Before("attn_norm", None),
        attention: AttentionSpec::default(),
        residual: Residual::ParallelStreamFirst,
        ffn: FfnSpec { scales: Scales::All, ..FfnSpec::default() },
        output: OutputSpec {
            tied: Tied::Always,
            logit_scale: (scale != 0.0).then_some(scale),
            ..OutputSpec::default()
        },
        ..Decoder::default()
    }
    .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "8B",
        _ => UNKNOWN_SIZE,
    }
}
