//! `qwen3next`: gated attention among layers of a delta net, with experts. Answers to `src/models/qwen3next.cpp`, without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Decoder, DeltaNet, DeltaNetKind, Embeddings, FfnSpec, GatedAttention, MoeLayers, MoeSpec, Network, Norms,
    Output, Scales, Shared, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen3next", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    read_experts(keys, read(keys, hparams)?)
}

/// What the family shares: which layers are recurrent. They have no key heads here.
pub(super) fn read(keys: &Keys<'_>, hparams: Hparams) -> Result<Hparams, Error> {
    const INTERVAL: &str = "full_attention_interval";
    let mut hparams = hparams.has_one_head_size()?;
    let n_layer = hparams.n_layer();
    let recurrent = keys.per_layer("attention.recurrent_layers", n_layer)?;
    let interval = keys.optional_u32(INTERVAL)?.unwrap_or(4);
    if interval == 0 {
        return Err(keys.error(INTERVAL, &0, "a positive number"));
    }
    for (il, layer) in hparams.layers.iter_mut().enumerate() {
        let by_interval = !(il + 1).is_multiple_of(interval);
        if recurrent.as_ref().map_or(by_interval, |recurrent| recurrent[il] != 0) {
            layer.n_head_kv = 0;
        }
    }
    hparams.ssm = Ssm::read_heads(keys)?;
    let Ssm { d_inner, d_state, dt_rank, .. } = hparams.ssm;
    if dt_rank * d_state != d_inner {
        let expected = format!("{dt_rank} heads of {d_state}");
        return Err(keys.error("ssm.inner_size", &d_inner, expected));
    }
    hparams.without_draft_layers(keys)
}

/// Widths of experts.
pub(super) fn read_experts(keys: &Keys<'_>, hparams: Hparams) -> Result<Hparams, Error> {
    let mut hparams = hparams.has_experts()?;
    let by_use = hparams.n_ff_by_use();
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or(by_use);
    let n_ff = hparams.n_ff();
    hparams.experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(n_ff);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    load_layers(loader, hparams, DeltaNetKind::Qwen3Next, Some(experts(hparams)))
}

/// The family's experts.
pub(super) fn experts(hparams: &Hparams) -> MoeSpec {
    let shared = FfnSpec {
        n_ff: Some(hparams.experts.n_ff_shared),
        suffix: "_shexp",
        scales: Scales::All,
        ..FfnSpec::default()
    };
    MoeSpec {
        n_ff: Some(hparams.experts.n_ff),
        may_be_merged: true,
        scales: true,
        shared: Some(Shared { ffn: shared, is_gated: true, is_averaged: false }),
        ..MoeSpec::default()
    }
}

/// The family's layers.
pub(super) fn load_layers(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    kind: DeltaNetKind,
    moe: Option<MoeSpec>,
) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        norms: Norms::Before("attn_norm", Some("post_attention_norm")),
        ffn: FfnSpec { scales: Scales::All, ..FfnSpec::default() },
        moe: moe.map(|moe| (moe, MoeLayers::ALL)),
        ..Decoder::default()
    };
    loader.skip_layers_from(hparams.n_layer());
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        if hparams.layers[il].n_head_kv == 0 {
            let net = DeltaNet::load(loader, hparams, il, kind)?;
            return decoder.layer(loader, hparams, il, net, ffn);
        }
        let attention = GatedAttention::load(loader, hparams, il)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        48 => "80B.A3B",
        _ => UNKNOWN_SIZE,
    }
}
