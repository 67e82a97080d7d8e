//! `nomic-bert-moe`: as bert with rotary positions, and experts in the second layer of each period. Answers to
//! `src/models/nomic-bert-moe.cpp`.

use super::bert::Bert;
use super::nomic_bert::hparams;
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Embeddings, Network};
use crate::error::Error;
use crate::hparams::{Hparams, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "nomic-bert-moe", hparams, load, size_class };

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_types(loader, hparams)?;
    Bert::default().load(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        12 if size.n_embd == 768 => "475M",
        _ => UNKNOWN_SIZE,
    }
}
