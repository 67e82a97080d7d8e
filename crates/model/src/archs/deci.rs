//! `deci`: layers without attention, with one matrix in place of it, or without a feed-forward network. Answers to
//! `src/models/deci.cpp`.

use quipu_graph::{RopeMode, TensorId};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Block, Decoder, Embeddings, Factors, FfnSpec, Layer, Linear, Network,
    Norm, Output, Transformer,
};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "deci", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        factors: Factors::ByScaling,
        attention: AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::default() },
        ffn: FfnSpec { bias: Bias::Optional, ..FfnSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    let mut layers = Vec::new();
    for (il, shape) in hparams.layers.iter().enumerate() {
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        let attn_norm = if shape.n_head > 0 { norm("attn_norm")? } else { None };
        let ffn_norm = if shape.n_ff > 0 { norm("ffn_norm")? } else { None };
        let mixer: Option<Box<dyn Block>> = match (shape.n_head, shape.n_head_kv) {
            (0, _) => None,
            (_, 0) => Some(Box::new(Matrix::load(loader, hparams, il)?)),
            _ => Some(Box::new(Attention::load(loader, hparams, il, &factors, &decoder.attention)?)),
        };
        if shape.n_ff == 0 {
            // As in the reference, what such a layer computes is dropped.
            continue;
        }
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        layers.push(Layer { attn_norm, ffn_norm, ..Layer::of(il, mixer, ffn) });
    }
    if hparams.layers.last().is_some_and(|last| last.n_ff == 0) {
        let expected = "a width: the last layer has a result";
        return Err(hparams.error("feed_forward_length", &"0 in the last layer", expected));
    }
    Ok(Box::new(Transformer::of(embeddings, layers, output)))
}

/// One matrix in place of attention.
#[derive(Debug)]
struct Matrix(Linear);

impl Matrix {
    fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<Matrix, Error> {
        let ne = [hparams.n_embd, hparams.n_embd];
        Ok(Matrix(Linear::load(loader, &block(il, "attn_output"), ne, Bias::Never)?.unscaled()))
    }
}

impl Block for Matrix {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        self.0.forward(b, x)
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "7B",
        80 => "70B",
        162 => "405B",
        _ => UNKNOWN_SIZE,
    }
}
