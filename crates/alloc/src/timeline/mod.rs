//! A plan as a picture: which tensor lies where, from which node to which, as text and as SVG.
//!
//! This is what to look at when memory is larger than expected: what is live at the peak, and which ranges lie idle.

mod svg;
mod text;

use crate::AllocError;
use crate::graph::PlanGraph;
use crate::lifetime::{Lifetime, lifetimes};
use crate::plan::Plan;

/// A tensor in memory of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// Tensor id.
    pub tensor: u32,
    /// What the picture calls it.
    pub name: String,
    /// Index of its chunk in [`Timeline::chunks`].
    pub chunk: usize,
    /// Byte offset in the chunk.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// The nodes, by position, while which its bytes count.
    pub life: Lifetime,
}

/// One piece of backing memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Index of the buffer type.
    pub buffer: u32,
    /// Chunk index in the buffer.
    pub index: u32,
    /// Bytes.
    pub size: u64,
}

/// Who lives where, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    n_nodes: usize,
    chunks: Vec<ChunkInfo>,
    residents: Vec<Resident>,
    live: Vec<u64>,
}

impl Timeline {
    /// The picture of a plan of `graph`; `name` says what to call a tensor. Tensors of no bytes, views and tensors with
    /// memory of their own are not in it. Where an in-place node took over memory both are, one after the other.
    ///
    /// `buffers` are the specs the plan was made for, of which equal ids share memory. Fails if live sizes do not fit
    /// 64 bits.
    pub fn new(
        graph: &impl PlanGraph,
        plan: &Plan,
        buffers: &[crate::BufferSpec],
        mut name: impl FnMut(u32) -> String,
    ) -> Result<Self, AllocError> {
        let first_with = |buffer: usize| {
            let id = buffers.get(buffer).map(|spec| spec.id);
            buffers.iter().position(|spec| Some(spec.id) == id).unwrap_or(buffer)
        };
        let mut chunks = Vec::new();
        for buffer in (0..buffers.len()).filter(|&b| first_with(b) == b) {
            for (index, &size) in plan.chunk_sizes(buffer).iter().enumerate() {
                chunks.push(ChunkInfo { buffer: buffer as u32, index: index as u32, size });
            }
        }
        let n_nodes = graph.n_nodes();
        let mut residents = Vec::new();
        for (tensor, life) in lifetimes(graph).into_iter().enumerate() {
            let tensor = tensor as u32;
            let (Some(life), Some(placement)) = (life, plan.tensor(tensor)) else { continue };
            let buffer = first_with(placement.buffer as usize) as u32;
            let chunk = chunks.iter().position(|c| c.buffer == buffer && c.index == placement.chunk);
            let Some(chunk) = chunk.filter(|_| placement.size > 0) else { continue };
            let (offset, size) = (placement.offset, placement.size);
            residents.push(Resident { tensor, name: name(tensor), chunk, offset, size, life });
        }
        // A node in place takes the bytes over: its source ends where it begins.
        for i in 0..n_nodes {
            let Some(slot) = plan.inplace_source(i) else { continue };
            let node = graph.node(i);
            let Some(source) = graph.source(node, slot as usize) else { continue };
            if let Some(r) = residents.iter_mut().find(|r| r.tensor == source)
                && r.life.last == i
                && r.life.first < i
            {
                r.life.last = i - 1;
            }
        }
        let mut live = vec![0u64; n_nodes];
        for r in &residents {
            for bytes in live.get_mut(r.life.first..=r.life.last).unwrap_or_default() {
                *bytes =
                    bytes.checked_add(r.size).ok_or(AllocError::TotalTooLarge { what: "live tensors" })?;
            }
        }
        Ok(Self { n_nodes, chunks, residents, live })
    }

    /// Number of nodes: the width of the picture.
    pub fn n_nodes(&self) -> usize {
        self.n_nodes
    }

    /// The chunks of all buffers.
    pub fn chunks(&self) -> &[ChunkInfo] {
        &self.chunks
    }

    /// The tensors, by id.
    pub fn residents(&self) -> &[Resident] {
        &self.residents
    }

    /// Bytes live at each node.
    pub fn live_bytes(&self) -> &[u64] {
        &self.live
    }

    /// Bytes of all chunks.
    pub fn total_size(&self) -> u64 {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.size))
    }

    /// The node at which most bytes are live, the first if there are several, and how many; `None` without nodes.
    pub fn peak(&self) -> Option<(usize, u64)> {
        let most = *self.live.iter().max()?;
        Some((self.live.iter().position(|&bytes| bytes == most)?, most))
    }

    /// The tensors live at a node, the largest first.
    pub fn live_at(&self, node: usize) -> Vec<&Resident> {
        let mut live: Vec<&Resident> =
            self.residents.iter().filter(|r| r.life.first <= node && node <= r.life.last).collect();
        live.sort_by_key(|r| (std::cmp::Reverse(r.size), r.offset));
        live
    }

    /// Families of tensors (one name in all layers), those that take most bytes times nodes first.
    fn families(&self) -> Vec<&str> {
        let mut areas: Vec<(&str, u128)> = Vec::new();
        let mut by_name = std::collections::HashMap::new();
        for r in &self.residents {
            let family = family(&r.name);
            let nodes = (r.life.last - r.life.first + 1) as u128;
            let index = *by_name.entry(family).or_insert_with(|| {
                areas.push((family, 0));
                areas.len() - 1
            });
            areas[index].1 += u128::from(r.size) * nodes;
        }
        areas.sort_by_key(|&(family, area)| (std::cmp::Reverse(area), family));
        areas.into_iter().map(|(family, _)| family).collect()
    }
}

/// The name without the layer's number: `ffn_out` of `ffn_out-3`.
fn family(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, layer)) if !layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    }
}
