//! `bert`: learned positions, kinds of tokens, norms behind every sum. Answers to `src/models/bert.cpp`; the skeleton serves its kin,
//! each of which has a file of its own.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Embeddings, Encoder, Ffn, FfnSpec, Gate, HeadSpec, Layer,
    Moe, MoeSpec, Network, Norm, RopeFactors,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "bert", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, None)?.heads_fill_rows()?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_types(loader, hparams)?;
    let embeddings = embeddings.with_positions(loader, hparams)?;
    Bert { head: HeadSpec::default(), ..Bert::default() }.load(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        3 => "17M",
        6 => "22M",
        12 if size.n_embd == 384 => "33M",
        12 if size.n_embd == 768 => "109M",
        24 => "335M",
        _ => UNKNOWN_SIZE,
    }
}

/// What BERT and its kin differ in.
pub(super) struct Bert {
    pub attention: AttentionSpec,
    /// The networks are GELU without a gate, unless this says otherwise.
    pub ffn: fn(&mut Loader<'_>, &Hparams, usize) -> Result<Ffn, Error>,
    /// The layer's input may be added and normed twice.
    pub adds_again: bool,
    pub head: HeadSpec,
}

impl Default for Bert {
    fn default() -> Self {
        Bert {
            attention: AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::of_encoder() },
            ffn: gelu,
            adds_again: false,
            head: HeadSpec { n_dense: Some(0), has_output: false, ..HeadSpec::default() },
        }
    }
}

impl Bert {
    /// The encoder over these embeddings, which are normed first.
    pub fn load(
        &self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        embeddings: Embeddings,
    ) -> Result<Box<dyn Network>, Error> {
        let norm = Norm::load(loader, hparams, "token_embd_norm", &[hparams.n_embd], Bias::Required)?;
        let embeddings = embeddings.normed(norm);
        Encoder::load(loader, hparams, embeddings, None, &self.head, |loader, il| {
            let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &self.attention)?;
            let sum_norm = Norm::of_layer(loader, hparams, il, "attn_output_norm", Bias::Required)?;
            let mut again_norm = None;
            if self.adds_again {
                let (name, ne) = (crate::loader::block(il, "attn_norm_2"), [hparams.n_embd]);
                loader.ignore(&format!("{name}.bias"));
                again_norm = Norm::optional(loader, hparams, &name, &ne, Bias::Optional)?;
            }
            let out_norm = Norm::of_layer(loader, hparams, il, "layer_output_norm", Bias::Required)?;
            let mut layer = if has_experts(hparams, il) {
                let experts = MoeSpec {
                    activation: Activation::Gelu,
                    gate_is_optional: true,
                    normalised: false,
                    ..MoeSpec::default()
                };
                Layer::new(il, attention, Moe::load(loader, hparams, il, &experts)?)
            } else {
                Layer::new(il, attention, (self.ffn)(loader, hparams, il)?)
            };
            (layer.sum_norm, layer.again_norm, layer.out_norm) = (Some(sum_norm), again_norm, Some(out_norm));
            Ok(layer)
        })
    }
}

/// The second of each period, unlike elsewhere.
fn has_experts(hparams: &Hparams, il: usize) -> bool {
    il.checked_rem(hparams.encoder.moe_period).is_some_and(|place| place == 1)
}

fn gelu(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<Ffn, Error> {
    let ffn = FfnSpec {
        activation: Activation::Gelu,
        gate: Gate::None,
        bias: Bias::Optional,
        ..FfnSpec::default()
    };
    Ffn::load(loader, hparams, il, &ffn)
}
