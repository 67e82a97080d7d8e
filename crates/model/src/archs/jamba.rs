//! `jamba`: layers that attend, without positions, among layers of Mamba; dense networks and experts. Answers to `src/models/jamba.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Decoder, Embeddings, Mamba, MoeLayers, MoeSpec, Network, Output, RopeFactors,
    Transformer,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::{Loader, block};

pub(super) const ARCH: Architecture = Architecture { name: "jamba", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read_with_experts(keys, NormKind::Rms, None)?.has_one_head_size()?;
    hparams.ssm = Ssm::read(keys)?.doubles(keys, hparams.n_embd)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let moe = MoeSpec { normalised: false, ..MoeSpec::default() };
    let dense = Decoder::default();
    let mixed = Decoder { moe: Some((moe, MoeLayers::ALL)), ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &dense.output)?;
    let (factors, spec) = (RopeFactors::none(), AttentionSpec::default());
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        // Where there is a router there are experts.
        let decoder = if loader.has(&block(il, "ffn_gate_inp.weight")) { &mixed } else { &dense };
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        if hparams.layers[il].n_head_kv == 0 {
            let mamba = Mamba::load(loader, hparams, il, true)?;
            return decoder.layer(loader, hparams, il, mamba, ffn);
        }
        let attention = Attention::load(loader, hparams, il, &factors, &spec)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(_: &SizeFacts) -> &'static str {
    UNKNOWN_SIZE
}
