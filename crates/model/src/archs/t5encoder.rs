//! `t5encoder`: the encoder half of `t5`. Answers to `src/models/t5encoder.cpp`; an output matrix is not used.

use super::t5::{encoder_hparams, load_encoder};
use super::{Architecture, UNKNOWN_SIZE};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, SizeFacts};

pub(super) const ARCH: Architecture =
    Architecture { name: "t5encoder", hparams, load: load_encoder, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = encoder_hparams(keys)?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn size_class(_: &SizeFacts) -> &'static str {
    UNKNOWN_SIZE
}
