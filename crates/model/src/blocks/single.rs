//! A stack whose layers have one block each, with a norm before it.

use quipu_graph::TensorId;

use super::{Bias, Block, Embeddings, KeyRotation, Network, Norm, Output};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::Hparams;
use crate::loader::Loader;
use crate::memory::LayerMemory;

/// A layer: one block and the residual stream around it.
#[derive(Debug)]
pub(crate) struct Single {
    norm: Norm,
    block: Box<dyn Block>,
}

impl Single {
    /// Layer `il`, with the norm `attn_norm`.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        block: Box<dyn Block>,
    ) -> Result<Single, Error> {
        Ok(Single { norm: Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?, block })
    }
}

/// Embeddings, such layers, output.
#[derive(Debug)]
pub(crate) struct Singles {
    embeddings: Embeddings,
    layers: Vec<Single>,
    output: Output,
}

impl Singles {
    /// Loads the layers, one after the other.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        mut block: impl FnMut(&mut Loader<'_>, usize) -> Result<Box<dyn Block>, Error>,
    ) -> Result<Box<dyn Network>, Error> {
        let embeddings = Embeddings::load(loader, hparams)?;
        let output = Output::load(loader, hparams, &super::OutputSpec::default())?;
        let mut layers = Vec::with_capacity(hparams.n_layer());
        for il in 0..hparams.n_layer() {
            let block = block(loader, il)?;
            layers.push(Single::load(loader, hparams, il, block)?);
        }
        Ok(Box::new(Singles { embeddings, layers, output }))
    }
}

impl Network for Singles {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let mut x: TensorId = self.embeddings.forward(&mut b)?;
        for (il, layer) in self.layers.iter().enumerate() {
            let normed = layer.norm.forward(&mut b, x)?;
            b.name(normed, "attn_norm", il);
            let out = layer.block.forward(&mut b, normed)?;
            let [out, kept] = b.keep_outputs(il, [out, x])?;
            x = b.graph.add(out, kept)?;
            b.name(x, "l_out", il);
        }
        let (embd, logits) = self.output.forward(&mut b, x)?;
        Ok(b.finish(embd, logits))
    }

    fn memory(&self) -> Vec<LayerMemory> {
        self.layers.iter().map(|layer| layer.block.memory()).collect()
    }

    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>> {
        self.layers.get(il)?.block.key_rotation()
    }
}
