//! `qwen35`: as qwen3next, dense. Answers to `src/models/qwen35.cpp`, for text, without its draft layers.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE, qwen3next};
use crate::blocks::{DeltaNetKind, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen35", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    read(keys, hparams)
}

/// A token of text has the same position in all of the first three planes: where these cover every pair, their interleaved rotation is that
/// of one position.
pub(super) fn read(keys: &Keys<'_>, hparams: Hparams) -> Result<Hparams, Error> {
    const SECTIONS: &str = "rope.dimension_sections";
    let hparams = qwen3next::read(keys, hparams)?;
    let sections =
        keys.sections(SECTIONS)?.ok_or_else(|| keys.error(SECTIONS, &"missing", "four numbers"))?;
    let n_pairs = hparams.layers.first().map_or(0, |layer| layer.n_rot / 2) as i64;
    let covers = |pair: i64| pair < 3 * sections[(pair % 3) as usize];
    if sections.iter().sum::<i64>() != n_pairs || !(0..n_pairs).all(covers) {
        let expected = format!("three sections that cover {n_pairs} pairs");
        return Err(keys.error(SECTIONS, &format!("{sections:?}"), expected));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    qwen3next::load_layers(loader, hparams, DeltaNetKind::Qwen35, None)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (24, 1024) => "0.8B",
        (24, _) => "2B",
        (32, 2560) => "4B",
        (32, _) => "9B",
        (64, _) => "27B",
        _ => UNKNOWN_SIZE,
    }
}
