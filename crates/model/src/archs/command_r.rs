//! `command-r`: both blocks side by side behind one norm; large models have norms on the heads of queries and keys. Answers to
//! `src/models/command-r.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Network, Norms, OutputSpec, QkNorm, Residual, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "command-r", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Norm))?;
    let mut hparams = hparams.heads_fill_rows()?;
    hparams.multipliers.logits = keys.f32("logit_scale")?.unwrap_or(0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let is_large = hparams.n_layer() >= 64;
    let qk_norm = if is_large { QkNorm::PerHead(Bias::Never) } else { QkNorm::None };
    let logit_scale = Some(hparams.multipliers.logits).filter(|scale| *scale != 0.0);
    let decoder = Decoder {
        norms: Norms::Before("attn_norm", None),
        attention: AttentionSpec { qk_norm, ..AttentionSpec::default() },
        residual: Residual::ParallelStreamFirst,
        output: OutputSpec { tied: Tied::Always, logit_scale, ..OutputSpec::default() },
        ..Decoder::default()
    };
    decoder.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "35B",
        _ => UNKNOWN_SIZE,
    }
}
