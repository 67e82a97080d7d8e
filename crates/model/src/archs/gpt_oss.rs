//! `gpt-oss`: windows in every other layer, scores without values, experts whose matrices have biases, chosen by scores that become
//! weights only then. Answers to `src/models/openai-moe.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, MoeLayers, MoeSpec, Network, Norms, OutputSpec, Tied,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gpt-oss", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(2));
    hparams.rotate_windows_by_key(keys)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention =
        AttentionSpec { sinks: Bias::Required, out_bias: Bias::Required, ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(hparams.experts.n_ff),
        gating: Gating::SoftmaxOfChosen,
        biases: true,
        normalised: false,
        activation: Activation::SwigluOai,
        ..MoeSpec::default()
    };
    Decoder {
        norms: Norms::Before("attn_norm", Some("post_attention_norm")),
        attention,
        moe: Some((moe, MoeLayers::ALL)),
        output: OutputSpec { tied: Tied::Never, ..OutputSpec::default() },
        ..Decoder::default()
    }
    .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "20B",
        36 => "120B",
        _ => UNKNOWN_SIZE,
    }
}
