//! States inside a graph: one leaf per layer and half, rows taken from it, rows written back.
//!
//! A read does not depend on a write as far as the graph can tell: what reads the states of a layer is put into the evaluation order before
//! what writes them.

use quipu_backend::BufferTable;
use quipu_graph::{DType, Graph, TensorId};

use crate::input::write_input;
use crate::recurrent::StatePart;
use crate::{Error, GraphInput, GraphShape, InputSource, RecurrentKey, RecurrentMemory};

/// The recurrent part of a graph under construction. Answers to `build_rs_inp` and `build_rs`.
#[derive(Debug)]
pub struct RecurrentGraph<'a> {
    memory: &'a RecurrentMemory,
    key: RecurrentKey,
    n_tokens: usize,
    /// Rows that the states of the ubatch's sequences come from, i32 `[n_seqs]`.
    main: TensorId,
    /// Rows that move into the cells behind theirs; `None` if there are no such cells.
    extra: Option<TensorId>,
    /// Leaves by layer, once the graph has asked for them.
    leaves: Vec<[Option<TensorId>; 2]>,
}

impl<'a> RecurrentGraph<'a> {
    /// Adds the input that recurrent layers need to a graph over the states of `memory`.
    ///
    /// # Errors
    /// The graph refuses, or the ubatch has no places in this memory.
    pub fn new(
        graph: &mut Graph,
        memory: &'a RecurrentMemory,
        shape: &GraphShape,
        inputs: &mut Vec<Box<dyn GraphInput>>,
    ) -> Result<RecurrentGraph<'a>, Error> {
        let (key, n_tokens) = (shape.memory.recurrent, shape.n_tokens);
        let RecurrentKey { n_seqs, n_cells, .. } = key;
        if n_seqs == 0 || n_cells < n_seqs || !n_tokens.is_multiple_of(n_seqs) {
            return Err(Error::Split { n_used: 0, n_tokens });
        }
        let sources = graph.input("s_copy", DType::I32, [n_cells, 1, 1, 1])?;
        let mut part = |n: usize, first: usize| {
            let row = n * size_of::<i32>();
            graph.view(sources, [n, 1, 1, 1], [row, row, row], first * size_of::<i32>())
        };
        let main = part(n_seqs, 0)?;
        let extra = if n_cells > n_seqs { Some(part(n_cells - n_seqs, n_seqs)?) } else { None };
        inputs.push(Box::new(Sources { ids: sources, key, n_tokens }));
        let leaves = vec![[None; 2]; memory.n_layer()];
        Ok(RecurrentGraph { memory, key, n_tokens, main, extra, leaves })
    }

    /// Sequences of the ubatch.
    pub fn n_seqs(&self) -> usize {
        self.key.n_seqs
    }

    /// Tokens of each sequence; those of the first come first.
    pub fn n_seq_tokens(&self) -> usize {
        self.n_tokens / self.key.n_seqs
    }

    /// The states of the ubatch's sequences before its tokens, f32 `[n_embd, n_seqs]`. Puts into the graph's order that states of new
    /// sequences are cleared and that other cells make room.
    pub fn load(&mut self, graph: &mut Graph, il: usize, part: StatePart) -> Result<TensorId, Error> {
        self.load_with(graph, il, part, |graph, states, ids| Ok(graph.get_rows(states, ids)?))
    }

    /// As [`RecurrentGraph::load`], by an op that takes rows by itself: `read` is given all rows, f32 `[n_embd, n_rows]`, and the i32 numbers
    /// `[n_seqs]` of those it is about.
    pub fn load_with<E: From<Error> + From<quipu_graph::Error>>(
        &mut self,
        graph: &mut Graph,
        il: usize,
        part: StatePart,
        read: impl FnOnce(&mut Graph, TensorId, TensorId) -> Result<TensorId, E>,
    ) -> Result<TensorId, E> {
        let states = self.leaf(graph, il, part)?;
        let RecurrentKey { n_seqs, n_cells, head, zero } = self.key;
        if let Some(zero) = zero {
            // Not a product with 0, which would leave NaN.
            let row = rows_of(graph, states, zero, 1)?;
            let zeros = graph.clamp(row, 0.0, 0.0)?;
            let cleared = graph.cpy(zeros, row)?;
            graph.build_forward_expand(cleared);
        }
        let loaded = read(graph, states, self.main)?;
        graph.build_forward_expand(loaded);
        if let Some(extra) = self.extra {
            let moving = graph.get_rows(states, extra)?;
            let to = rows_of(graph, states, head + n_seqs, n_cells - n_seqs)?;
            let moved = graph.cpy(moving, to)?;
            graph.build_forward_expand(moved);
        }
        Ok(loaded)
    }

    /// Puts into the graph's order that `x`, with `n_embd * n_seqs` elements, replaces the states of the ubatch's sequences.
    pub fn store(&mut self, graph: &mut Graph, il: usize, part: StatePart, x: TensorId) -> Result<(), Error> {
        let states = self.leaf(graph, il, part)?;
        let to = rows_of(graph, states, self.key.head, self.key.n_seqs)?;
        let stored = graph.cpy(x, to)?;
        graph.build_forward_expand(stored);
        Ok(())
    }

    fn leaf(&mut self, graph: &mut Graph, il: usize, part: StatePart) -> Result<TensorId, Error> {
        let rows = self.memory.rows(il, part)?;
        if let Some(id) = self.leaves[il][part as usize] {
            return Ok(id);
        }
        let name = match part {
            StatePart::Inputs => format!("cache_r_l{il}"),
            StatePart::State => format!("cache_s_l{il}"),
        };
        let ne = [rows.n_embd, self.memory.n_rows(), 1, 1];
        let id = graph.external(&name, DType::F32, ne, rows.storage())?;
        self.leaves[il][part as usize] = Some(id);
        Ok(id)
    }
}

/// `n` rows of a leaf.
fn rows_of(graph: &mut Graph, states: TensorId, first: usize, n: usize) -> Result<TensorId, Error> {
    let (n_embd, row) = (graph[states].ne[0], graph[states].nb[1]);
    Ok(graph.view(states, [n_embd, n, 1, 1], [row, row * n, row * n], first * row)?)
}

/// Where states come from. Answers to `llm_graph_input_rs`.
#[derive(Debug)]
struct Sources {
    ids: TensorId,
    key: RecurrentKey,
    n_tokens: usize,
}

impl GraphInput for Sources {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let memory = source.memory.recurrent().ok_or(Error::NoCache)?;
        write_input(graph, self.ids, memory.sources(), buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        (shape.n_tokens, shape.memory.recurrent) == (self.n_tokens, self.key)
    }
}
