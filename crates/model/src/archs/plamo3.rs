//! `plamo3`: one projection, norms around both blocks and on heads, gate and up in one matrix, windows in seven layers of eight. Answers to
//! `src/models/plamo3.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Gate, Layer, Network, Norm, Output, OutputSpec,
    Projections, QkNorm, RopeFactors, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "plamo3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(0);
    if n_swa > 0 {
        let window = hparams.standard_window(n_swa)?;
        hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(8));
        let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
        hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        qkv_scales: false,
        qk_norm: QkNorm::Head,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec { gate: Gate::Halves, ..FfnSpec::default() };
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        let mut bare = |name| Norm::bare(loader, hparams, &block(il, name), &[hparams.n_embd]).map(Some);
        let (attn_post_norm, ffn_post_norm) = (bare("post_attention_norm")?, bare("post_ffw_norm")?);
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        Ok(Layer {
            attn_norm: norm("attn_norm")?,
            attn_post_norm,
            ffn_norm: norm("ffn_norm")?,
            ffn_post_norm,
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "2B",
        _ => UNKNOWN_SIZE,
    }
}
