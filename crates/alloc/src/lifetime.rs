//! The lifetime analyzer: when each tensor of a graph must hold its values, and how many bytes that takes.
//!
//! Independent of the planner: it says what is needed, not what was planned.

use crate::AllocError;
use crate::chunk::align_up;
use crate::graph::PlanGraph;

/// The nodes, by position, while which a tensor's memory must not be given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Position of the node that writes it; 0 for leafs and inputs.
    pub first: usize,
    /// Position of the last node that reads it or a view of it; the last node for outputs.
    pub last: usize,
}

impl Lifetime {
    fn extend(slot: &mut Option<Self>, position: usize) {
        match slot {
            Some(l) => l.last = l.last.max(position),
            None => *slot = Some(Self { first: position, last: position }),
        }
    }
}

/// Lifetime of every tensor by id; `None` for views, external tensors, and tensors the graph does not use.
pub fn lifetimes(graph: &impl PlanGraph) -> Vec<Option<Lifetime>> {
    let n_tensors = graph.n_tensors();
    let mut lives = vec![None; n_tensors];
    let owner = |tensor: u32| graph.view_of(tensor).map_or(tensor, |v| v.root);
    let mut touch = |tensor: u32, position: usize| {
        if let Some(slot) = lives.get_mut(tensor as usize) {
            Lifetime::extend(slot, position);
        }
    };
    let end = graph.n_nodes().saturating_sub(1);
    for i in 0..graph.n_leafs() {
        let owner = owner(graph.leaf(i));
        touch(owner, 0);
        if graph.is_output(owner) {
            touch(owner, end);
        }
    }
    for i in 0..graph.n_nodes() {
        let node = graph.node(i);
        let sources = graph.sources(node).flatten();
        for tensor in sources.chain([node]) {
            let owner = owner(tensor);
            touch(owner, i);
            if graph.is_output(owner) {
                touch(owner, end);
            }
        }
    }
    // Inputs may have been seen after their first reader: they are written before the graph runs.
    for (tensor, life) in lives.iter_mut().enumerate() {
        let tensor = tensor as u32;
        let Some(l) = life else { continue };
        if graph.is_external(tensor) || graph.view_of(tensor).is_some() {
            *life = None;
        } else if graph.is_input(tensor) {
            l.first = 0;
        }
    }
    lives
}

/// The most bytes live at one node, sizes rounded up to `alignment`, all tensors taken to be in `buffer`.
///
/// No plan of the graph can be smaller. A node that may run in place over a source read for the last time
/// counts once. Fails if a size or the sum does not fit.
pub fn peak_live_bytes(graph: &impl PlanGraph, buffer: u32, alignment: u64) -> Result<u64, AllocError> {
    crate::chunk::check_alignment(alignment)?;
    let lives = lifetimes(graph);
    let mut change = vec![0i128; graph.n_nodes() + 1];
    let mut saved = vec![0i128; graph.n_nodes()];
    for (tensor, life) in lives.iter().enumerate() {
        let Some(l) = life else { continue };
        let size = align_up(graph.alloc_size(tensor as u32, buffer), alignment)?;
        if let Some(slot) = change.get_mut(l.first) {
            *slot += i128::from(size);
        }
        if let Some(slot) = change.get_mut(l.last + 1) {
            *slot -= i128::from(size);
        }
    }
    for (i, saved) in saved.iter_mut().enumerate() {
        let node = graph.node(i);
        if !graph.can_inplace(node) {
            continue;
        }
        let dies_here = |s: &u32| {
            let life = lives.get(*s as usize).copied().flatten();
            life.is_some_and(|l| l.last == i) && graph.same_layout(node, *s) && !graph.is_output(*s)
        };
        let sources = (0..graph.n_sources(node)).filter_map(|j| graph.source(node, j));
        for source in sources.filter(dies_here) {
            let size = align_up(graph.alloc_size(source, buffer), alignment)?;
            *saved = i128::from(size).max(*saved);
        }
    }
    let mut live = 0i128;
    let mut peak = 0i128;
    for (change, saved) in change.iter().zip(&saved) {
        live += change;
        peak = peak.max(live - saved);
    }
    u64::try_from(peak).map_err(|_| AllocError::TotalTooLarge { what: "live tensors" })
}
