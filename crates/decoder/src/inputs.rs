//! Values of a graph's inputs for one ubatch.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{Graph, TensorId};
use quipu_kv_cache::{KvCache, MaskScratch};
use quipu_model::BuiltGraph;

use crate::error::Error;

/// Working memory for inputs, kept from token to token.
#[derive(Debug, Default)]
pub(crate) struct InputScratch {
    out_ids: Vec<i32>,
    idxs: Vec<i64>,
    mask: Vec<u16>,
    mask_scratch: MaskScratch,
    shift: Vec<i32>,
}

impl InputScratch {
    /// Writes all inputs of `built` (`llm_graph_result::set_inputs`).
    pub fn write(
        &mut self,
        built: &BuiltGraph,
        ubatch: &Ubatch,
        slot: &[u32],
        cache: &KvCache,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let (graph, inputs) = (&built.graph, &built.inputs);
        if let Some(tokens) = inputs.tokens {
            write(graph, tokens, &ubatch.tokens, buffers)?;
        }
        if let Some(embd) = inputs.embd {
            write(graph, embd, &ubatch.embd, buffers)?;
        }
        write(graph, inputs.pos, &ubatch.pos, buffers)?;
        if let Some(out_ids) = inputs.out_ids {
            self.out_ids.clear();
            let rows = ubatch.outputs.iter().enumerate().filter(|(_, output)| **output);
            self.out_ids.extend(rows.map(|(row, _)| row as i32));
            if self.out_ids.is_empty() {
                // The graph keeps one row even if nobody wants any.
                self.out_ids.push(ubatch.n_tokens as i32 - 1);
            }
            write(graph, out_ids, &self.out_ids, buffers)?;
        }
        cache.fill_idxs(slot, &mut self.idxs);
        write(graph, inputs.kv_idxs, &self.idxs, buffers)?;
        let n_kv = graph[inputs.kq_mask].ne[0];
        cache.fill_mask(ubatch, n_kv, true, &mut self.mask_scratch, &mut self.mask);
        write(graph, inputs.kq_mask, &self.mask, buffers)
    }

    /// Writes the pending shift of every cell.
    pub fn write_shift(
        &mut self,
        graph: &Graph,
        shift: TensorId,
        cache: &KvCache,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        cache.fill_shift(&mut self.shift);
        write(graph, shift, &self.shift, buffers)
    }
}

/// Writes an input; one that no node reads has no memory and needs none.
fn write<T: bytemuck::NoUninit>(
    graph: &Graph,
    id: TensorId,
    values: &[T],
    buffers: &mut BufferTable,
) -> Result<(), Error> {
    let tensor = &graph[id];
    if tensor.storage.location().is_some() {
        buffers.write_tensor(tensor, bytemuck::cast_slice(values))?;
    }
    Ok(())
}
