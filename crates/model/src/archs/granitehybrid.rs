//! `granitehybrid`: as granite, with a state space model in place of attention in most layers. Answers to
//! `src/models/granite-hybrid.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Decoder, Embeddings, Factors, FfnSpec, Mamba2, MoeLayers, MoeSpec,
    Network, Output, OutputSpec, Scale, Shared, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts, Ssm};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "granitehybrid", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.has_one_head_size()?;
    let number = |name| Ok::<f32, Error>(keys.f32(name)?.unwrap_or(0.0));
    hparams.multipliers.logits = number("logit_scale")?;
    hparams.multipliers.residual = number("residual_scale")?;
    hparams.multipliers.embeddings = number("embedding_scale")?;
    hparams.multipliers.scores = number("attention.scale")?;
    if !keys.bool("rope.scaling.finetuned")?.unwrap_or(true) {
        for layer in &mut hparams.layers {
            layer.rope = LayerRope::Off;
        }
    }
    hparams.experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(0);
    hparams.ssm = Ssm::read_heads(keys)?.doubles(keys, hparams.n_embd)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let scales = hparams.multipliers;
    let some = |scale: f32| (scale != 0.0).then_some(scale);
    let attention = AttentionSpec {
        scale: some(scales.scores).map_or(Scale::Scores, Scale::Factor),
        out_bias: Bias::Optional,
        ..AttentionSpec::default()
    };
    let shared = Some(hparams.experts.n_ff_shared).filter(|n_ff| *n_ff > 0).map(Shared::of_width);
    let moe = MoeSpec { gate_is_optional: true, shared, ..MoeSpec::default() };
    let decoder = Decoder {
        factors: Factors::One,
        attention,
        residual_scale: some(scales.residual),
        ffn: FfnSpec { bias: Bias::Optional, ..FfnSpec::default() },
        moe: (hparams.experts.n > 0).then_some((moe, MoeLayers::ALL)),
        output: OutputSpec { logit_scale: some(scales.logits).map(f32::recip), ..OutputSpec::default() },
        ..Decoder::default()
    };
    let mut embeddings = Embeddings::load(loader, hparams)?;
    if let Some(scale) = some(scales.embeddings) {
        embeddings = embeddings.scaled(scale);
    }
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        if hparams.layers[il].n_head_kv == 0 {
            let mamba = Mamba2::load(loader, hparams, il, false)?;
            return decoder.layer(loader, hparams, il, mamba, ffn);
        }
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_embd, size.n_ff) {
        (768, _) => "350M",
        (1536, 512) => "7B.A1B",
        (1536, _) => "1B",
        (2048 | 2560, _) => "3B",
        (4096, _) => "32B",
        _ => UNKNOWN_SIZE,
    }
}
