//! The graph: an arena of tensors, and the order in which they are computed.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering};

use quipu_quant::DType;
use smallvec::SmallVec;

use crate::error::Error;
use crate::ops::Op;
use crate::tensor::{Flags, MAX_DIMS, Storage, Tensor, TensorId, View, contiguous_strides};

/// A compute graph. Answers to `struct ggml_cgraph` and the `ggml_context` that holds its tensors.
///
/// Tensors are added by the builder methods; [`Graph::build_forward_expand`] then orders those that a
/// result depends on.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    generation: u64,
    tensors: Vec<Tensor>,
    nodes: Vec<TensorId>,
    leafs: Vec<TensorId>,
    visited: Vec<bool>,
}

/// The last generation that a graph was given.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// A graph of tensors and lists that were checked ([`Graph::from_raw`]).
    pub(crate) fn from_parts(tensors: Vec<Tensor>, nodes: Vec<TensorId>, leafs: Vec<TensorId>) -> Graph {
        let mut visited = vec![false; tensors.len()];
        for id in nodes.iter().chain(&leafs) {
            visited[id.index()] = true;
        }
        let mut graph = Graph { tensors, nodes, leafs, visited, ..Graph::default() };
        graph.changed();
        graph
    }

    /// A number that every change replaces by one that no graph had before: two graphs of the same generation are equal,
    /// so that what was derived from one serves as long as its generation stays. A clone keeps it until one of the two
    /// changes; empty graphs share the 0. Lending a tensor for writing counts as a change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn changed(&mut self) {
        // Only that numbers differ counts, not what else happened before.
        self.generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
    }

    /// All tensors, by number.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Computed tensors in evaluation order.
    pub fn nodes(&self) -> &[TensorId] {
        &self.nodes
    }

    /// Writes to `uses`, by tensor, how many operands of nodes it is (`ggml_node_get_use_count`).
    pub fn count_uses(&self, uses: &mut Vec<u32>) {
        uses.clear();
        uses.resize(self.tensors().len(), 0);
        for id in self.nodes() {
            for src in &self[*id].src {
                uses[src.index()] += 1;
            }
        }
    }

    /// Tensors without an op that a node depends on, in the order they were met.
    pub fn leafs(&self) -> &[TensorId] {
        &self.leafs
    }

    /// The number of the `index`-th tensor, if there is one.
    pub fn id(&self, index: usize) -> Option<TensorId> {
        (index < self.tensors.len()).then_some(TensorId(index as u32))
    }

    /// The last tensor of that name in evaluation order (`ggml_graph_get_tensor`).
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.nodes.iter().rev().chain(&self.leafs).copied().find(|id| self[*id].name == name)
    }

    /// Adds a leaf whose bytes the planner will place.
    pub fn leaf(&mut self, name: &str, dtype: DType, ne: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        self.contiguous(name, dtype, ne, Op::None, &[])
    }

    /// Adds a leaf that the caller writes before each run (`ggml_set_input`).
    pub fn input(&mut self, name: &str, dtype: DType, ne: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        let id = self.leaf(name, dtype, ne)?;
        self[id].flags.input = true;
        Ok(id)
    }

    /// Adds a leaf whose bytes exist already: a weight or a cache.
    pub fn external(
        &mut self,
        name: &str,
        dtype: DType,
        ne: [usize; MAX_DIMS],
        storage: Storage,
    ) -> Result<TensorId, Error> {
        let id = self.leaf(name, dtype, ne)?;
        self[id].storage = storage;
        Ok(id)
    }

    /// Marks a tensor whose bytes the caller reads after the run (`ggml_set_output`).
    pub fn set_output(&mut self, id: TensorId) {
        self[id].flags.output = true;
    }

    /// Gives a tensor the name audits know it by (`ggml_set_name`).
    pub fn set_name(&mut self, id: TensorId, name: &str) {
        name.clone_into(&mut self[id].name);
    }

    /// Appends `id` and all it depends on to the evaluation order: operands first, in operand order
    /// (`ggml_build_forward_expand`). Tensors that are in the order already stay where they are.
    pub fn build_forward_expand(&mut self, id: TensorId) {
        self.changed();
        self.visited.resize(self.tensors.len(), false);
        // An explicit stack: a graph's depth grows with the model's layers, the thread's stack does not.
        let mut stack: Vec<(TensorId, usize)> = Vec::new();
        if !std::mem::replace(&mut self.visited[id.index()], true) {
            stack.push((id, 0));
        }
        while let Some((top, next)) = stack.pop() {
            if let Some(&src) = self.tensors[top.index()].src.get(next) {
                stack.push((top, next + 1));
                if !std::mem::replace(&mut self.visited[src.index()], true) {
                    stack.push((src, 0));
                }
            } else if self.tensors[top.index()].op == Op::None {
                self.leafs.push(top);
            } else {
                self.nodes.push(top);
            }
        }
    }

    /// Fills the storage of every view from its root. Call after roots were placed.
    pub fn resolve_views(&mut self) {
        self.changed();
        for index in 0..self.tensors.len() {
            let Some(View { root, offset }) = self.tensors[index].view else { continue };
            self.tensors[index].storage = match self[root].storage {
                Storage::Unbound => Storage::Unbound,
                Storage::External { buffer, offset: base } => {
                    Storage::External { buffer, offset: base + offset }
                }
                Storage::Planned { buffer, offset: base } => {
                    Storage::Planned { buffer, offset: base + offset }
                }
            };
        }
    }

    /// Adds a tensor with a fresh contiguous layout.
    pub(crate) fn contiguous(
        &mut self,
        name: &str,
        dtype: DType,
        ne: [usize; MAX_DIMS],
        op: Op,
        src: &[TensorId],
    ) -> Result<TensorId, Error> {
        if ne[0] % dtype.block_len() != 0 {
            return Err(Error::PartialBlock { name: name.to_owned(), dtype, ne0: ne[0] });
        }
        let nb = contiguous_strides(dtype, ne).ok_or_else(|| Error::TooLarge {
            name: name.to_owned(),
            ne,
            dtype,
        })?;
        Ok(self.push(Tensor {
            name: name.to_owned(),
            dtype,
            ne,
            nb,
            op,
            src: SmallVec::from_slice(src),
            view: None,
            flags: Flags::default(),
            storage: Storage::Unbound,
        }))
    }

    /// Adds a tensor that shares the bytes of `of`, `offset` bytes further on.
    pub(crate) fn view_tensor(
        &mut self,
        of: TensorId,
        offset: usize,
        ne: [usize; MAX_DIMS],
        nb: [usize; MAX_DIMS],
        op: Op,
        src: &[TensorId],
    ) -> TensorId {
        let tensor = self.new_view(of, offset, ne, nb, op, src);
        self.push(tensor)
    }

    /// A tensor, not yet of this graph, that shares the bytes of `of`, `offset` bytes further on.
    pub(crate) fn new_view(
        &self,
        of: TensorId,
        offset: usize,
        ne: [usize; MAX_DIMS],
        nb: [usize; MAX_DIMS],
        op: Op,
        src: &[TensorId],
    ) -> Tensor {
        let base = &self[of];
        let view = match base.view {
            // Too far is too far: what looks there is refused.
            Some(View { root, offset: inner }) => View { root, offset: inner.saturating_add(offset) },
            None => View { root: of, offset },
        };
        Tensor {
            name: String::new(),
            dtype: base.dtype,
            ne,
            nb,
            op,
            src: SmallVec::from_slice(src),
            view: Some(view),
            flags: Flags::default(),
            storage: Storage::Unbound,
        }
    }

    pub(crate) fn push(&mut self, tensor: Tensor) -> TensorId {
        self.changed();
        let id = TensorId(self.tensors.len() as u32);
        self.tensors.push(tensor);
        id
    }
}

impl Index<TensorId> for Graph {
    type Output = Tensor;

    fn index(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }
}

impl IndexMut<TensorId> for Graph {
    fn index_mut(&mut self, id: TensorId) -> &mut Tensor {
        self.changed();
        &mut self.tensors[id.index()]
    }
}
