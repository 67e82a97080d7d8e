//! `cogvlm`: as llama with halves turned by a fixed base, and with matrices of their own for images. Answers to `src/models/cogvlm.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Block, ByInput, Decoder, Embeddings, Factors, Ffn, FfnSpec, Network,
    Output, Projections, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "cogvlm", hparams, load, size_class };

/// The base of frequencies, whatever the file says.
const FREQ_BASE: f32 = 10000.0;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    for layer in &mut hparams.layers {
        layer.rope = LayerRope::OwnUnscaled { freq_base: FREQ_BASE };
        if layer.n_head_kv != layer.n_head {
            let expected = format!("{}, one for each head", layer.n_head);
            return Err(keys.error("attention.head_count_kv", &layer.n_head_kv, expected));
        }
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let of_tokens = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        qkv_scales: false,
        ..AttentionSpec::default()
    };
    let of_images = AttentionSpec { prefix: "vis_", ..of_tokens.clone() };
    let images = FfnSpec { stem: "vis", ..FfnSpec::default() };
    let decoder = Decoder { factors: Factors::Unused, ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = ByInput {
            tokens: Box::new(Attention::load(loader, hparams, il, &factors, &of_tokens)?),
            rows: Box::new(Attention::load(loader, hparams, il, &factors, &of_images)?),
        };
        let ffn: Box<dyn Block> = Box::new(ByInput {
            tokens: Box::new(Ffn::load(loader, hparams, il, &decoder.ffn)?),
            rows: Box::new(Ffn::load(loader, hparams, il, &images)?),
        });
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "13B",
        _ => UNKNOWN_SIZE,
    }
}
