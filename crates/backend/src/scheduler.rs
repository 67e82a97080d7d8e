//! Assigns nodes to backends, plans their memory, has them prepared once and runs them in order.
//!
//! Answers to `ggml_backend_sched`. Neighbouring nodes of one backend form a split and run in one call. Operands that a
//! split's backend cannot read are copied into its memory first, through the host (`split`). Where intermediate results lie
//! is `compute_memory`'s business.

use std::ops::Range;
use std::sync::Arc;

use quipu_alloc::{BufferAssignment, BufferSpec};
use quipu_graph::Graph;

use crate::buffer::BufferType;
use crate::compute_memory::{Chunk, ComputeMemory, grow};
use crate::error::Error;
use crate::split::{self, Assignment, Bound, Reads};
use crate::stats::{BackendStats, SchedulerStats};
use crate::table::BufferTable;
use crate::traits::{Abort, Backend, Observer, Prepared};

/// Runs graphs on one or more backends, the preferred one first.
#[derive(Debug)]
pub struct Scheduler {
    backends: Vec<Box<dyn Backend>>,
    buffer_types: Arc<[Arc<dyn BufferType>]>,
    /// The buffer types as planners see them.
    specs: Vec<BufferSpec>,
    memory: ComputeMemory,
    assignment: Assignment,
    /// With several backends: which reads whose results, the graph that was bound last, and the memory for copies.
    reads: Reads,
    bound: Option<Bound>,
    copy_memory: Vec<Vec<Chunk>>,
    /// Where copies between two backends' memory are on the way.
    passage: Vec<u8>,
    /// The table that has this scheduler's memory, once it needed some.
    table: Option<u64>,
    ready: Ready,
    stats: SchedulerStats,
    observer: Option<Box<dyn Observer>>,
}

/// What backends prepared of one graph on one table, in the order in which it runs.
#[derive(Debug, Default)]
struct Ready {
    /// Generations of both.
    of: (u64, u64),
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    backend: usize,
    nodes: Range<usize>,
    /// Nodes among them that are computed.
    n_computed: u64,
    prepared: Prepared,
}

impl Ready {
    /// Forgets what was prepared, unless it is of this graph and this table.
    fn keep(&mut self, graph: &Graph, buffers: &BufferTable) {
        let of = (graph.generation(), buffers.generation());
        if self.of != of {
            self.parts.clear();
            self.of = of;
        }
    }

    /// Whether part `at` is this one.
    fn has(&self, at: usize, backend: usize, nodes: &Range<usize>) -> bool {
        self.parts.get(at).is_some_and(|part| part.backend == backend && part.nodes == *nodes)
    }
}

impl Scheduler {
    /// A scheduler over `backends`, the preferred one first.
    pub fn new(backends: Vec<Box<dyn Backend>>) -> Result<Scheduler, Error> {
        let buffer_types: Arc<[_]> = backends.iter().map(|backend| backend.buffer_type()).collect();
        let specs: Vec<BufferSpec> = buffer_types
            .iter()
            .enumerate()
            .map(|(i, buffer_type)| BufferSpec {
                id: i as u64,
                alignment: buffer_type.alignment() as u64,
                max_size: buffer_type.max_size() as u64,
            })
            .collect();
        let names =
            backends.iter().map(|b| BackendStats { name: b.name().to_owned(), ..BackendStats::default() });
        Ok(Scheduler {
            stats: SchedulerStats { backends: names.collect(), ..SchedulerStats::default() },
            memory: ComputeMemory::new(Arc::clone(&buffer_types), &specs)?,
            copy_memory: vec![Vec::new(); backends.len()],
            reads: if backends.len() > 1 { split::reads(&backends)? } else { Reads::new() },
            assignment: Assignment::default(),
            bound: None,
            passage: Vec::new(),
            table: None,
            ready: Ready::default(),
            observer: None,
            backends,
            buffer_types,
            specs,
        })
    }

    /// Plans memory for `graph` and binds every unbound tensor. The last plan serves again if the graph has
    /// its structure; memory is allocated only where a chunk has to grow
    /// (`ggml_backend_sched_alloc_graph`). Graphs bound earlier keep their places, whose contents are lost.
    ///
    /// The memory lies in `buffers`, which is this scheduler's table from then on.
    ///
    /// # Errors
    /// An op that no backend computes, memory that is not to be had, or [`Error::OtherTable`].
    pub fn alloc_graph(&mut self, graph: &mut Graph, buffers: &mut BufferTable) -> Result<(), Error> {
        self.keep_to(buffers)?;
        self.assignment.make(&self.backends, graph, buffers)?;
        if self.backends.len() == 1 {
            return self.place(graph, buffers);
        }
        self.bound = None;
        let mut bound = self.bind(graph, buffers)?;
        // Copies are part of the structure: a node must not take the place of an operand that another backend holds.
        self.place(&mut bound.graph, buffers)?;
        bound.hand_back(graph);
        self.keep_bound(bound, graph, buffers)
    }

    /// Makes `buffers` this scheduler's table. Numbers of its buffers mean others in another one: memory that somebody else
    /// keeps there would be taken for the scheduler's, or replaced by it.
    fn keep_to(&mut self, buffers: &BufferTable) -> Result<(), Error> {
        if *self.table.get_or_insert(buffers.id()) == buffers.id() { Ok(()) } else { Err(Error::OtherTable) }
    }

    /// Splits an assigned graph and gives its copies memory.
    fn bind(&mut self, graph: &Graph, buffers: &mut BufferTable) -> Result<Bound, Error> {
        let mut bound = Bound::make(&self.backends, &self.reads, &self.assignment, graph, buffers)?;
        for (i, sizes) in bound.lay_out_copies(&self.specs)?.iter().enumerate() {
            for (number, size) in sizes.iter().enumerate() {
                let buffer_type = self.buffer_types[i].as_ref();
                grow(&mut self.copy_memory[i], number, *size, buffer_type, buffers)?;
            }
        }
        bound.place_copies(&self.copy_memory);
        Ok(bound)
    }

    /// Notes that `bound` is of this graph and this table, if its splits can run.
    fn keep_bound(&mut self, mut bound: Bound, graph: &Graph, buffers: &BufferTable) -> Result<(), Error> {
        bound.check(&self.backends, buffers)?;
        bound.of = (graph.generation(), buffers.generation());
        self.bound = Some(bound);
        self.ready.parts.clear();
        Ok(())
    }

    /// Plans memory for an assigned graph and binds its tensors.
    fn place(&mut self, graph: &mut Graph, buffers: &mut BufferTable) -> Result<(), Error> {
        let Assignment { nodes, leafs } = &self.assignment;
        let assignment = BufferAssignment { nodes: Some(nodes), leafs: Some(leafs) };
        let placed = self.memory.place(graph, assignment, buffers);
        self.stats.n_memory_plans = self.memory.n_plans();
        placed
    }

    /// Runs a graph whose tensors are bound (`ggml_backend_sched_graph_compute`). What the backends prepare for it serves
    /// until the graph or the table's buffers change.
    ///
    /// # Errors
    /// As the backends' [`Backend::prepare`] and [`Backend::run`], and [`Error::OtherTable`] if this scheduler has memory in
    /// another table.
    pub fn compute(
        &mut self,
        graph: &Graph,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        if self.table.is_some_and(|table| table != buffers.id()) {
            return Err(Error::OtherTable);
        }
        if self.backends.len() > 1 && !self.bound.as_ref().is_some_and(|bound| bound.is_of(graph, buffers)) {
            // A graph that was bound before the last one.
            self.bound = None;
            self.keep_to(buffers)?;
            self.assignment.make(&self.backends, graph, buffers)?;
            let bound = self.bind(graph, buffers)?;
            self.keep_bound(bound, graph, buffers)?;
        }
        self.ready.keep(graph, buffers);
        let Some(mut observer) = self.observer.take() else {
            return self.run(graph, 0..graph.nodes().len(), &mut 0, buffers, abort);
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
        let (mut start, mut next) = (0, 0);
        for (i, node) in graph.nodes().iter().enumerate() {
            if observer.wants(graph, *node) {
                self.run(graph, start..i + 1, &mut next, buffers, abort)?;
                observer.computed(graph, *node, buffers)?;
                start = i + 1;
            }
        }
        self.run(graph, start..graph.nodes().len(), &mut next, buffers, abort)
    }

    /// Runs some of the nodes, split by split; `next` counts the parts of the whole graph's run.
    fn run(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        next: &mut usize,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        if self.backends.len() == 1 {
            return self.run_part(Some(graph), 0, nodes, next, buffers, abort);
        }
        let n_splits = self.bound.as_ref().map_or(0, |bound| bound.splits.len());
        for i in 0..n_splits {
            let Some(split) = self.bound.as_ref().and_then(|bound| bound.splits.get(i)) else { break };
            let part = split.nodes.start.max(nodes.start)..split.nodes.end.min(nodes.end);
            let backend = split.backend;
            // A split that an observer cut has its copies from its first part.
            if !part.is_empty() && part.start == split.nodes.start {
                self.copy(i, buffers, abort)?;
            }
            self.run_part(None, backend, part, next, buffers, abort)?;
        }
        Ok(())
    }

    /// Makes the copies of a split.
    fn copy(
        &mut self,
        split: usize,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let Some(bound) = &self.bound else { return Ok(()) };
        let split = &bound.splits[split];
        let stats = &mut self.stats.backends[split.backend];
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
        Ok(())
    }

    /// Runs nodes of one backend: of `graph`, or of the bound one. They are prepared first if they are not the ones that
    /// came at this place the last time.
    fn run_part(
        &mut self,
        graph: Option<&Graph>,
        backend: usize,
        nodes: Range<usize>,
        next: &mut usize,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let Some(graph) = graph.or(self.bound.as_ref().map(|bound| &bound.graph)) else { return Ok(()) };
        if nodes.is_empty() {
            return Ok(());
        }
        let at = *next;
        *next += 1;
        if !self.ready.has(at, backend, &nodes) {
            self.ready.parts.truncate(at);
            let prepared = self.backends[backend].prepare(graph, nodes.clone(), buffers)?;
            self.stats.n_plans += 1;
            let computed = graph.nodes()[nodes.clone()].iter().filter(|id| !graph[**id].op.is_metadata());
            let n_computed = computed.count() as u64;
            self.ready.parts.push(Part { backend, nodes, n_computed, prepared });
        }
        let part = &mut self.ready.parts[at];
        let stats = &mut self.stats.backends[backend];
        stats.n_nodes += part.n_computed;
        stats.n_splits += 1;
        let done = self.backends[backend].run(&mut part.prepared, buffers, abort);
        if matches!(done, Err(Error::Stale)) {
            // Somebody exchanged a buffer behind the table's back: the next run finds it where it is then.
            self.ready.parts.clear();
        }
        done
    }

    /// What ran where so far.
    pub fn stats(&self) -> &SchedulerStats {
        &self.stats
    }

    /// Bytes of compute memory held (`ggml_backend_sched_get_buffer_size`, all backends together).
    pub fn compute_bytes(&self) -> u64 {
        self.memory.bytes() + self.copy_memory.iter().flatten().map(|chunk| chunk.size).sum::<u64>()
    }

    /// Sets the threads of every backend.
    pub fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error> {
        self.backends.iter_mut().try_for_each(|backend| backend.set_n_threads(n_threads))
    }
}
