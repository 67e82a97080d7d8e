//! `baichuan`: rotary positions in models of 32 layers, ALiBi in those of 40, neither in others. Answers to
//! `src/models/baichuan.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, Network, OutputSpec, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "baichuan", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    if hparams.n_layer() == 40 {
        hparams.max_alibi_bias = 8.0;
    }
    if hparams.n_layer() != 32 {
        for layer in &mut hparams.layers {
            layer.rope = LayerRope::Off;
        }
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "7B",
        40 => "13B",
        _ => UNKNOWN_SIZE,
    }
}
