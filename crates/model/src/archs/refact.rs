//! `refact`: ALiBi; biases, rotary factors and experts that its files may carry are not used. Answers to `src/models/refact.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Factors, FfnSpec, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "refact", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, None)?.has_one_head_size()?;
    hparams.max_alibi_bias = 8.0;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Unused, ..AttentionSpec::default() };
    let ffn = FfnSpec { bias: Bias::Unused, ..FfnSpec::default() };
    Decoder { factors: Factors::Unused, attention, ffn, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "1B",
        _ => UNKNOWN_SIZE,
    }
}
