//! Encoding: a batch whose tokens see each other, and what an encoder leaves for the decoder behind it.

use quipu_backend::BufferTable;
use quipu_batch::{Batch, Ubatch};
use quipu_kv_cache::CrossState;
use quipu_model::{BuiltGraph, GraphKind, Model};

use super::Context;
use crate::error::Error;

impl Context {
    /// Runs a batch through the model as an encoder does: its tokens attend to each other, the memory has no part in it, and every token
    /// is an output (`llama_encode`). Positions that the batch leaves out begin at 0. Where the model has a decoder behind its encoder,
    /// [`Context::decode`] attends over these rows until others are encoded.
    ///
    /// Errors as [`Context::decode`], and if the batch is longer than `n_ubatch`.
    pub fn encode(&mut self, batch: &Batch) -> Result<(), Error> {
        self.run(batch, GraphKind::Encoder)
    }
}

/// Whether the model is an encoder with a decoder behind it.
pub(crate) fn has_both(model: &Model) -> bool {
    model.hparams().encoder.n_layer_decoder > 0
}

/// Keeps the rows of an encoder's graph that ran.
pub(crate) fn keep_cross(
    cross: &mut CrossState,
    ubatch: &Ubatch,
    built: &BuiltGraph,
    buffers: &BufferTable,
) -> Result<(), Error> {
    let tensor = &built.graph[built.outputs.embd];
    let mut rows = vec![0.0f32; tensor.ne[0] * tensor.ne[1]];
    buffers.read_tensor(tensor, 0, bytemuck::cast_slice_mut(&mut rows))?;
    *cross = CrossState { rows, seqs: ubatch.seq_set.clone() };
    Ok(())
}
