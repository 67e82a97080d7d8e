//! A graph as the memory planner sees it.

use std::sync::Arc;

use quipu_alloc::{PlanGraph, View};
use quipu_graph::{Graph, Op, Storage, TensorId};

use crate::buffer::BufferType;

/// Adapter from [`Graph`] to the planner's trait, for planning without a scheduler too; tensor ids are indices into
/// [`Graph::tensors`].
#[derive(Debug, Clone, Copy)]
pub struct GraphView<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Buffer index `i` of the planner is memory of this type; all that are assigned must be there.
    pub buffer_types: &'a [Arc<dyn BufferType>],
}

impl GraphView<'_> {
    fn tensor(&self, id: u32) -> &quipu_graph::Tensor {
        &self.graph.tensors()[id as usize]
    }
}

fn number(id: TensorId) -> u32 {
    id.index() as u32
}

impl PlanGraph for GraphView<'_> {
    fn n_tensors(&self) -> usize {
        self.graph.tensors().len()
    }

    fn n_nodes(&self) -> usize {
        self.graph.nodes().len()
    }

    fn node(&self, i: usize) -> u32 {
        number(self.graph.nodes()[i])
    }

    fn n_leafs(&self) -> usize {
        self.graph.leafs().len()
    }

    fn leaf(&self, i: usize) -> u32 {
        number(self.graph.leafs()[i])
    }

    fn n_sources(&self, tensor: u32) -> usize {
        self.tensor(tensor).src.len()
    }

    fn source(&self, tensor: u32, slot: usize) -> Option<u32> {
        self.tensor(tensor).src.get(slot).copied().map(number)
    }

    fn sources(&self, tensor: u32) -> impl ExactSizeIterator<Item = Option<u32>> {
        self.tensor(tensor).src.iter().map(|id| Some(number(*id)))
    }

    fn view_of(&self, tensor: u32) -> Option<View> {
        let view = self.tensor(tensor).view?;
        Some(View { root: number(view.root), offset: view.offset as u64 })
    }

    fn alloc_size(&self, tensor: u32, buffer: u32) -> u64 {
        let tensor = self.tensor(tensor);
        let size = self.buffer_types[buffer as usize].alloc_size(tensor.dtype, tensor.ne);
        // Sizes were checked when the tensor was built; a type that needs more than fits is refused as too large.
        size.map_or(u64::MAX, |size| size as u64)
    }

    fn is_input(&self, tensor: u32) -> bool {
        self.tensor(tensor).flags.input
    }

    fn is_output(&self, tensor: u32) -> bool {
        self.tensor(tensor).flags.output
    }

    fn is_external(&self, tensor: u32) -> bool {
        matches!(self.tensor(tensor).storage, Storage::External { .. })
    }

    /// The planner takes the place of any operand of the same layout: so all of them must allow it.
    fn can_inplace(&self, tensor: u32) -> bool {
        let tensor = self.tensor(tensor);
        let allowed = |(i, src): (usize, &TensorId)| {
            tensor.op.may_overwrite(i) || !self.graph[*src].same_layout(tensor)
        };
        tensor.op.can_inplace() && tensor.src.iter().enumerate().all(allowed)
    }

    fn same_layout(&self, a: u32, b: u32) -> bool {
        self.tensor(a).same_layout(self.tensor(b))
    }

    fn is_dependency_only(&self, tensor: u32) -> bool {
        self.tensor(tensor).op == Op::None
    }
}
