//! `smollm3`: as llama, and every fourth layer does not know positions. Answers to `src/models/smollm3.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "smollm3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    for layer in hparams.layers.iter_mut().skip(3).step_by(4) {
        layer.rope = LayerRope::Off;
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    Decoder::default().load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        36 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
