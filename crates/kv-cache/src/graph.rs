//! The cache inside a graph: one leaf per layer and side, stores into it, reads from it.
//!
//! A read does not depend on a store as far as the graph can tell: expand the store into the evaluation
//! order (`Graph::build_forward_expand`) before building the attention that reads.

use quipu_graph::{DType, Graph, TensorId};

use crate::cache::Layer;
use crate::{Error, KvCache};

/// A cache as seen by one graph. Answers to the graph half of `llama_kv_cache_context`.
#[derive(Debug)]
pub struct KvGraph<'a> {
    cache: &'a KvCache,
    /// Leaves by layer, once a graph has asked for them: keys, then values.
    leaves: Vec<[Option<TensorId>; 2]>,
}

/// Which half of the cache.
#[derive(Clone, Copy)]
enum Side {
    K,
    V,
}

impl KvCache {
    /// Starts putting this cache into a graph.
    pub fn graph(&self) -> KvGraph<'_> {
        KvGraph::new(self)
    }
}

impl<'a> KvGraph<'a> {
    pub(crate) fn new(cache: &'a KvCache) -> KvGraph<'a> {
        KvGraph { cache, leaves: vec![[None; 2]; cache.n_layer()] }
    }

    /// The input that says which cell each token goes to: i64 `[n_tokens]` (`build_input_k_idxs`).
    pub fn input_idxs(&self, graph: &mut Graph, n_tokens: usize) -> Result<TensorId, Error> {
        Ok(graph.input("kv_idxs", DType::I64, [n_tokens, 1, 1, 1])?)
    }

    /// The input that says who attends to what: f16 `[n_kv, n_tokens]`, 0 or -inf.
    pub fn input_mask(&self, graph: &mut Graph, n_kv: usize, n_tokens: usize) -> Result<TensorId, Error> {
        Ok(graph.input("kq_mask", DType::F16, [n_kv, n_tokens, 1, 1])?)
    }

    /// Stores keys, f32 `[n_embd_head, n_head_kv, n_tokens]` or `[n_embd_k_gqa, n_tokens]` (`cpy_k`).
    pub fn store_k(
        &mut self,
        graph: &mut Graph,
        il: usize,
        k_cur: TensorId,
        idxs: TensorId,
    ) -> Result<TensorId, Error> {
        self.store(Side::K, graph, il, k_cur, idxs)
    }

    /// Stores values, f32 `[n_embd_head, n_head_kv, n_tokens]` or `[n_embd_v_gqa, n_tokens]` (`cpy_v`).
    pub fn store_v(
        &mut self,
        graph: &mut Graph,
        il: usize,
        v_cur: TensorId,
        idxs: TensorId,
    ) -> Result<TensorId, Error> {
        self.store(Side::V, graph, il, v_cur, idxs)
    }

    /// The keys of the first `n_kv` cells, `[n_embd_head, n_kv, n_head_kv]` as `Graph::flash_attn` takes
    /// them (`get_k`, permuted).
    pub fn k(
        &mut self,
        graph: &mut Graph,
        il: usize,
        n_kv: usize,
        n_embd_head: usize,
        n_head_kv: usize,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(Side::K, graph, il)?;
        read(graph, leaf, n_kv, n_embd_head, n_head_kv)
    }

    /// The values of the first `n_kv` cells, `[n_embd_head, n_kv, n_head_kv]` (`get_v`, permuted).
    pub fn v(
        &mut self,
        graph: &mut Graph,
        il: usize,
        n_kv: usize,
        n_embd_head: usize,
        n_head_kv: usize,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(Side::V, graph, il)?;
        read(graph, leaf, n_kv, n_embd_head, n_head_kv)
    }

    /// The input that says by how much each cell's position moved: i32 `[n_cells]`.
    pub fn input_shift(&self, graph: &mut Graph) -> Result<TensorId, Error> {
        Ok(graph.input("k_shift", DType::I32, [self.cache.n_cells(), 1, 1, 1])?)
    }

    /// The rotated part of the keys of all cells, `[n_rot, n_head_kv, n_cells]` in the cache's type: what a
    /// shift graph rotates further (`build_graph_shift`).
    pub fn k_to_shift(
        &mut self,
        graph: &mut Graph,
        il: usize,
        n_rot: usize,
        n_embd_head: usize,
        n_head_kv: usize,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(Side::K, graph, il)?;
        heads(graph, leaf, n_rot, n_embd_head, n_head_kv, self.cache.n_cells())
    }

    fn leaf(&mut self, side: Side, graph: &mut Graph, il: usize) -> Result<TensorId, Error> {
        let layer = self.cache.layer(il)?;
        if let Some(id) = self.leaves[il][side as usize] {
            return Ok(id);
        }
        let (name, dtype, storage) = match side {
            Side::K => (format!("cache_k_l{il}"), self.cache.type_k, layer.k_storage()),
            Side::V => (format!("cache_v_l{il}"), self.cache.type_v, layer.v_storage()),
        };
        let ne = [side.n_embd_gqa(layer), self.cache.n_cells(), 1, 1];
        let id = graph.external(&name, dtype, ne, storage)?;
        self.leaves[il][side as usize] = Some(id);
        Ok(id)
    }

    /// Rows of `cur` written into the layer's leaf at `idxs`, heads merged into one row per token first.
    fn store(
        &mut self,
        side: Side,
        graph: &mut Graph,
        il: usize,
        cur: TensorId,
        idxs: TensorId,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(side, graph, il)?;
        let n_embd_gqa = side.n_embd_gqa(self.cache.layer(il)?);
        let (ne, nb) = (graph[cur].ne, graph[cur].nb);
        let rows = if ne[0] == n_embd_gqa && ne[2] == 1 {
            cur
        } else if ne[0] * ne[1] == n_embd_gqa && nb[1] == ne[0] * nb[0] {
            graph.view(cur, [n_embd_gqa, ne[2], 1, 1], [nb[2], nb[2] * ne[2], nb[2] * ne[2]], 0)?
        } else {
            return Err(Error::RowShape { il, ne, n_embd_gqa });
        };
        Ok(graph.set_rows(leaf, rows, idxs)?)
    }
}

impl Side {
    /// Elements of one cell's row.
    fn n_embd_gqa(self, layer: &Layer) -> usize {
        match self {
            Side::K => layer.shape.n_embd_k_gqa,
            Side::V => layer.shape.n_embd_v_gqa,
        }
    }
}

/// The first `n_kv` rows of a leaf as attention takes them.
fn read(
    graph: &mut Graph,
    leaf: TensorId,
    n_kv: usize,
    n_embd_head: usize,
    n_head_kv: usize,
) -> Result<TensorId, Error> {
    let rows = heads(graph, leaf, n_embd_head, n_embd_head, n_head_kv, n_kv)?;
    Ok(graph.permute(rows, [0, 2, 1, 3])?)
}

/// A window `[n, n_head, n_rows]` on a leaf whose rows hold `n_head` heads of `n_embd_head` elements.
fn heads(
    graph: &mut Graph,
    leaf: TensorId,
    n: usize,
    n_embd_head: usize,
    n_head: usize,
    n_rows: usize,
) -> Result<TensorId, Error> {
    let (row, nb) = (graph[leaf].nb[1], graph[leaf].nb[0]);
    Ok(graph.view(leaf, [n, n_head, n_rows, 1], [n_embd_head * nb, row, row * n_rows], 0)?)
}
