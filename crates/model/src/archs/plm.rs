//! `plm`: latent keys and values, expanded; squares of what is positive. Answers to `src/models/plm.cpp`. Keys cannot be shifted:
//! only a part of each is rotated.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Decoder, Embeddings, FfnSpec, Gate, Mla, MlaSpec, Network, Output, OutputSpec, RopeFactors,
    Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "plm", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    hparams.can_shift = false;
    hparams.n_lora = [0, keys.required_width("attention.kv_lora_rank")?];
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let spec = MlaSpec { n_lora_q: None, n_lora_kv: hparams.n_lora[1] };
    let decoder = Decoder {
        ffn: FfnSpec { activation: Activation::ReluSquared, gate: Gate::None, ..FfnSpec::default() },
        output: OutputSpec { tied: Tied::Always, ..OutputSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Mla::load(loader, hparams, il, &RopeFactors::none(), &spec)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "1.8B",
        _ => UNKNOWN_SIZE,
    }
}
