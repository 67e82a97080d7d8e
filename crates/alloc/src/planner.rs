//! The planner: walks a graph once in execution order and gives every tensor an address.

use crate::AllocError;
use crate::chunk::{Address, ChunkAllocator, align_up};
use crate::graph::{BufferAssignment, BufferSpec, PlanGraph};
use crate::plan::{NodeSlots, Placement, Plan, Slot};

/// What the walk knows of a tensor (`hash_node`).
#[derive(Debug, Clone, Copy, Default)]
struct TensorState {
    /// Reads that are still to come.
    n_children: i64,
    /// Views among the nodes that are still to be used up.
    n_views: i64,
    buffer: u32,
    address: Address,
    /// Holds memory of the planner right now. False again once freed or handed to an in-place node.
    allocated: bool,
}

/// Plans graphs over a fixed list of buffer types; keeps its tables between calls.
#[derive(Debug, Clone)]
pub struct Planner {
    specs: Vec<BufferSpec>,
    /// For each buffer, the first one with the same id; they share an allocator.
    canonical: Vec<usize>,
    allocators: Vec<ChunkAllocator>,
    states: Vec<TensorState>,
    /// Per tensor, the source slot its in-place result took over.
    inplace: Vec<Option<u32>>,
}

impl Planner {
    /// A planner over these buffer types (`ggml_gallocr_new_n`). Fails on an empty list or a bad alignment.
    pub fn new(specs: &[BufferSpec]) -> Result<Self, AllocError> {
        if specs.is_empty() {
            return Err(AllocError::NoBuffers);
        }
        let allocators =
            specs.iter().map(|s| ChunkAllocator::new(s.alignment, s.max_size)).collect::<Result<_, _>>()?;
        let first_with = |s: &BufferSpec| specs.iter().position(|t| t.id == s.id).unwrap_or(0);
        let canonical = specs.iter().map(first_with).collect();
        Ok(Self { specs: specs.to_vec(), canonical, allocators, states: Vec::new(), inplace: Vec::new() })
    }

    /// The buffer types, in the order given.
    pub fn specs(&self) -> &[BufferSpec] {
        &self.specs
    }

    /// The first buffer with the same id as `buffer`, an index into [`Planner::specs`] (panics beyond it).
    pub fn canonical(&self, buffer: usize) -> usize {
        self.canonical[buffer]
    }

    /// Plans a graph (`ggml_gallocr_alloc_graph_impl` and the bookkeeping of `ggml_gallocr_reserve_n`).
    ///
    /// Leafs first, then inputs, then node by node: sources without a place yet, the node itself (over a source
    /// it may overwrite, if there is one), and then every source that was read for the last time is freed.
    /// Outputs are never freed or overwritten. As in the reference, the output flag counts on the tensor that
    /// owns the memory: a view flagged as output and read again later does not keep its root. And a *computed*
    /// tensor flagged as input is placed early, where it may take over a source that is still read.
    /// Errors: ids out of range, sizes beyond [`crate::MAX_SIZE`], buffers exhausted, assignments that do not match the graph.
    pub fn plan<G: PlanGraph>(
        &mut self,
        graph: &G,
        buffers: BufferAssignment<'_>,
    ) -> Result<Plan, AllocError> {
        self.check_assignment("node", buffers.nodes, graph.n_nodes())?;
        self.check_assignment("leaf", buffers.leafs, graph.n_leafs())?;
        check_graph(graph)?;

        self.allocators.iter_mut().for_each(ChunkAllocator::reset);
        self.states.clear();
        self.states.resize(graph.n_tensors(), TensorState::default());
        self.inplace.clear();
        self.inplace.resize(graph.n_tensors(), None);

        for i in 0..graph.n_leafs() {
            self.allocate(graph, graph.leaf(i), buffer_at(buffers.leafs, i))?;
        }
        self.count_uses(graph, buffers)?;
        for i in 0..graph.n_nodes() {
            let (node, buffer) = (graph.node(i), buffer_at(buffers.nodes, i));
            for source in sources(graph, node) {
                self.allocate(graph, source, buffer)?;
            }
            self.allocate(graph, node, buffer)?;
            for source in sources(graph, node) {
                self.release_use(graph, source)?;
            }
        }
        self.record(graph)
    }

    fn check_assignment(
        &self,
        role: &'static str,
        assigned: Option<&[u32]>,
        expected: usize,
    ) -> Result<(), AllocError> {
        let Some(assigned) = assigned else { return Ok(()) };
        if assigned.len() != expected {
            return Err(AllocError::BadAssignment { role, found: assigned.len(), expected });
        }
        let n_buffers = self.specs.len();
        match assigned.iter().position(|&b| b as usize >= n_buffers) {
            Some(index) => Err(AllocError::BadBuffer { role, index, buffer: assigned[index], n_buffers }),
            None => Ok(()),
        }
    }

    /// Counts reads and views of every tensor, and places inputs before anything is computed, so that no
    /// result can land on an input that is yet to be read.
    fn count_uses<G: PlanGraph>(
        &mut self,
        graph: &G,
        buffers: BufferAssignment<'_>,
    ) -> Result<(), AllocError> {
        for i in 0..graph.n_nodes() {
            let (node, buffer) = (graph.node(i), buffer_at(buffers.nodes, i));
            if let Some(view) = graph.view_of(node).filter(|_| !graph.is_dependency_only(node)) {
                self.states[view.root as usize].n_views += 1;
            }
            if graph.is_input(node) {
                self.allocate(graph, node, buffer)?;
            }
            for source in sources(graph, node) {
                self.states[source as usize].n_children += 1;
                if graph.is_input(source) {
                    self.allocate(graph, source, buffer)?;
                }
            }
        }
        Ok(())
    }

    /// `ggml_gallocr_allocate_node`.
    fn allocate<G: PlanGraph>(&mut self, graph: &G, tensor: u32, buffer: u32) -> Result<(), AllocError> {
        let t = tensor as usize;
        if graph.is_external(tensor) || self.states[t].allocated || graph.view_of(tensor).is_some() {
            return Ok(());
        }
        self.states[t].allocated = true;
        if graph.can_inplace(tensor) {
            for slot in 0..graph.n_sources(tensor) {
                let Some(parent) = graph.source(tensor, slot) else { continue };
                if self.is_overwritable(graph, tensor, parent) {
                    self.inplace[t] = Some(slot as u32);
                    return self.take_over(graph, tensor, parent);
                }
            }
        }
        self.inplace[t] = None;
        self.states[t].buffer = buffer;
        self.states[t].address =
            self.allocators[self.canonical[buffer as usize]].alloc(graph.alloc_size(tensor, buffer))?;
        Ok(())
    }

    /// Whether `node` is the only and last reader of `parent` and fits its memory exactly. Views never hold
    /// memory of their own, so they never qualify: the reference's branch for them cannot be reached either.
    fn is_overwritable<G: PlanGraph>(&self, graph: &G, node: u32, parent: u32) -> bool {
        let Some(state) = self.states.get(parent as usize) else { return false };
        state.allocated
            && !graph.is_output(parent)
            && graph.same_layout(node, parent)
            && state.n_children == 1
            && state.n_views == 0
    }

    fn take_over<G: PlanGraph>(&mut self, graph: &G, node: u32, parent: u32) -> Result<(), AllocError> {
        let TensorState { buffer, address, .. } = self.states[parent as usize];
        self.states[node as usize].buffer = buffer;
        self.states[node as usize].address = address;
        self.states[parent as usize].allocated = false;

        let allocator = &mut self.allocators[self.canonical[buffer as usize]];
        let (parent_size, node_size) = (graph.alloc_size(parent, buffer), graph.alloc_size(node, buffer));
        if parent_size < node_size {
            return Err(AllocError::InplaceTooLarge { node, node_size, parent, parent_size });
        }
        let parent_end = align_up(parent_size, allocator.alignment())?;
        let node_end = align_up(node_size, allocator.alignment())?;
        if parent_end > node_end {
            let tail = Address { offset: address.offset + node_end, ..address };
            allocator.free(tail, parent_end - node_end)?;
        }
        Ok(())
    }

    /// One read of `parent` is done; frees it, or the root it is a view of, after the last.
    fn release_use<G: PlanGraph>(&mut self, graph: &G, parent: u32) -> Result<(), AllocError> {
        let state = &mut self.states[parent as usize];
        state.n_children -= 1;
        if state.n_children != 0 || state.n_views != 0 {
            return Ok(());
        }
        let owner = match graph.view_of(parent) {
            Some(view) => {
                let root = &mut self.states[view.root as usize];
                root.n_views -= 1;
                if root.n_views != 0 || root.n_children != 0 {
                    return Ok(());
                }
                view.root
            }
            None => parent,
        };
        let state = &mut self.states[owner as usize];
        if !state.allocated || graph.is_output(owner) {
            return Ok(());
        }
        state.allocated = false;
        self.allocators[self.canonical[state.buffer as usize]]
            .free(state.address, graph.alloc_size(owner, state.buffer))
    }

    fn record<G: PlanGraph>(&self, graph: &G) -> Result<Plan, AllocError> {
        let mut plan = Plan {
            leafs: (0..graph.n_leafs()).map(|i| self.slot(graph, graph.leaf(i))).collect(),
            nodes: Vec::with_capacity(graph.n_nodes()),
            ..Plan::default()
        };
        for i in 0..graph.n_nodes() {
            let node = graph.node(i);
            let (first_source, n_sources) = (plan.sources.len(), graph.n_sources(node));
            plan.sources
                .extend((0..n_sources).map(|slot| graph.source(node, slot).map(|s| self.slot(graph, s))));
            let inplace_source = self.inplace[node as usize];
            plan.nodes.push(NodeSlots {
                dst: self.slot(graph, node),
                first_source,
                n_sources,
                inplace_source,
            });
        }
        for &c in &self.canonical {
            let sizes: Vec<u64> = self.allocators[c].chunk_sizes().collect();
            let total = sizes.iter().try_fold(0u64, |sum, &s| sum.checked_add(s));
            plan.total_sizes.push(total.ok_or(AllocError::TotalTooLarge { what: "the chunks of a buffer" })?);
            plan.chunk_sizes.push(sizes);
        }
        Ok(plan)
    }

    fn slot<G: PlanGraph>(&self, graph: &G, tensor: u32) -> Slot {
        let root = graph.view_of(tensor).map(|v| v.root);
        let is_external = graph.is_external(tensor);
        let placement = (root.is_none() && !is_external).then(|| {
            let TensorState { buffer, address, .. } = self.states[tensor as usize];
            let size = graph.alloc_size(tensor, buffer);
            Placement { buffer, chunk: address.chunk, offset: address.offset, size }
        });
        Slot { tensor, placement, root, is_output: graph.is_output(tensor), is_external }
    }
}

fn buffer_at(assigned: Option<&[u32]>, i: usize) -> u32 {
    assigned.map_or(0, |a| a[i])
}

fn sources<G: PlanGraph>(graph: &G, tensor: u32) -> impl Iterator<Item = u32> + '_ {
    (0..graph.n_sources(tensor)).filter_map(move |slot| graph.source(tensor, slot))
}

/// Every id in range, and every view's root a tensor with memory of its own.
fn check_graph<G: PlanGraph>(graph: &G) -> Result<(), AllocError> {
    let n_tensors = graph.n_tensors();
    let check = |tensor: u32, role: &'static str| {
        if tensor as usize >= n_tensors {
            return Err(AllocError::BadTensor { tensor, role, n_tensors });
        }
        let Some(view) = graph.view_of(tensor) else { return Ok(()) };
        if view.root as usize >= n_tensors {
            return Err(AllocError::BadTensor { tensor: view.root, role: "a view's root", n_tensors });
        }
        if graph.view_of(view.root).is_some() {
            return Err(AllocError::ViewOfView { tensor, root: view.root });
        }
        Ok(())
    };
    for i in 0..graph.n_leafs() {
        check(graph.leaf(i), "a leaf")?;
    }
    for i in 0..graph.n_nodes() {
        check(graph.node(i), "a node")?;
        for source in sources(graph, graph.node(i)) {
            check(source, "a source")?;
        }
    }
    Ok(())
}
