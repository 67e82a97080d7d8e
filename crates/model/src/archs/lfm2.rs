//! `lfm2`: short convolutions in place of attention in most layers. Answers to `src/models/lfm2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Decoder, Embeddings, Network, Output, OutputSpec, QkNorm, RopeFactors,
    ShortConv, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "lfm2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = read(keys, Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?)?;
    if let Some(n_swa) = keys.optional_dim("attention.sliding_window")?.filter(|n_swa| *n_swa > 0) {
        let window = Some(Window { n_swa, kind: WindowKind::Standard });
        for layer in hparams.layers.iter_mut().filter(|layer| layer.n_head_kv > 0) {
            layer.window = window;
        }
    }
    Ok(hparams)
}

/// What both kinds share.
pub(super) fn read(keys: &Keys<'_>, hparams: Hparams) -> Result<Hparams, Error> {
    const N_CONV: &str = "shortconv.l_cache";
    let mut hparams = hparams.has_one_head_size()?;
    hparams.n_short_conv = keys.dim(N_CONV, 1 << 20)?;
    if hparams.n_short_conv < 2 {
        return Err(keys.error(N_CONV, &hparams.n_short_conv, "at least 2"));
    }
    if !hparams.causal_attn {
        return Err(keys.error("attention.causal", &false, "true: convolutions look back"));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    load_decoder(loader, hparams, &Decoder::default())
}

/// The layers of both kinds: without key heads they convolve.
pub(super) fn load_decoder(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    decoder: &Decoder,
) -> Result<Box<dyn Network>, Error> {
    let spec = AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = OutputSpec { norm: "token_embd_norm", ..OutputSpec::default() };
    let output = Output::load(loader, hparams, &output)?;
    let factors = RopeFactors::none();
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        if hparams.layers[il].n_head_kv == 0 {
            let conv = ShortConv::load(loader, hparams, il)?;
            return decoder.layer(loader, hparams, il, conv, ffn);
        }
        let attention = Attention::load(loader, hparams, il, &factors, &spec)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_ff {
        2560 => "230M",
        4608 => "350M",
        6912 => "700M",
        8192 => "1.2B",
        10752 => "2.6B",
        _ => UNKNOWN_SIZE,
    }
}
