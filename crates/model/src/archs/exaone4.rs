//! `exaone4`: norms behind the blocks and on the heads of queries and keys. Answers to `src/models/exaone4.cpp`, but for its largest
//! model, whose layers see windows.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, Factors, Network, Norms, QkNorm};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "exaone4", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?.without_draft_layers(keys)?;
    if hparams.n_layer() == 64 {
        return Err(keys.error("block_count", &64, "fewer layers: 64 see sliding windows"));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let attention = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() };
    Decoder { norms: Norms::Behind, factors: Factors::One, attention, ..Decoder::default() }
        .load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        30 => "1.2B",
        64 => "32B",
        _ => UNKNOWN_SIZE,
    }
}
