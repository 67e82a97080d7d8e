//! `neo-bert`: an encoder with norms of root mean squares before the blocks, one projection and one matrix for gate and up. Answers to
//! `src/models/neo-bert.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Embeddings, Encoder, Ffn, FfnSpec, Gate, HeadSpec, Layer, Network, Norm,
    Projections, RopeFactors,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "neo-bert", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?.heads_fill_rows()?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let final_norm = Norm::load(loader, hparams, "enc.output_norm", &[hparams.n_embd], Bias::Never)?;
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        ..AttentionSpec::of_encoder()
    };
    let ffn = FfnSpec { gate: Gate::Halves, ..FfnSpec::default() };
    Encoder::load(loader, hparams, embeddings, Some(final_norm), &HeadSpec::default(), |loader, il| {
        let attn_norm = Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?);
        let ffn_norm = Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?);
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        Ok(Layer { attn_norm, ffn_norm, ..Layer::new(il, attention, ffn) })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        28 => "250M",
        _ => UNKNOWN_SIZE,
    }
}
