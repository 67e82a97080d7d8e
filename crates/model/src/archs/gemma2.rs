//! `gemma2`: as `gemma` with norms behind the blocks too, windows in every other layer, and bounds that scores and logits are bent to.
//! Answers to `src/models/gemma2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output,
    OutputSpec, RopeFactors, Scale, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gemma2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()?;
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(4096);
    if n_swa == 0 {
        return Err(keys.error("attention.sliding_window", &n_swa, "a window of at least one position"));
    }
    let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(2);
    hparams.set_windows(Window { n_swa, kind: WindowKind::Standard }, period);
    // The model's own base and scale, whatever the context says.
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(hparams.rope_freq_base);
    hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: hparams.rope_freq_scale });
    hparams.attn_logit_softcap = keys.f32("attn_logit_softcapping")?.unwrap_or(50.0);
    hparams.final_logit_softcap = keys.f32("final_logit_softcapping")?.unwrap_or(30.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let output = OutputSpec { tied: Tied::Always, ..OutputSpec::default() };
    let scale = if size_class(&hparams.into()) == "27B" { per_embedding(hparams) } else { Scale::Queries };
    let attention = AttentionSpec { scale, ..AttentionSpec::default() };
    let embeddings = Embeddings::load(loader, hparams)?.scaled((hparams.n_embd as f32).sqrt());
    sandwich(loader, hparams, embeddings, &output, &attention)
}

/// The largest models scale scores as if their heads filled the residual stream.
pub(super) fn per_embedding(hparams: &Hparams) -> Scale {
    let n_head = hparams.layers.first().map_or(1, |layer| layer.n_head.max(1));
    Scale::QueriesBy(1.0 / ((hparams.n_embd / n_head) as f32).sqrt())
}

/// Layers with norms on both sides of each block and `GeGLU`.
pub(super) fn sandwich(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    embeddings: Embeddings,
    output: &OutputSpec,
    attention: &AttentionSpec,
) -> Result<Box<dyn Network>, Error> {
    let output = Output::load(loader, hparams, output)?;
    let ffn = FfnSpec { activation: Activation::Gelu, ..FfnSpec::default() };
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        Ok(Layer {
            attn_norm: norm("attn_norm")?,
            attn_post_norm: norm("post_attention_norm")?,
            ffn_norm: norm("ffn_norm")?,
            ffn_post_norm: norm("post_ffw_norm")?,
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        26 => "2B",
        42 => "9B",
        46 => "27B",
        _ => UNKNOWN_SIZE,
    }
}
