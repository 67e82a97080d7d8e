//! `falcon`: both blocks side by side; where there are two norms, attention has the second. Answers to `src/models/falcon.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Decoder, Embeddings, FfnSpec, Gate, Network, Norm, Norms,
    Output, OutputSpec, Projections, Residual, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "falcon", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.rotates_whole_heads()?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        norms: Norms::Before("attn_norm", None),
        norm_bias: Bias::Required,
        attention: AttentionSpec {
            projections: Projections::Fused,
            qkv_bias: Bias::Never,
            ..AttentionSpec::default()
        },
        residual: Residual::ParallelMixedFirst,
        ffn: FfnSpec { activation: Activation::Gelu, gate: Gate::None, ..FfnSpec::default() },
        output: OutputSpec { norm_bias: Bias::Required, ..OutputSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        let mut layer = decoder.layer(loader, hparams, il, attention, ffn)?;
        let name = block(il, "attn_norm_2");
        if let Some(second) = Norm::optional(loader, hparams, &name, &[hparams.n_embd], Bias::Optional)? {
            layer.ffn_norm = layer.attn_norm.replace(second);
        }
        Ok(layer)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "7B",
        60 => "40B",
        _ => UNKNOWN_SIZE,
    }
}
