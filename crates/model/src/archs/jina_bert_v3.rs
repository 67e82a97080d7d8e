//! `jina-bert-v3`: as bert with rotary positions. Answers to `src/models/jina-bert-v3.cpp`.

use quipu_graph::RopeMode;

use super::bert::Bert;
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Embeddings, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "jina-bert-v3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.heads_fill_rows()?;
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_types(loader, hparams)?;
    Bert::default().load(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "558M",
        _ => UNKNOWN_SIZE,
    }
}
