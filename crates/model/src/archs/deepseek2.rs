//! `deepseek2`: latent attention, remembered as it is or expanded, dense layers first, then experts, perhaps in groups, and a network beside
//! them. Answers to `src/models/deepseek2.cpp` without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Decoder, Embeddings, Mla, MlaSpec, MoeLayers, MoeSpec, Network, Output, Shared, Transformer,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts, Temperature};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "deepseek2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = read(keys)?;
    // A magnitude that files ask for is taken out again in this architecture alone.
    hparams.yarn.cancels = hparams.yarn.log_mul != 1.0;
    Ok(hparams)
}

/// What this family's files say.
pub(super) fn read(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?.has_experts()?;
    let (n_layer, n_vocab) = (hparams.n_layer(), hparams.n_vocab);
    // The reference tells models by their size.
    let is_lite = matches!(n_layer, 26 | 27) || (n_layer == 48 && n_vocab == 128_256);
    let is_flash = matches!(n_layer, 47 | 48) && n_vocab == 154_880;
    let n_lora_q = if is_lite { 0 } else { keys.u32("attention.q_lora_rank")? };
    hparams.n_lora = [n_lora_q, keys.required_width("attention.kv_lora_rank")?];
    let sizes = ["attention.key_length_mla", "attention.value_length_mla"].map(|name| keys.width(name));
    let [k, v] = sizes;
    if let (Some(k), Some(v)) = (k?, v?) {
        hparams.n_embd_head_mla = [k, v];
    }
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = experts.n_ff.saturating_mul(keys.required_width("expert_shared_count")?);
    experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(if is_flash { Gating::Sigmoid } else { Gating::Softmax }))?;
    hparams.yarn.log_mul = keys.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0) / 0.1;
    hparams.temperature_scale = keys.f32("attention.temperature_scale")?.unwrap_or(0.0);
    hparams.temperature_floor = keys.optional_u32("attention.temperature_length")?.unwrap_or(0);
    if hparams.temperature_scale != 0.0 && hparams.temperature_floor == 0 {
        let expected = "the length after which queries grow";
        return Err(keys.error("attention.temperature_length", &"missing or 0", expected));
    }
    // Only a part of each key is rotated.
    hparams.can_shift = false;
    hparams.without_draft_layers(keys)
}

/// Experts and what stands beside them.
pub(super) fn experts(hparams: &Hparams) -> (MoeSpec, MoeLayers) {
    let experts = hparams.experts;
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", false)),
        normalised: experts.normalised,
        scale: experts.scale,
        may_be_merged: true,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    (moe, MoeLayers::from(experts.n_dense_lead))
}

pub(super) fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let [n_lora_q, n_lora_kv] = hparams.n_lora;
    let is_absorbed = hparams.n_embd_head_mla != [0; 2];
    let of_layers = hparams.layers.first().map_or([0; 2], |layer| [layer.n_embd_head_k, layer.n_embd_head_v]);
    let (scale, floor) = (hparams.temperature_scale, hparams.temperature_floor);
    let spec = MlaSpec {
        n_lora_q: Some(n_lora_q).filter(|n| *n > 0),
        n_lora_kv,
        n_embd_head: if is_absorbed { hparams.n_embd_head_mla } else { of_layers },
        is_absorbed,
        log_mul: Some(hparams.yarn.log_mul),
        temperature: (scale != 0.0).then_some(Temperature { scale, floor, offset: 0.0 }),
    };
    let decoder = Decoder { moe: Some(experts(hparams)), ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Mla::load(loader, hparams, il, &factors, &spec)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        27 => "16B",
        47 => "30B.A3B",
        60 => "236B",
        61 => "671B",
        _ => UNKNOWN_SIZE,
    }
}
