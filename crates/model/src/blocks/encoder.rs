//! Encoders: layers whose tokens see each other, and rows as the result instead of logits.

use super::{AttentionSpec, Embeddings, HeadSpec, Headed, KeyRotation, Layer, Network, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::Hparams;
use crate::loader::Loader;
use crate::memory::LayerMemory;

/// Embeddings, layers, and perhaps a norm on the rows.
#[derive(Debug)]
pub(crate) struct Encoder {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    norm: Option<Norm>,
}

impl Encoder {
    /// The ends are there; `layer` loads the layers, one after the other, and the head comes last.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        embeddings: Embeddings,
        norm: Option<Norm>,
        head: &HeadSpec,
        mut layer: impl FnMut(&mut Loader<'_>, usize) -> Result<Layer, Error>,
    ) -> Result<Box<dyn Network>, Error> {
        let layers = (0..hparams.n_layer()).map(|il| layer(loader, il)).collect::<Result<_, _>>()?;
        Headed::load(loader, hparams, head, Box::new(Encoder { embeddings, layers, norm }))
    }
}

impl Network for Encoder {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let mut x = self.embeddings.forward(&mut b)?;
        for layer in &self.layers {
            x = layer.forward(&mut b, x)?;
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&mut b, x)?;
        }
        Ok(b.finish_rows(x))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        self.layers.iter().map(Layer::memory).collect()
    }

    fn key_rotation(&self, _: usize) -> Option<KeyRotation<'_>> {
        None
    }
}

impl AttentionSpec {
    /// Of tokens that see each other and leave nothing behind.
    pub fn of_encoder() -> AttentionSpec {
        AttentionSpec { remembers: false, ..AttentionSpec::default() }
    }
}
