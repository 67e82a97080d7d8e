//! `rwkv6`: no attention, a state for each head, tokens mixed with their predecessors. Answers to `src/models/rwkv6.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Bias, ChannelMix, Embeddings, Feed, Network, Norm, Output, OutputSpec, Rwkv, RwkvLayer, Tied, TimeMix,
    TimeMix6,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "rwkv6", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Layer, None)?;
    hparams.read_rwkv(keys, 2, &["time_mix_extra_dim", "time_decay_extra_dim"])
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    load_own(loader, hparams, |loader, il| {
        let time = TimeMix::Six(TimeMix6::load(loader, hparams, il, true)?);
        Ok((time, Feed::Channels(ChannelMix::load(loader, hparams, il, true)?)))
    })
}

/// What both versions of RWKV's own models have around their blocks.
pub(super) fn load_own(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    mut blocks: impl FnMut(&mut Loader<'_>, usize) -> Result<(TimeMix, Feed), Error>,
) -> Result<Box<dyn Network>, Error> {
    let n_embd = hparams.n_embd;
    let embd_norm = Norm::load(loader, hparams, "token_embd_norm", &[n_embd], Bias::Required)?;
    let embeddings = Embeddings::load(loader, hparams)?.normed(embd_norm);
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    let mut layers = Vec::with_capacity(hparams.n_layer());
    for il in 0..hparams.n_layer() {
        let (time, feed) = blocks(loader, il)?;
        let norm = Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Required)?;
        let feed_norm = Norm::of_layer(loader, hparams, il, "attn_norm_2", Bias::Required)?;
        layers.push(RwkvLayer { norm, time, feed_norm, feed });
    }
    Ok(Box::new(Rwkv { embeddings, layers, output, shape: hparams.rwkv, n_embd }))
}

/// Also of what was made of other models by this version.
pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (24, _) => "1.6B",
        (32, 2560) => "3B",
        (32, 4096) => "7B",
        (61, _) => "14B",
        (64, _) => "32B",
        _ => UNKNOWN_SIZE,
    }
}
