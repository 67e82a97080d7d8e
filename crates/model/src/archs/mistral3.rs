//! `mistral3`: as llama, dense or with experts; queries may grow with their position. Answers to `src/models/mistral3.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Factors, FfnSpec, MoeLayers, MoeSpec, Network, Scales};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Temperature};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "mistral3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.yarn.read_ramp(keys)?;
    hparams.yarn.log_mul = keys.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
    hparams.temperature_scale = keys.f32("attention.temperature_scale")?.unwrap_or(0.0);
    if hparams.temperature_scale != 0.0 && hparams.n_ctx_orig_yarn == 0 {
        let expected = "a positive number: queries grow by it";
        return Err(keys.error("rope.scaling.original_context_length", &0, expected));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let scale = hparams.temperature_scale;
    let floor = hparams.n_ctx_orig_yarn;
    let temperature = (scale != 0.0).then_some(Temperature { scale, floor, offset: 0.0 });
    let attention = AttentionSpec { temperature, out_bias: Bias::Optional, ..AttentionSpec::default() };
    let ffn = FfnSpec { bias: Bias::Optional, scales: Scales::All, ..FfnSpec::default() };
    let moe = MoeSpec { gate_is_optional: true, scales: true, ..MoeSpec::default() };
    let moe = (hparams.experts.n > 0).then_some((moe, MoeLayers::ALL));
    Decoder { factors: Factors::ByScaling, attention, ffn, moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        26 => "3B",
        34 => "8B",
        40 => "14B",
        _ => UNKNOWN_SIZE,
    }
}
