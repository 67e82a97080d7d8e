//! `rwkv6qwen2`: Qwen 2 with version 6's first block, gated, in place of attention. Answers to `src/models/rwkv6qwen2.cpp`.

use super::{Architecture, rwkv6};
use crate::blocks::{
    Bias, Embeddings, Feed, Ffn, FfnSpec, Network, Norm, Output, OutputSpec, Rwkv, RwkvLayer, Tied, TimeMix,
    TimeMix6,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture =
    Architecture { name: "rwkv6qwen2", hparams, load, size_class: rwkv6::size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Rms, None)?;
    hparams.read_rwkv(keys, 1, &["time_mix_extra_dim", "time_decay_extra_dim"])
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    load_transformed(loader, hparams, Bias::Optional, |loader, il| {
        Ok(TimeMix::Six(TimeMix6::load(loader, hparams, il, false)?))
    })
}

/// What transformed models of both versions have around their first blocks.
pub(super) fn load_transformed(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    norm_bias: Bias,
    mut time: impl FnMut(&mut Loader<'_>, usize) -> Result<TimeMix, Error>,
) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = OutputSpec { norm_bias, tied: Tied::Never, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    let mut layers = Vec::with_capacity(hparams.n_layer());
    for il in 0..hparams.n_layer() {
        let time = time(loader, il)?;
        let norm = Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?;
        let feed_norm = Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?;
        let feed = Feed::Plain(Ffn::load(loader, hparams, il, &FfnSpec::default())?);
        layers.push(RwkvLayer { norm, time, feed_norm, feed });
    }
    let (shape, n_embd) = (hparams.rwkv, hparams.n_embd);
    // The stream of these is never halved.
    let shape = crate::hparams::Rwkv { rescale_every: 0, ..shape };
    Ok(Box::new(Rwkv { embeddings, layers, output, shape, n_embd }))
}
