//! `llama`: pre-norm, rotary neighbours, grouped queries, SwiGLU, or experts in its place. Answers to `src/models/llama.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Factors, FfnSpec, MoeLayers, MoeSpec, Network, Scales};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "llama", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    hparams.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::default() };
    let ffn = FfnSpec { bias: Bias::Optional, scales: Scales::All, ..FfnSpec::default() };
    let moe = MoeSpec { gate_is_optional: true, scales: true, ..MoeSpec::default() };
    let moe = (hparams.experts.n > 0).then_some((moe, MoeLayers::ALL));
    Decoder { factors: Factors::ByScaling, attention, ffn, moe, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 if size.n_expert == 8 => "8x7B",
        56 if size.n_expert == 8 => "8x22B",
        _ if size.n_expert == 8 => UNKNOWN_SIZE,
        16 | 22 => "1B",
        26 | 28 => "3B",
        30 => "256M",
        32 if size.n_vocab == 49152 => "3B",
        32 if size.n_vocab < 40000 => "7B",
        32 | 36 => "8B",
        40 => "13B",
        48 => "34B",
        60 => "30B",
        80 if size.n_head == size.n_head_kv => "65B",
        80 => "70B",
        _ => UNKNOWN_SIZE,
    }
}
