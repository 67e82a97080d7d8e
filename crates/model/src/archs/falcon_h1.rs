//! `falcon-h1`: in every layer attention and a state space model beside each other. Answers to `src/models/falcon-h1.cpp`.

use quipu_graph::{RopeMode, TensorId};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Block, Decoder, Embeddings, Factors, FfnSpec, KeyRotation, Layer, Mamba2,
    Network, Norm, Output, Transformer,
};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;

pub(super) const ARCH: Architecture = Architecture { name: "falcon-h1", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()?;
    hparams.ssm = Ssm::read_heads(keys)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let decoder = Decoder {
        factors: Factors::Unused,
        attention: AttentionSpec { out_bias: Bias::Unused, ..AttentionSpec::default() },
        ffn: FfnSpec { bias: Bias::Optional, ..FfnSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &factors, &decoder.attention)?;
        let mixer = SideBySide { attention, ssm: Mamba2::load(loader, hparams, il, true)? };
        let attn_norm = Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?);
        let ffn_norm = Some(Norm::bare(loader, hparams, &block(il, "ffn_norm"), &[hparams.n_embd])?);
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        Ok(Layer { attn_norm, ffn_norm, ..Layer::of(il, Some(Box::new(mixer)), ffn) })
    })
}

/// Two blocks that read the same rows; their results are added.
#[derive(Debug)]
struct SideBySide {
    attention: Attention,
    ssm: Mamba2,
}

impl Block for SideBySide {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let attended = self.attention.forward(b, x)?;
        let scanned = self.ssm.forward(b, x)?;
        Ok(b.graph.add(attended, scanned)?)
    }

    fn memory(&self) -> LayerMemory {
        match self.attention.memory() {
            LayerMemory::Attention { shape, window } => {
                LayerMemory::Both { shape, window, state: self.ssm.state() }
            }
            _ => self.ssm.memory(),
        }
    }

    fn key_rotation(&self) -> Option<KeyRotation<'_>> {
        self.attention.key_rotation()
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        36 => "0.5B",
        24 => "1.5B",
        66 => "1B",
        32 => "3B",
        44 => "7B",
        72 => "34B",
        _ => UNKNOWN_SIZE,
    }
}
