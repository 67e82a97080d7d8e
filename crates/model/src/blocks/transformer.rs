//! A stack of layers between embeddings and logits: what nearly all architectures are.

use super::{Embeddings, KeyRotation, Layer, Network, Output};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::Hparams;
use crate::loader::Loader;
use crate::memory::LayerMemory;

/// Embeddings, layers, output.
#[derive(Debug)]
pub(crate) struct Transformer {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    output: Output,
}

impl Transformer {
    /// The ends are there; `layer` loads the layers, one after the other.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        embeddings: Embeddings,
        output: Output,
        mut layer: impl FnMut(&mut Loader<'_>, usize) -> Result<Layer, Error>,
    ) -> Result<Box<dyn Network>, Error> {
        let layers = (0..hparams.n_layer()).map(|il| layer(loader, il)).collect::<Result<_, _>>()?;
        Ok(Box::new(Transformer { embeddings, layers, output }))
    }

    /// Of these parts. Layers may be missing, but not the last.
    pub fn of(embeddings: Embeddings, layers: Vec<Layer>, output: Output) -> Transformer {
        Transformer { embeddings, layers, output }
    }
}

impl Network for Transformer {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let mut x = self.embeddings.forward(&mut b)?;
        for layer in &self.layers {
            x = b.add_deepstack(layer.il, x)?;
            x = layer.forward(&mut b, x)?;
        }
        let (embd, logits) = self.output.forward(&mut b, x)?;
        Ok(b.finish(embd, logits))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        let mut memory = vec![LayerMemory::None; self.layers.last().map_or(0, |layer| layer.il + 1)];
        for layer in &self.layers {
            memory[layer.il] = layer.memory();
        }
        memory
    }

    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>> {
        self.layers.iter().find(|layer| layer.il == il)?.key_rotation()
    }
}
