//! Which backend computes which node, and what has to be copied in between.
//!
//! Answers to `ggml_backend_sched_split_graph`: bytes that exist already (weights, caches) decide where their readers run,
//! the nodes between follow their neighbours, and an operand in memory that a split's backend cannot read is replaced by
//! a copy that is made before the split runs.

use std::ops::Range;

use quipu_alloc::{Address, BufferSpec, split_tensors};
use quipu_graph::{BufferId, Graph, Op, Storage, TensorId};

use crate::buffer::{Buffer, BufferType};
use crate::compute_memory::Chunk;
use crate::error::Error;
use crate::table::BufferTable;
use crate::traits::Backend;

/// A node that no rule has placed yet.
const NOWHERE: u32 = u32::MAX;

/// Backend of each node and each leaf of a graph.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    pub nodes: Vec<u32>,
    pub leafs: Vec<u32>,
}

/// Nodes that one backend runs in one call, and the copies that it needs first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub backend: usize,
    pub nodes: Range<usize>,
    pub copies: Range<usize>,
}

/// A tensor's bytes in another backend's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub from: TensorId,
    pub to: TensorId,
    pub bytes: usize,
    /// Where in the copy memory of the split's backend.
    pub address: Option<Address>,
}

/// Which backends read which backend's results: `reads[reader][owner]`.
pub(crate) type Reads = Vec<Vec<bool>>;

/// Asks every backend about an empty buffer of every other.
pub(crate) fn reads(backends: &[Box<dyn Backend>]) -> Result<Reads, Error> {
    let owners: Vec<Box<dyn Buffer>> =
        backends.iter().map(|backend| backend.buffer_type().allocate(0)).collect::<Result<_, _>>()?;
    let of = |reader: &dyn Backend| owners.iter().map(|b| reader.supports_buffer(b.as_ref())).collect();
    Ok(backends.iter().map(|backend| of(backend.as_ref())).collect())
}

/// The tensor that owns the bytes.
fn root(graph: &Graph, id: TensorId) -> TensorId {
    graph[id].view.map_or(id, |view| view.root)
}

/// The buffer of bytes that are there already: a weight's or a cache's.
fn external(graph: &Graph, id: TensorId) -> Option<BufferId> {
    match graph[root(graph, id)].storage {
        Storage::External { buffer, .. } => Some(buffer),
        _ => None,
    }
}

impl Assignment {
    /// Places all nodes and leaves of a graph.
    pub fn make(
        &mut self,
        backends: &[Box<dyn Backend>],
        graph: &Graph,
        buffers: &BufferTable,
    ) -> Result<(), Error> {
        let nodes = graph.nodes();
        self.nodes.clear();
        self.leafs.clear();
        if let [backend] = backends {
            let computes = |id: &TensorId| {
                graph[*id].op.is_metadata() || readable(backend.as_ref(), graph, *id, buffers)
            };
            if let Some(id) = nodes.iter().find(|id| !computes(id)) {
                return Err(unsupported(graph, *id));
            }
            self.nodes.resize(nodes.len(), 0);
            self.leafs.resize(graph.leafs().len(), 0);
            return Ok(());
        }
        self.nodes.resize(nodes.len(), NOWHERE);
        for (place, id) in self.nodes.iter_mut().zip(nodes) {
            if !graph[*id].op.is_metadata() {
                *place = by_external(backends, graph, *id, buffers)?.unwrap_or(NOWHERE);
            }
        }
        // Devices spread over what lies between their nodes before the host does: less is copied then.
        let last = backends.len() as u32 - 1;
        for (without, reversed) in [(Some(last), false), (Some(last), true), (None, false), (None, true)] {
            self.spread(backends, graph, without, reversed);
        }
        for (place, id) in self.nodes.iter_mut().zip(nodes) {
            if *place == NOWHERE && !graph[*id].op.is_metadata() {
                let first = backends.iter().position(|backend| backend.supports_op(graph, *id));
                *place = first.ok_or_else(|| unsupported(graph, *id))? as u32;
            }
        }
        self.place_leafs(graph);
        self.place_views(graph);
        Ok(())
    }

    /// Gives nodes that have no place that of the node before them (behind them, if `reversed`).
    fn spread(&mut self, backends: &[Box<dyn Backend>], graph: &Graph, without: Option<u32>, reversed: bool) {
        let n = self.nodes.len();
        let mut current = None;
        for k in 0..n {
            let i = if reversed { n - 1 - k } else { k };
            let id = graph.nodes()[i];
            if graph[id].op.is_metadata() {
                continue;
            }
            if self.nodes[i] != NOWHERE {
                current = Some(self.nodes[i]).filter(|place| Some(*place) != without);
            } else if let Some(place) = current
                && backends[place as usize].supports_op(graph, id)
            {
                self.nodes[i] = place;
            }
        }
    }

    /// Leaves that the planner places lie with the node that writes them, or with their first reader.
    fn place_leafs(&mut self, graph: &Graph) {
        for leaf in graph.leafs() {
            let mut place = 0;
            if external(graph, *leaf).is_none() {
                let computed = || {
                    let nodes = graph.nodes().iter().zip(&self.nodes);
                    nodes.filter(|(id, _)| !graph[**id].op.is_metadata())
                };
                let writer = computed().find(|(id, _)| root(graph, **id) == *leaf);
                let reads = |id: &TensorId| graph[*id].src.iter().any(|src| root(graph, *src) == *leaf);
                let user = writer.or_else(|| computed().find(|(id, _)| reads(id)));
                place = user.map_or(0, |(_, place)| *place);
            }
            self.leafs.push(place);
        }
    }

    /// Views lie where their bytes do.
    fn place_views(&mut self, graph: &Graph) {
        for i in 0..self.nodes.len() {
            if self.nodes[i] == NOWHERE {
                let root = root(graph, graph.nodes()[i]);
                self.nodes[i] = self.place_of(graph, root).unwrap_or(0);
            }
        }
    }

    /// Backend of the tensor that owns its bytes; `None` if they were there already, or nobody placed them.
    fn place_of(&self, graph: &Graph, root: TensorId) -> Option<u32> {
        let node = graph.nodes().iter().position(|id| *id == root).map(|i| self.nodes[i]);
        let leaf = || graph.leafs().iter().position(|id| *id == root).map(|i| self.leafs[i]);
        node.or_else(leaf).filter(|place| *place != NOWHERE)
    }
}

/// The backend for a node that touches bytes which are there already: one that computes it, can write what it writes, and
/// reads most of them in place.
fn by_external(
    backends: &[Box<dyn Backend>],
    graph: &Graph,
    id: TensorId,
    buffers: &BufferTable,
) -> Result<Option<u32>, Error> {
    let tensor = &graph[id];
    let written = tensor.view.and_then(|_| external(graph, id));
    let mut read = tensor.src.iter().filter_map(|src| Some((external(graph, *src)?, graph[*src].n_bytes())));
    if written.is_none() && read.next().is_none() {
        return Ok(None);
    }
    let mut best: Option<(usize, u32)> = None;
    for (place, backend) in backends.iter().enumerate() {
        let reaches = |buffer: BufferId| Ok(backend.supports_buffer(buffers.get(buffer)?));
        let writes = written.map_or(Ok::<bool, Error>(true), reaches)?;
        if !writes || !backend.supports_op(graph, id) {
            continue;
        }
        let mut in_place = 0;
        for src in &tensor.src {
            if let Some(buffer) = external(graph, *src)
                && reaches(buffer)?
            {
                in_place += graph[*src].n_bytes();
            }
        }
        if best.is_none_or(|(most, _)| in_place > most) {
            best = Some((in_place, place as u32));
        }
    }
    best.map(|(_, place)| Some(place)).ok_or_else(|| unsupported(graph, id))
}

/// A graph whose operands are all where their readers can read them.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Generations of the graph as its owner has it, and of the table: what is run must be these.
    pub of: (u64, u64),
    /// The graph with copies as further leaves.
    pub graph: Graph,
    pub splits: Vec<Split>,
    pub copies: Vec<Copy>,
    /// Tensors of the owner's graph.
    n_tensors: usize,
}

impl Bound {
    /// Cuts an assigned graph into splits and replaces what they cannot read.
    pub fn make(
        backends: &[Box<dyn Backend>],
        reads: &Reads,
        assignment: &Assignment,
        source: &Graph,
        buffers: &BufferTable,
    ) -> Result<Bound, Error> {
        let mut bound = Bound {
            of: (source.generation(), buffers.generation()),
            graph: source.clone(),
            splits: Vec::new(),
            copies: Vec::new(),
            n_tensors: source.tensors().len(),
        };
        // Places by tensor, roots only.
        let mut places = vec![None; source.tensors().len()];
        for (id, place) in source.leafs().iter().zip(&assignment.leafs) {
            places[id.index()] = Some(*place as usize);
        }
        for (id, place) in source.nodes().iter().zip(&assignment.nodes) {
            places[id.index()] = Some(*place as usize);
        }
        for (i, id) in source.nodes().iter().enumerate() {
            if source[*id].op.is_metadata() {
                continue;
            }
            let backend = assignment.nodes[i] as usize;
            if bound.splits.last().is_none_or(|split| split.backend != backend) {
                let at = bound.copies.len();
                // Views before the first node belong to it.
                let start = bound.splits.last().map_or(0, |split| split.nodes.end);
                bound.splits.push(Split { backend, nodes: start..i + 1, copies: at..at });
            }
            if let Some(split) = bound.splits.last_mut() {
                split.nodes.end = i + 1;
            }
            for slot in 0..source[*id].src.len() {
                let src = source[*id].src[slot];
                let readable = match external(source, src) {
                    Some(buffer) => backends[backend].supports_buffer(buffers.get(buffer)?),
                    None => places[root(source, src).index()].is_none_or(|place| reads[backend][place]),
                };
                if !readable {
                    let to = bound.copy(backends[backend].buffer_type().as_ref(), src)?;
                    bound.graph[*id].src[slot] = to;
                }
            }
        }
        if let Some(split) = bound.splits.last_mut() {
            split.nodes.end = source.nodes().len();
        }
        Ok(bound)
    }

    /// The copy of `from` for the last split, made at its first mention.
    fn copy(&mut self, buffer_type: &dyn BufferType, from: TensorId) -> Result<TensorId, Error> {
        let Some(split) = self.splits.last_mut() else { return Ok(from) };
        if let Some(copy) = self.copies[split.copies.clone()].iter().find(|copy| copy.from == from) {
            return Ok(copy.to);
        }
        let tensor = &self.graph[from];
        // Strided tensors are copied with their gaps.
        let (bytes, nb) = (tensor.n_bytes(), tensor.nb);
        let name = format!("{}#{}", buffer_type.name(), tensor.name);
        let (dtype, ne) = (tensor.dtype, tensor.ne);
        let too_large = |_| Error::OutOfMemory { buffer_type: format!("{name} (a copy)"), size: bytes };
        let to = self.graph.leaf(&name, dtype, ne).map_err(too_large)?;
        self.graph[to].nb = nb;
        // Until the split runs its bytes stay: nobody takes their place.
        let owner = root(&self.graph, from);
        self.graph[owner].flags.output = true;
        self.copies.push(Copy { from, to, bytes, address: None });
        split.copies.end = self.copies.len();
        Ok(to)
    }

    /// Finds a place for each copy in the copy memory of its split's backend, which all its splits use in turn. Returns,
    /// by backend, how large the chunks of that memory must be.
    pub fn lay_out_copies(&mut self, specs: &[BufferSpec]) -> Result<Vec<Vec<u64>>, Error> {
        let mut needed = vec![Vec::new(); specs.len()];
        for split in &self.splits {
            let copies = &mut self.copies[split.copies.clone()];
            // Empty tensors have a place too.
            let sizes: Vec<_> = copies.iter().map(|copy| Some(copy.bytes.max(1) as u64)).collect();
            let layout = split_tensors(specs[split.backend], &sizes)?;
            for (copy, address) in copies.iter_mut().zip(&layout.addresses) {
                copy.address = *address;
            }
            let needed: &mut Vec<u64> = &mut needed[split.backend];
            needed.resize(needed.len().max(layout.buffer_sizes.len()), 0);
            for (needed, size) in needed.iter_mut().zip(&layout.buffer_sizes) {
                *needed = (*needed).max(*size);
            }
        }
        Ok(needed)
    }

    /// Tells the copies which buffers each backend's copy memory is.
    pub fn place_copies(&mut self, memory: &[Vec<Chunk>]) {
        for split in &self.splits {
            for copy in &self.copies[split.copies.clone()] {
                let Some(Address { chunk, offset }) = copy.address else { continue };
                let Some(chunk) = memory[split.backend].get(chunk as usize) else { continue };
                let storage = Storage::External { buffer: chunk.buffer, offset: offset as usize };
                self.graph[copy.to].storage = storage;
            }
        }
    }

    /// Hands the places of all tensors that both have back to the owner's graph.
    pub fn hand_back(&mut self, graph: &mut Graph) {
        for index in 0..self.n_tensors {
            let Some(id) = graph.id(index) else { continue };
            graph[id].storage = self.graph[id].storage;
        }
    }

    /// Whether `graph` is the one that was bound, and `buffers` the table that it was bound on.
    pub fn is_of(&self, graph: &Graph, buffers: &BufferTable) -> bool {
        self.of == (graph.generation(), buffers.generation())
    }

    /// Every split's backend reads and writes what its nodes do.
    pub fn check(&self, backends: &[Box<dyn Backend>], buffers: &BufferTable) -> Result<(), Error> {
        for split in &self.splits {
            let backend = backends[split.backend].as_ref();
            for id in &self.graph.nodes()[split.nodes.clone()] {
                let tensor = &self.graph[*id];
                let written = tensor.storage.location();
                let reaches = written.is_none_or(|(buffer, _)| {
                    buffers.get(buffer).is_ok_and(|buffer| backend.supports_buffer(buffer))
                });
                let runs = reaches && readable(backend, &self.graph, *id, buffers);
                if !runs && !tensor.op.is_metadata() {
                    return Err(unsupported(&self.graph, *id));
                }
            }
        }
        Ok(())
    }
}

/// Whether a backend computes `node` and reads those of its operands that have memory.
fn readable(backend: &dyn Backend, graph: &Graph, node: TensorId, buffers: &BufferTable) -> bool {
    backend.supports_op(graph, node)
        && graph[node].src.iter().all(|src| match graph[*src].storage.location() {
            Some((buffer, _)) => buffers.get(buffer).is_ok_and(|b| backend.supports_buffer(b)),
            None => true,
        })
}

fn unsupported(graph: &Graph, node: TensorId) -> Error {
    let tensor = &graph[node];
    let operand = tensor.src.first().map_or(tensor, |src| &graph[*src]);
    debug_assert!(tensor.op != Op::None);
    Error::Unsupported { op: tensor.op.name(), dtype: operand.dtype, name: tensor.name.clone() }
}
