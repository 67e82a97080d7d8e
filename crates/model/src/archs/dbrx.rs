//! `dbrx`: layer norms without biases, one clamped projection, experts. Answers to `src/models/dbrx.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, Norms, OutputSpec, Projections, Tied,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "dbrx", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Layer, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.clamp_kqv = Some(keys.required_f32("attention.clamp_kqv")?).filter(|clamp| *clamp > 0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        clamp: hparams.clamp_kqv,
        ..AttentionSpec::default()
    };
    let norms = Norms::Before("attn_norm", Some("attn_output_norm"));
    let moe = Some((MoeSpec::default(), MoeLayers::ALL));
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { norms, attention, moe, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        40 => "16x12B",
        _ => UNKNOWN_SIZE,
    }
}
