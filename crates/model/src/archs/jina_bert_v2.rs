//! `jina-bert-v2`: as bert with ALiBi for positions, norms on all queries and all keys, `GeGLU` in either form, and the layer's input
//! added twice, each where the file has it. Answers to `src/models/jina-bert-v2.cpp`.

use super::bert::Bert;
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Gate, HeadSpec, Network, QkNorm,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "jina-bert-v2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, None)?.heads_fill_rows()?;
    hparams.max_alibi_bias = 8.0;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_types(loader, hparams)?;
    let attention = AttentionSpec {
        qk_norm: QkNorm::OptionalWhole,
        out_bias: Bias::Required,
        ..AttentionSpec::of_encoder()
    };
    let head = HeadSpec { n_dense: Some(1), has_output: false, ..HeadSpec::default() };
    Bert { attention, ffn: geglu, adds_again: true, head }.load(loader, hparams, embeddings)
}

/// A gate of its own, one in the rows of `ffn_up`, or none.
fn geglu(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<Ffn, Error> {
    let is_double = loader.n_rows(&block(il, "ffn_up.weight")) == Some(2 * hparams.layers[il].n_ff);
    let gate = if loader.has(&block(il, "ffn_gate.weight")) {
        Gate::Parallel
    } else if is_double {
        Gate::Halves
    } else {
        Gate::None
    };
    let ffn = FfnSpec { activation: Activation::Gelu, gate, bias: Bias::Optional, ..FfnSpec::default() };
    Ffn::load(loader, hparams, il, &ffn)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        4 => "33M",
        12 => "137M",
        _ => UNKNOWN_SIZE,
    }
}
