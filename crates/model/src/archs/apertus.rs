//! `apertus`: norms on the heads of queries and keys, and an activation with numbers of its own in every layer. Answers to
//! `src/models/apertus.cpp`; biases of those norms are not used.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Decoder, Embeddings, Factors, Ffn, FfnSpec, Gate, Network,
    Output, OutputSpec, QkNorm, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Xielu};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "apertus", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let read = |name: &str| keys.floats_of_layers(name, hparams.n_layer());
    let (alpha_n, alpha_p) = (read("xielu.alpha_n")?, read("xielu.alpha_p")?);
    let (beta, eps) = (read("xielu.beta")?, read("xielu.eps")?);
    let of = |il: usize| Xielu { alpha_n: alpha_n[il], alpha_p: alpha_p[il], beta: beta[il], eps: eps[il] };
    hparams.xielu = (0..hparams.n_layer()).map(of).collect();
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        factors: Factors::ByScaling,
        attention: AttentionSpec {
            qk_norm: QkNorm::Head,
            out_bias: Bias::Optional,
            ..AttentionSpec::default()
        },
        output: OutputSpec { tied: Tied::Never, ..OutputSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        for name in ["attn_q_norm.bias", "attn_k_norm.bias"] {
            loader.ignore(&block(il, name));
        }
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        let activation = Activation::Xielu(hparams.xielu[il]);
        let ffn = FfnSpec { activation, gate: Gate::None, ..FfnSpec::default() };
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        decoder.layer(loader, hparams, il, attention, Box::new(ffn))
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "8B",
        _ => UNKNOWN_SIZE,
    }
}
