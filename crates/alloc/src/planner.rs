//! The planner: walks a graph once in execution order and decides which memory is shared and for how long.
//!
//! It reads the graph into a table first, so that each property of a tensor is asked for once; addresses are
//! the business of a [`Strategy`].

use crate::AllocError;
use crate::graph::{BufferAssignment, BufferSpec, PlanGraph};
use crate::plan::{Expected, NO_TENSOR, NodeRecord, Placement, Plan, Role};
use crate::strategy::{Block, Greedy, Strategy};

/// What the walk knows of a tensor (`hash_node`).
#[derive(Debug, Clone, Copy, Default)]
struct TensorState {
    role: Role,
    /// Reads that are still to come.
    n_children: i32,
    /// Views among the nodes that are still to be used up.
    n_views: i32,
    buffer: u32,
    /// Bytes it takes in `buffer`.
    size: u64,
    /// The memory it has or had last.
    block: Option<Block>,
    /// The source slot its in-place result took over.
    inplace: Option<u32>,
    /// Holds memory of the planner right now. False again once freed or handed to an in-place node.
    allocated: bool,
    is_node: bool,
}

impl TensorState {
    fn expected(&self, tensor: u32) -> Expected {
        Expected { tensor, buffer: self.buffer, size: self.size, role: self.role }
    }
}

/// A node and its range of sources.
#[derive(Debug, Clone, Copy)]
struct NodeRange {
    tensor: u32,
    first_source: u32,
    n_sources: u32,
}

/// Plans graphs over a fixed list of buffer types; keeps its tables between calls.
///
/// `S` says where memory goes: [`Greedy`] gives ggml's plans, [`crate::Offline`] smaller ones.
#[derive(Debug, Clone)]
pub struct Planner<S = Greedy> {
    specs: Vec<BufferSpec>,
    /// For each buffer, the first one with the same id; they share an allocator.
    canonical: Vec<usize>,
    strategy: S,
    states: Vec<TensorState>,
    nodes: Vec<NodeRange>,
    /// Sources of all nodes one after the other, [`NO_TENSOR`] for empty slots.
    sources: Vec<u32>,
}

impl Planner {
    /// A planner over these buffer types that plans like ggml (`ggml_gallocr_new_n`). Fails on an empty list or
    /// a bad alignment.
    pub fn new(specs: &[BufferSpec]) -> Result<Self, AllocError> {
        Self::with_strategy(specs, Greedy::default())
    }
}

impl<S: Strategy> Planner<S> {
    /// A planner over these buffer types with a strategy of one's own. Fails as [`Planner::new`].
    pub fn with_strategy(specs: &[BufferSpec], mut strategy: S) -> Result<Self, AllocError> {
        if specs.is_empty() {
            return Err(AllocError::NoBuffers);
        }
        strategy.configure(specs)?;
        let first_with = |s: &BufferSpec| specs.iter().position(|t| t.id == s.id).unwrap_or(0);
        Ok(Self {
            specs: specs.to_vec(),
            canonical: specs.iter().map(first_with).collect(),
            strategy,
            states: Vec::new(),
            nodes: Vec::new(),
            sources: Vec::new(),
        })
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

        self.strategy.reset();
        self.states.clear();
        self.states.resize(graph.n_tensors(), TensorState::default());
        self.nodes.clear();
        self.sources.clear();

        for i in 0..graph.n_leafs() {
            let leaf = graph.leaf(i);
            self.look_at(graph, leaf, "a leaf")?;
            self.allocate(graph, leaf, buffer_at(buffers.leafs, i))?;
        }
        self.count_uses(graph, buffers)?;
        for i in 0..self.nodes.len() {
            let buffer = buffer_at(buffers.nodes, i);
            let NodeRange { tensor, first_source, n_sources } = self.nodes[i];
            let sources = first_source as usize..(first_source + n_sources) as usize;
            for k in sources.clone() {
                if self.sources[k] != NO_TENSOR {
                    self.allocate(graph, self.sources[k], buffer)?;
                }
            }
            self.allocate(graph, tensor, buffer)?;
            for k in sources {
                if self.sources[k] != NO_TENSOR {
                    self.release_use(self.sources[k])?;
                }
            }
            self.note_unread(tensor)?;
            for leaf in (0..graph.n_leafs()).filter(|_| i == 0) {
                self.note_unread(graph.leaf(leaf))?;
            }
        }
        self.strategy.finish()?;
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

    /// Reads what a tensor is, at the first mention of it; its id and its view's root must be in range, and the
    /// root no view.
    #[inline]
    fn look_at<G: PlanGraph>(
        &mut self,
        graph: &G,
        tensor: u32,
        mentioned: &'static str,
    ) -> Result<(), AllocError> {
        match self.states.get(tensor as usize) {
            Some(state) if state.role.is_used() => Ok(()),
            Some(_) => self.read_role(graph, tensor),
            None => {
                let n_tensors = self.states.len();
                Err(AllocError::BadTensor { tensor, role: mentioned, n_tensors })
            }
        }
    }

    fn read_role<G: PlanGraph>(&mut self, graph: &G, tensor: u32) -> Result<(), AllocError> {
        let role = Role::of(graph, tensor);
        if let Some(root) = role.root() {
            let n_tensors = self.states.len();
            if root as usize >= n_tensors {
                return Err(AllocError::BadTensor { tensor: root, role: "a view's root", n_tensors });
            }
            if graph.view_of(root).is_some() {
                return Err(AllocError::ViewOfView { tensor, root });
            }
        }
        self.states[tensor as usize].role = role;
        Ok(())
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
            self.look_at(graph, node, "a node")?;
            self.states[node as usize].is_node = true;
            let role = self.states[node as usize].role;
            if let Some(root) = role.root()
                && !graph.is_dependency_only(node)
            {
                self.states[root as usize].n_views += 1;
            }
            if role.is_input() {
                self.allocate(graph, node, buffer)?;
            }
            let first_source = self.sources.len() as u32;
            for source in graph.sources(node) {
                let Some(source) = source else {
                    self.sources.push(NO_TENSOR);
                    continue;
                };
                self.look_at(graph, source, "a source")?;
                self.sources.push(source);
                let state = &mut self.states[source as usize];
                state.n_children += 1;
                if state.role.is_input() {
                    self.allocate(graph, source, buffer)?;
                }
            }
            // Sources are counted in 32 bits, like tensors.
            let end = u32::try_from(self.sources.len())
                .map_err(|_| AllocError::TotalTooLarge { what: "the sources of a graph" })?;
            let n_sources = end - first_source;
            self.nodes.push(NodeRange { tensor: node, first_source, n_sources });
        }
        Ok(())
    }

    /// `ggml_gallocr_allocate_node`.
    #[inline]
    fn allocate<G: PlanGraph>(&mut self, graph: &G, tensor: u32, buffer: u32) -> Result<(), AllocError> {
        let state = &self.states[tensor as usize];
        if state.allocated || !state.role.needs_memory() {
            return Ok(());
        }
        self.allocate_now(graph, tensor, buffer)
    }

    fn allocate_now<G: PlanGraph>(&mut self, graph: &G, tensor: u32, buffer: u32) -> Result<(), AllocError> {
        let t = tensor as usize;
        self.states[t].allocated = true;
        if graph.can_inplace(tensor) {
            for (slot, parent) in graph.sources(tensor).enumerate() {
                let Some(parent) = parent else { continue };
                if self.is_overwritable(graph, tensor, parent) {
                    self.states[t].inplace = Some(slot as u32);
                    return self.take_over(graph, tensor, parent);
                }
            }
        }
        let size = graph.alloc_size(tensor, buffer);
        let block = self.strategy.alloc(self.canonical[buffer as usize], size)?;
        let state = &mut self.states[t];
        state.inplace = None;
        state.buffer = buffer;
        state.size = size;
        state.block = Some(block);
        Ok(())
    }

    /// Whether `node` is the only and last reader of `parent` and fits its memory exactly. Views never hold
    /// memory of their own, so they never qualify: the reference's branch for them cannot be reached either.
    fn is_overwritable<G: PlanGraph>(&self, graph: &G, node: u32, parent: u32) -> bool {
        let Some(state) = self.states.get(parent as usize) else { return false };
        state.allocated
            && parent != node
            && state.n_children == 1
            && state.n_views == 0
            && !state.role.is_output()
            && graph.same_layout(node, parent)
    }

    fn take_over<G: PlanGraph>(&mut self, graph: &G, node: u32, parent: u32) -> Result<(), AllocError> {
        let TensorState { buffer, size: parent_size, block, .. } = self.states[parent as usize];
        let node_size = graph.alloc_size(node, buffer);
        self.states[parent as usize].allocated = false;
        let state = &mut self.states[node as usize];
        state.buffer = buffer;
        state.size = node_size;
        state.block = block;
        if parent_size < node_size {
            return Err(AllocError::InplaceTooLarge { node, node_size, parent, parent_size });
        }
        match block {
            Some(block) if parent_size > node_size => self.strategy.shrink(block, node_size),
            _ => Ok(()),
        }
    }

    /// One read of `parent` is done; frees it, or the root it is a view of, after the last.
    #[inline]
    fn release_use(&mut self, parent: u32) -> Result<(), AllocError> {
        let state = &mut self.states[parent as usize];
        state.n_children -= 1;
        if state.n_children != 0 || state.n_views != 0 {
            return Ok(());
        }
        let owner = match state.role.root() {
            Some(root) => {
                let state = &mut self.states[root as usize];
                state.n_views -= 1;
                if state.n_views != 0 || state.n_children != 0 {
                    return Ok(());
                }
                root
            }
            None => parent,
        };
        let state = &mut self.states[owner as usize];
        if !state.allocated || state.role.is_output() {
            return Ok(());
        }
        state.allocated = false;
        match state.block {
            Some(block) => self.strategy.free(block),
            None => Ok(()),
        }
    }

    /// Tells the strategy of memory that only outputs would need.
    fn note_unread(&mut self, tensor: u32) -> Result<(), AllocError> {
        let state = &self.states[tensor as usize];
        match state.block {
            Some(block)
                if state.n_children == 0
                    && state.n_views == 0
                    && state.allocated
                    && !state.role.is_output() =>
            {
                self.strategy.unread(block)
            }
            _ => Ok(()),
        }
    }

    fn record<G: PlanGraph>(&self, graph: &G) -> Result<Plan, AllocError> {
        let record = |node: &NodeRange| {
            let state = &self.states[node.tensor as usize];
            NodeRecord {
                dst: state.expected(node.tensor),
                first_source: node.first_source,
                n_sources: node.n_sources,
                inplace_source: state.inplace,
            }
        };
        let place = |state: &TensorState| {
            state.block.map(|block| {
                let address = self.strategy.address(block);
                let TensorState { buffer, size, .. } = *state;
                Placement { buffer, chunk: address.chunk, offset: address.offset, size }
            })
        };
        let inplace = |node: &NodeRange| {
            let slot = self.states[node.tensor as usize].inplace?;
            Some([node.tensor, *self.sources.get((node.first_source + slot) as usize)?])
        };
        let others = self.states.iter().enumerate().filter(|(_, s)| s.role.is_used() && !s.is_node);
        let mut plan = Plan {
            leafs: (0..graph.n_leafs()).map(|i| graph.leaf(i)).collect(),
            nodes: self.nodes.iter().map(record).collect(),
            sources: self.sources.clone(),
            inplace: self.nodes.iter().filter_map(inplace).collect(),
            others: others.map(|(tensor, state)| state.expected(tensor as u32)).collect(),
            placements: self.states.iter().map(place).collect(),
            chunk_sizes: Vec::with_capacity(self.canonical.len()),
            total_sizes: Vec::with_capacity(self.canonical.len()),
        };
        for &c in &self.canonical {
            let sizes = self.strategy.chunk_sizes(c);
            let total = sizes.iter().try_fold(0u64, |sum, &s| sum.checked_add(s));
            plan.total_sizes.push(total.ok_or(AllocError::TotalTooLarge { what: "the chunks of a buffer" })?);
            plan.chunk_sizes.push(sizes);
        }
        Ok(plan)
    }
}

fn buffer_at(assigned: Option<&[u32]>, i: usize) -> u32 {
    assigned.map_or(0, |a| a[i])
}
