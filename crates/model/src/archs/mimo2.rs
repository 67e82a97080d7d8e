//! `mimo2`: windows by layer, heads whose values are of another size than keys, scores without values, experts where a layer has a
//! router. Answers to `src/models/mimo2.cpp` without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Decoder, Embeddings, MoeSpec, Network, Output, OutputSpec, RopeFactors,
    Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "mimo2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows_by_key(keys, window)?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
    hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    let scale = keys.f32("attention.value_scale")?.unwrap_or(0.0);
    hparams.multipliers.values = if scale == 1.0 { 0.0 } else { scale };
    hparams.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let scale = hparams.multipliers.values;
    let attention = AttentionSpec {
        qkv_bias: Bias::Unused,
        qkv_scales: false,
        sinks: Bias::Optional,
        out_scale: (scale != 0.0).then_some(scale),
        ..AttentionSpec::default()
    };
    let moe = MoeSpec {
        n_ff: Some(hparams.experts.n_ff),
        gating: Gating::Sigmoid,
        choice_bias: Some(("exp_probs_b.bias", false)),
        ..MoeSpec::default()
    };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    let decoder = Decoder { attention, output, ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &decoder.attention)?;
        let ffn = decoder.load_ffn_by_router(loader, hparams, il, &moe)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        48 => "310B.A15B",
        _ => UNKNOWN_SIZE,
    }
}
