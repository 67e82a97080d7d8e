//! `minicpm3`: latent queries, keys and values, expanded; constants on embeddings, blocks and rows. Answers to
//! `src/models/minicpm3.cpp`. Keys cannot be shifted: only a part of each is rotated.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Decoder, Embeddings, Factors, Mla, MlaSpec, Network, Output, OutputSpec, Transformer};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "minicpm3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    hparams.can_shift = false;
    hparams.n_lora =
        [keys.required_width("attention.q_lora_rank")?, keys.required_width("attention.kv_lora_rank")?];
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let [n_lora_q, n_lora_kv] = hparams.n_lora;
    let n_embd_head =
        hparams.layers.first().map_or([0; 2], |layer| [layer.n_embd_head_k, layer.n_embd_head_v]);
    let spec = MlaSpec {
        n_lora_q: Some(n_lora_q),
        n_lora_kv,
        n_embd_head,
        is_absorbed: false,
        log_mul: None,
        temperature: None,
    };
    let decoder = Decoder {
        factors: Factors::ByLength,
        residual_scale: Some(1.4 / (hparams.n_layer() as f32).sqrt()),
        output: OutputSpec { row_scale: Some(256.0 / hparams.n_embd as f32), ..OutputSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?.scaled(12.0);
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Mla::load(loader, hparams, il, &factors, &spec)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        62 => "4B",
        _ => UNKNOWN_SIZE,
    }
}
