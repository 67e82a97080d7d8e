//! Inputs of a graph as objects: each knows its tensor, fills it for a ubatch and says whether it still fits.

use std::fmt::Debug;

use quipu_backend::BufferTable;
use quipu_batch::{Batch, Ubatch};
use quipu_graph::{Graph, TensorId};

use crate::{CrossState, Error, Memory, MemoryKey, MemoryPlan};

/// What the shape of a ubatch's graph depends on, besides the model's own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphShape {
    /// Tokens of the ubatch.
    pub n_tokens: usize,
    /// Different sequences of the ubatch.
    pub n_seqs_unq: usize,
    /// Rows wanted as output, at most `n_tokens`.
    pub n_outputs: usize,
    /// The input is rows of `n_embd` floats instead of tokens.
    pub from_embeddings: bool,
    /// Rows that an encoder left to attend over, where that is done.
    pub n_enc: usize,
    /// What of the memory's state counts.
    pub memory: MemoryKey,
}

/// Where inputs take their values from.
#[derive(Clone, Copy, Debug)]
pub struct InputSource<'a> {
    /// The batch, in which token ids and embedding rows are.
    pub batch: &'a Batch,
    /// Those of its tokens that are to be computed.
    pub ubatch: &'a Ubatch,
    /// The memory, in which the ubatch has its places already.
    pub memory: &'a dyn Memory,
    /// Those places.
    pub plan: &'a MemoryPlan,
    /// What an encoder left.
    pub cross: &'a CrossState,
}

/// An input of a graph. Answers to `llm_graph_input_i`.
///
/// It lives as long as its graph and keeps its working memory, so that filling it again allocates nothing.
pub trait GraphInput: Debug + Send + Sync {
    /// Computes the values and writes them to the input's tensor in `graph` (`set_input`).
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error>;

    /// Whether the tensor fits a ubatch of this shape too (`can_reuse`).
    fn can_reuse(&self, shape: &GraphShape) -> bool;
}

/// Writes those of a batch's rows, of `n` values each, that a ubatch is about, run by run as they lie there; an input that no node reads has
/// no memory and needs none.
pub fn write_input_rows<T: bytemuck::NoUninit>(
    graph: &Graph,
    id: TensorId,
    rows: &[T],
    n: usize,
    ubatch: &Ubatch,
    buffers: &mut BufferTable,
) -> Result<(), Error> {
    let tensor = &graph[id];
    let Some((buffer, mut offset)) = tensor.storage.location() else { return Ok(()) };
    let (found, n_bytes) = (ubatch.n_tokens * n * size_of::<T>(), tensor.n_bytes());
    if found > n_bytes {
        return Err(Error::InputSize { found, n_bytes });
    }
    for run in ubatch.runs() {
        let bytes: &[u8] = bytemuck::cast_slice(&rows[run.start * n..run.end * n]);
        buffers.get_mut(buffer)?.write(offset, bytes)?;
        offset += bytes.len();
    }
    Ok(())
}

/// Writes the values of an input; one that no node reads has no memory and needs none.
pub fn write_input<T: bytemuck::NoUninit>(
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
