//! `stablelm`: layer norms, heads rotated in part; without a norm for the feed-forward network, both blocks read the same rows. Answers to
//! `src/models/stablelm.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Ffn, FfnSpec, Layer, Network, Norm, Output, OutputSpec,
    QkNorm, Residual, RopeFactors, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "stablelm", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let n_embd = hparams.n_embd;
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    let attention = AttentionSpec { qk_norm: QkNorm::OptionalPerHead, ..AttentionSpec::default() };
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &FfnSpec::default())?;
        let ffn_norm = Norm::optional(loader, hparams, &block(il, "ffn_norm"), &[n_embd], Bias::Optional)?;
        Ok(Layer {
            attn_norm: Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Required)?),
            residual: if ffn_norm.is_some() { Residual::Sequential } else { Residual::Parallel },
            ffn_norm,
            ..Layer::new(il, attention, ffn)
        })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "1B",
        32 => "3B",
        40 => "12B",
        _ => UNKNOWN_SIZE,
    }
}
