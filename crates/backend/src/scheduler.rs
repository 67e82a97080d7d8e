//! Assigns nodes to backends, plans their memory and runs them in order.
//!
//! Answers to `ggml_backend_sched`. Neighbouring nodes of one backend form a split and run in one call. Operands that a
//! split's backend cannot read are copied into its memory first, through the host (`split`).

use std::ops::Range;
use std::sync::Arc;

use quipu_alloc::{BufferAssignment, BufferSpec, Placement, Plan, Planner};
use quipu_graph::{BufferId, Graph, Storage};

use crate::error::Error;
use crate::plan_graph::GraphView;
use crate::split::{self, Assignment, Bound, Reads};
use crate::stats::{BackendStats, SchedulerStats};
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
    assignment: Assignment,
    /// With several backends: which reads whose results, the graph that was bound last, and the memory for copies.
    reads: Reads,
    bound: Option<Bound>,
    copy_memory: Vec<Vec<Chunk>>,
    /// Where copies between two backends' memory are on the way.
    passage: Vec<u8>,
    stats: SchedulerStats,
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
        let names =
            backends.iter().map(|b| BackendStats { name: b.name().to_owned(), ..BackendStats::default() });
        Ok(Scheduler {
            chunks: vec![Vec::new(); backends.len()],
            copy_memory: vec![Vec::new(); backends.len()],
            stats: SchedulerStats { backends: names.collect() },
            reads: if backends.len() > 1 { split::reads(&backends)? } else { Reads::new() },
            bound: None,
            passage: Vec::new(),
            backends,
            buffer_types,
            planner,
            plan: None,
            assignment: Assignment::default(),
            placements: Vec::new(),
            n_plans: 0,
            observer: None,
        })
    }

    /// Plans memory for `graph` and binds every unbound tensor. The last plan serves again if the graph has
    /// its structure; memory is allocated only where a chunk has to grow
    /// (`ggml_backend_sched_alloc_graph`). Graphs bound earlier keep their places, whose contents are lost.
    pub fn alloc_graph(&mut self, graph: &mut Graph, buffers: &mut BufferTable) -> Result<(), Error> {
        self.assignment.make(&self.backends, graph, buffers)?;
        if self.backends.len() == 1 {
            return self.place(graph, buffers);
        }
        self.bound = None;
        let mut bound = self.bind(graph, buffers)?;
        // Copies are part of the structure: a node must not take the place of an operand that another backend holds.
        self.place(&mut bound.graph, buffers)?;
        bound.hand_back(graph);
        bound.check(&self.backends, buffers)?;
        self.bound = Some(bound);
        Ok(())
    }

    /// Splits an assigned graph and gives its copies memory.
    fn bind(&mut self, graph: &Graph, buffers: &mut BufferTable) -> Result<Bound, Error> {
        let mut bound = Bound::make(&self.backends, &self.reads, &self.assignment, graph, buffers)?;
        for (i, size) in bound.copy_bytes.iter().enumerate().filter(|(_, size)| **size > 0) {
            grow(&mut self.copy_memory[i], 0, *size as u64, self.buffer_types[i].as_ref(), buffers)?;
        }
        let memory: Vec<_> =
            self.copy_memory.iter().map(|chunks| chunks.first().map(|chunk| chunk.buffer)).collect();
        bound.place_copies(&memory);
        Ok(bound)
    }

    /// Plans memory for an assigned graph and binds its tensors.
    fn place(&mut self, graph: &mut Graph, buffers: &mut BufferTable) -> Result<(), Error> {
        let view = GraphView { graph, buffer_types: &self.buffer_types };
        let Assignment { nodes, leafs } = &self.assignment;
        let assignment = BufferAssignment { nodes: Some(nodes), leafs: Some(leafs) };
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
        Ok(())
    }

    /// Runs a graph whose tensors are bound (`ggml_backend_sched_graph_compute`).
    pub fn compute(
        &mut self,
        graph: &Graph,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        if self.backends.len() > 1 && !self.bound.as_ref().is_some_and(|bound| bound.is_of(graph)) {
            // A graph that was bound before the last one.
            self.bound = None;
            self.assignment.make(&self.backends, graph, buffers)?;
            let bound = self.bind(graph, buffers)?;
            bound.check(&self.backends, buffers)?;
            self.bound = Some(bound);
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
            count(&mut self.stats.backends[0], graph, &nodes);
            return backend.compute(graph, nodes, buffers, abort);
        }
        let Some(bound) = &self.bound else { return Ok(()) };
        for split in &bound.splits {
            let part = split.nodes.start.max(nodes.start)..split.nodes.end.min(nodes.end);
            if part.is_empty() {
                continue;
            }
            let stats = &mut self.stats.backends[split.backend];
            // A split that an observer cut has its copies from its first part.
            if part.start == split.nodes.start {
                for copy in &bound.copies[split.copies.clone()] {
                    if abort.is_some_and(|abort| abort()) {
                        return Err(Error::Aborted);
                    }
                    if self.passage.len() < copy.bytes {
                        self.passage.resize(copy.bytes, 0);
                    }
                    let bytes = &mut self.passage[..copy.bytes];
                    buffers.read_tensor(&bound.graph[copy.from], 0, bytes)?;
                    buffers.write_tensor(&bound.graph[copy.to], bytes)?;
                    stats.n_copies += 1;
                    stats.copied_bytes += copy.bytes as u64;
                }
            }
            count(stats, &bound.graph, &part);
            self.backends[split.backend].compute(&bound.graph, part, buffers, abort)?;
        }
        Ok(())
    }

    /// What ran where so far.
    pub fn stats(&self) -> &SchedulerStats {
        &self.stats
    }

    /// Bytes of compute memory held (`ggml_backend_sched_get_buffer_size`, all backends together).
    pub fn compute_bytes(&self) -> u64 {
        self.chunks.iter().chain(&self.copy_memory).flatten().map(|chunk| chunk.size).sum()
    }

    /// Plans made so far: a decoder in steady state makes none.
    pub fn n_plans(&self) -> usize {
        self.n_plans
    }

    /// Sets the threads of every backend.
    pub fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error> {
        self.backends.iter_mut().try_for_each(|backend| backend.set_n_threads(n_threads))
    }
}

fn count(stats: &mut BackendStats, graph: &Graph, nodes: &Range<usize>) {
    let computed = graph.nodes().get(nodes.clone()).unwrap_or_default();
    stats.n_nodes += computed.iter().filter(|id| !graph[**id].op.is_metadata()).count() as u64;
    stats.n_splits += 1;
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
