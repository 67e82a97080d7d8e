//! `grok`: scaled embeddings and logits, scores bent to a bound, norms behind both blocks, experts beside a dense network. Answers to
//! `src/models/grok.cpp`, which computes scores without flash attention.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Beside, Bias, Decoder, Embeddings, FfnSpec, Layer, MoeSpec,
    Network, Norm, Output, OutputSpec, RopeFactors, Scale, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "grok", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    let number = |name: &str, otherwise: f32| Ok::<f32, Error>(keys.f32(name)?.unwrap_or(otherwise));
    hparams.multipliers.logits = number("logit_scale", 0.577_350_26)?;
    hparams.multipliers.embeddings = number("embedding_scale", 78.383_67)?;
    hparams.multipliers.scores = number("attention.output_scale", 0.088_388_346)?;
    hparams.scores_are_tensors = true;
    hparams.attn_logit_softcap = number("attn_logit_softcapping", 30.0)?;
    hparams.final_logit_softcap = number("final_logit_softcapping", 0.0)?;
    number("router_logit_softcapping", 30.0)?;
    if hparams.attn_logit_softcap == 0.0 {
        return Err(keys.error("attn_logit_softcapping", &0, "a bound for scores"));
    }
    keys.optional_u32("attention.temperature_length")?;
    hparams.yarn.beta_fast = 8.0;
    hparams.yarn.read_ramp(keys)?;
    hparams.yarn.ext_factor = keys.f32("rope.scaling.yarn_ext_factor")?.filter(|factor| *factor >= 0.0);
    hparams.yarn.attn_factor = number("rope.scaling.yarn_attn_factor", 1.0)?;
    hparams.experts.n_ff = keys.width("expert_feed_forward_length")?.unwrap_or(hparams.n_ff());
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let scales = hparams.multipliers;
    let attention = AttentionSpec { scale: Scale::Factor(scales.scores), ..AttentionSpec::default() };
    let moe = MoeSpec {
        n_ff: Some(hparams.experts.n_ff),
        activation: Activation::Gelu,
        gate_is_optional: true,
        ..MoeSpec::default()
    };
    let decoder = Decoder {
        ffn: FfnSpec { activation: Activation::Gelu, ..FfnSpec::default() },
        output: OutputSpec { logit_scale: Some(scales.logits), ..OutputSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?.scaled(scales.embeddings);
    let output = Output::load(loader, hparams, &decoder.output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Beside::load(loader, hparams, il, &decoder.ffn, &moe)?;
        let has_out_norm = loader.has(&block(il, "layer_output_norm.weight"));
        let last = if has_out_norm { "layer_output_norm" } else { "post_ffw_norm" };
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        Ok(Layer {
            attn_norm: norm("attn_norm")?,
            attn_post_norm: norm("attn_output_norm")?,
            ffn_norm: norm("ffn_norm")?,
            ffn_post_norm: norm(last)?,
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        64 => "314B",
        _ => UNKNOWN_SIZE,
    }
}
