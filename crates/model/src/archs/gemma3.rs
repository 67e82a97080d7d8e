//! `gemma3`: as `gemma2` with norms on the heads of queries and keys instead of bounds on scores, and five layers of six with windows, which
//! rotate by a base of their own. Answers to `src/models/gemma3.cpp`.

use quipu_graph::RopeMode;

use super::gemma2::{per_embedding, sandwich};
use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Embeddings, Network, OutputSpec, QkNorm, Scale};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gemma3", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()?;
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(0);
    if n_swa > 0 {
        let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(6);
        hparams.set_windows(Window { n_swa, kind: WindowKind::Standard }, period);
        let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
        hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    }
    hparams.final_logit_softcap = keys.f32("final_logit_softcapping")?.unwrap_or(0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    // Rows that come as embeddings, of images, are scaled already.
    let embeddings = Embeddings::load(loader, hparams)?.tokens_scaled((hparams.n_embd as f32).sqrt());
    let scale = if size_class(&hparams.into()) == "27B" { per_embedding(hparams) } else { Scale::Queries };
    let attention = AttentionSpec { qk_norm: QkNorm::Head, scale, ..AttentionSpec::default() };
    sandwich(loader, hparams, embeddings, &OutputSpec::default(), &attention)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        18 => "270M",
        26 => "1B",
        32 => "8B",
        34 => "4B",
        48 => "12B",
        62 => "27B",
        _ => UNKNOWN_SIZE,
    }
}
