//! `exaone4`: norms behind the blocks and on the heads of queries and keys; in its largest model three layers of four see windows, and
//! those alone know positions. Answers to `src/models/exaone4.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, Factors, Network, Norms, QkNorm};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "exaone4", hparams, load, size_class };

/// The number of layers by which the model with windows is told.
const N_LAYER_WITH_WINDOWS: usize = 64;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    let n_swa = keys.optional_u32("attention.sliding_window")?;
    if hparams.n_layer() == N_LAYER_WITH_WINDOWS {
        let window = hparams.standard_window(n_swa.unwrap_or(4096))?;
        hparams.set_windows(window, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4));
        // The graph turns windows as the context says, whatever base the file has for them.
        keys.f32("rope.freq_base_swa")?;
        hparams.rotate_only_windows();
    }
    hparams.without_draft_layers(keys)
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
