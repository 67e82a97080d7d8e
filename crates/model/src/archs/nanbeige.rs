//! `nanbeige`: as llama, and the layers may run several times, each pass with a memory of its own. Answers to
//! `src/models/nanbeige.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, Bias, Decoder, Embeddings, Factors, FfnSpec, Network, Norm, Output, Scales, Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "nanbeige", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const NAME: &str = "num_loops";
    let hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let n_loops = keys.optional_u32(NAME)?.unwrap_or(1);
    if n_loops == 0 || n_loops > 512 / hparams.n_layer() {
        return Err(keys.error(NAME, &n_loops, "a positive number, for 512 layers in all"));
    }
    hparams.n_loops = n_loops;
    hparams.norms_between_loops = !keys.bool("skip_loop_final_norm")?.unwrap_or(false);
    hparams.layers = hparams.layers.repeat(n_loops);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        factors: Factors::One,
        ffn: FfnSpec { scales: Scales::All, ..FfnSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    let n_layer = hparams.n_layer() / hparams.n_loops;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let place = il % n_layer;
        let attention = Attention::load(loader, hparams, place, &factors, &decoder.attention)?;
        let ffn = decoder.load_ffn(loader, hparams, place)?;
        let attention = attention.remembering_in(il);
        let mut layer = decoder.layer(loader, hparams, place, attention, ffn)?;
        layer.il = il;
        if hparams.norms_between_loops && place + 1 == n_layer && il + 1 < hparams.n_layer() {
            let norm = Norm::load(loader, hparams, "output_norm", &[hparams.n_embd], Bias::Never)?;
            layer.out_norm = Some(norm);
        }
        Ok(layer)
    })
}

fn size_class(_: &SizeFacts) -> &'static str {
    UNKNOWN_SIZE
}
