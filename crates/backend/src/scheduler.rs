//! Assigns nodes to backends, plans their memory and runs them in order.
//!
//! Answers to `ggml_backend_sched`. Neighbouring nodes of one backend form a split and run in one call. A
//! backend reads another's results only if it can read that memory directly; otherwise the graph is refused.

use std::ops::Range;
use std::sync::Arc;

use quipu_alloc::{BufferAssignment, BufferSpec, Placement, Plan, Planner};
use quipu_graph::{BufferId, Graph, Storage, TensorId};

use crate::error::Error;
use crate::plan_graph::GraphView;
use crate::table::BufferTable;
use crate::traits::{Abort, Backend, BufferType, Observer};

/// Runs graphs on one or more backends, the preferred one first.
#[derive(Debug)]
pub struct Scheduler {
    backends: Vec<Box<dyn Backend>>,
    buffer_types: Vec<Arc<dyn BufferType>>,
    planner: Planner,
    plan: Option<Plan>,
    /// Compute memory: per backend, the chunks of its buffer type.
    chunks: Vec<Vec<Chunk>>,
    /// Backend of each node of the graph at hand.
    assignment: Vec<u32>,
    leaf_assignment: Vec<u32>,
    placements: Vec<Option<Placement>>,
    n_plans: usize,
    observer: Option<Box<dyn Observer>>,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    buffer: BufferId,
    size: u64,
}

impl Scheduler {
    /// A scheduler over `backends`, the preferred one first.
    pub fn new(backends: Vec<Box<dyn Backend>>) -> Result<Scheduler, Error> {
        let buffer_types: Vec<_> = backends.iter().map(|backend| backend.buffer_type()).collect();
        let specs: Vec<BufferSpec> = buffer_types
            .iter()
            .enumerate()
            .map(|(i, buffer_type)| BufferSpec {
                id: i as u64,
                alignment: buffer_type.alignment() as u64,
                max_size: buffer_type.max_size() as u64,
            })
            .collect();
        let planner = Planner::new(&specs)?;
        Ok(Scheduler {
            chunks: vec![Vec::new(); backends.len()],
            backends,
            buffer_types,
            planner,
            plan: None,
            assignment: Vec::new(),
            leaf_assignment: Vec::new(),
            placements: Vec::new(),
            n_plans: 0,
            observer: None,
        })
    }

    /// Plans memory for `graph` and binds every unbound tensor. The last plan serves again if the graph has
    /// its structure; memory is allocated only where a chunk has to grow
    /// (`ggml_backend_sched_alloc_graph`). Graphs bound earlier keep their places, whose contents are lost.
    pub fn alloc_graph(&mut self, graph: &mut Graph, buffers: &mut BufferTable) -> Result<(), Error> {
        self.assign(graph, buffers)?;
        let view = GraphView { graph, buffer_types: &self.buffer_types };
        let assignment =
            BufferAssignment { nodes: Some(&self.assignment), leafs: Some(&self.leaf_assignment) };
        // With several backends the same structure may have been assigned differently.
        let serves = |plan: &Plan| self.backends.len() == 1 && plan.realloc_reason(&view).is_none();
        let plan = if let Some(plan) = self.plan.take().filter(serves) {
            plan
        } else {
            self.n_plans += 1;
            self.planner.plan(&view, assignment)?
        };
        for (i, chunks) in self.chunks.iter_mut().enumerate() {
            for (n, size) in plan.chunk_sizes(i).iter().enumerate() {
                grow(chunks, n, *size, self.buffer_types[i].as_ref(), buffers)?;
            }
        }
        // Kept only once its memory is there: a smaller graph of this structure gets a plan of its own.
        let plan = &*self.plan.insert(plan);
        plan.place(&view, &mut self.placements);
        for (index, placement) in self.placements.iter().enumerate() {
            let (Some(id), Some(placement)) = (graph.id(index), placement) else { continue };
            if graph[id].view.is_none() {
                let chunk = self.chunks[placement.buffer as usize][placement.chunk as usize];
                graph[id].storage =
                    Storage::Planned { buffer: chunk.buffer, offset: placement.offset as usize };
            }
        }
        graph.resolve_views();
        self.check_reachable(graph, buffers)
    }

    /// Runs a graph whose tensors are bound (`ggml_backend_sched_graph_compute`).
    pub fn compute(
        &mut self,
        graph: &Graph,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        if self.backends.len() > 1 {
            self.assign(graph, buffers)?;
        }
        let nodes = 0..graph.nodes().len();
        let Some(mut observer) = self.observer.take() else {
            return self.run(graph, nodes, buffers, abort);
        };
        let result = self.run_observed(graph, buffers, abort, observer.as_mut());
        self.observer = Some(observer);
        result
    }

    /// Who is shown results while graphs run, if anybody (`ggml_backend_sched_set_eval_callback`).
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.observer = observer;
    }

    /// Runs the graph in pieces that end where the observer wants to look.
    fn run_observed(
        &mut self,
        graph: &Graph,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let mut start = 0;
        for (i, node) in graph.nodes().iter().enumerate() {
            if observer.wants(graph, *node) {
                self.run(graph, start..i + 1, buffers, abort)?;
                observer.computed(graph, *node, buffers)?;
                start = i + 1;
            }
        }
        self.run(graph, start..graph.nodes().len(), buffers, abort)
    }

    /// Runs some of the nodes, split by split.
    fn run(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        if let [backend] = self.backends.as_mut_slice() {
            return backend.compute(graph, nodes, buffers, abort);
        }
        let mut start = nodes.start;
        while start < nodes.end {
            let split = start..self.split_at(start).end.min(nodes.end);
            start = split.end;
            let backend = self.assignment[split.start] as usize;
            self.backends[backend].compute(graph, split, buffers, abort)?;
        }
        Ok(())
    }

    /// Bytes of compute memory held (`ggml_backend_sched_get_buffer_size`, all backends together).
    pub fn compute_bytes(&self) -> u64 {
        self.chunks.iter().flatten().map(|chunk| chunk.size).sum()
    }

    /// Plans made so far: a decoder in steady state makes none.
    pub fn n_plans(&self) -> usize {
        self.n_plans
    }

    /// Sets the threads of every backend.
    pub fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error> {
        self.backends.iter_mut().try_for_each(|backend| backend.set_n_threads(n_threads))
    }

    /// The first backend that computes each node and reads its external operands.
    fn assign(&mut self, graph: &Graph, buffers: &BufferTable) -> Result<(), Error> {
        self.assignment.clear();
        for id in graph.nodes() {
            let backend = self
                .backends
                .iter()
                .position(|b| graph[*id].op.is_metadata() || computes(b.as_ref(), graph, *id, buffers));
            let Some(backend) = backend else { return Err(unsupported(graph, *id)) };
            self.assignment.push(backend as u32);
        }
        // Leaves that the planner places are inputs: they lie with their first reader.
        self.leaf_assignment.clear();
        for leaf in graph.leafs() {
            let reader = if self.backends.len() == 1 {
                0
            } else {
                let reads = |node: &TensorId| graph[*node].src.contains(leaf);
                graph.nodes().iter().position(reads).map_or(0, |node| self.assignment[node])
            };
            self.leaf_assignment.push(reader);
        }
        Ok(())
    }

    /// Longest run of nodes from `start` on one backend.
    fn split_at(&self, start: usize) -> Range<usize> {
        let backend = self.assignment[start];
        let len = self.assignment[start..].iter().take_while(|b| **b == backend).count();
        start..start + len
    }

    /// Every backend can read what other backends computed for it.
    fn check_reachable(&self, graph: &Graph, buffers: &BufferTable) -> Result<(), Error> {
        if self.backends.len() == 1 {
            return Ok(());
        }
        for (id, backend) in graph.nodes().iter().zip(&self.assignment) {
            if !graph[*id].op.is_metadata()
                && !computes(self.backends[*backend as usize].as_ref(), graph, *id, buffers)
            {
                return Err(unsupported(graph, *id));
            }
        }
        Ok(())
    }
}

/// Whether a backend computes `node` and reads those of its operands that have memory.
fn computes(backend: &dyn Backend, graph: &Graph, node: TensorId, buffers: &BufferTable) -> bool {
    backend.supports_op(graph, node)
        && graph[node].src.iter().all(|src| match graph[*src].storage.location() {
            Some((buffer, _)) => buffers.get(buffer).is_ok_and(|b| backend.supports_buffer(b)),
            None => true,
        })
}

/// Makes chunk `n` at least `size` bytes large, keeping its number.
fn grow(
    chunks: &mut Vec<Chunk>,
    n: usize,
    size: u64,
    buffer_type: &dyn BufferType,
    buffers: &mut BufferTable,
) -> Result<(), Error> {
    let bytes = usize::try_from(size)
        .map_err(|_| Error::OutOfMemory { buffer_type: buffer_type.name().to_owned(), size: usize::MAX })?;
    match chunks.get_mut(n) {
        Some(chunk) if chunk.size >= size => {}
        Some(chunk) => {
            buffers.replace_owned(chunk.buffer, buffer_type.allocate(bytes)?)?;
            chunk.size = size;
        }
        None => {
            let buffer = buffers.add_owned(buffer_type.allocate(bytes)?);
            chunks.push(Chunk { buffer, size });
        }
    }
    Ok(())
}

fn unsupported(graph: &Graph, node: TensorId) -> Error {
    let tensor = &graph[node];
    let operand = tensor.src.first().map_or(tensor, |src| &graph[*src]);
    Error::Unsupported { op: tensor.op.name(), dtype: operand.dtype, name: tensor.name.clone() }
}
