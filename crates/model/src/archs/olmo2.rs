//! `olmo2`: norms behind the blocks instead of before them, and on all queries and keys together; windows in newer models. Answers to
//! `src/models/olmo2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output, OutputSpec,
    Projections, QkNorm, RopeFactors, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "olmo2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(0);
    if n_swa > 0 {
        let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4);
        hparams.set_windows(Window { n_swa, kind: WindowKind::Standard }, period);
        hparams.rotate_windows(LayerRope::Unscaled);
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Unused,
        qkv_scales: false,
        qk_norm: QkNorm::Whole,
        ..AttentionSpec::default()
    };
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &FfnSpec::default())?;
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        Ok(Layer {
            attn_post_norm: norm("post_attention_norm")?,
            ffn_post_norm: norm("post_ffw_norm")?,
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        16 => "1B",
        32 => "7B",
        40 => "13B",
        64 => "32B",
        _ => UNKNOWN_SIZE,
    }
}
