//! The cache inside a graph: one leaf per layer and side, stores into it, reads from it.
//!
//! A read does not depend on a store as far as the graph can tell: expand the store into the evaluation
//! order (`Graph::build_forward_expand`) before building the attention that reads.

use quipu_graph::{DType, Graph, TensorId};

use crate::{Error, KvCache};

/// A cache as seen by one graph. Answers to the graph half of `llama_kv_cache_context`.
#[derive(Debug)]
pub struct KvGraph<'a> {
    cache: &'a KvCache,
    k: Vec<Option<TensorId>>,
    v: Vec<Option<TensorId>>,
}

impl<'a> KvGraph<'a> {
    pub(crate) fn new(cache: &'a KvCache) -> KvGraph<'a> {
        let n_layer = cache.n_layer();
        KvGraph { cache, k: vec![None; n_layer], v: vec![None; n_layer] }
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
        let n_embd_gqa = self.cache.layer(il)?.shape.n_embd_k_gqa;
        let leaf = self.k_leaf(graph, il)?;
        store(graph, leaf, k_cur, idxs, il, n_embd_gqa)
    }

    /// Stores values, f32 `[n_embd_head, n_head_kv, n_tokens]` or `[n_embd_v_gqa, n_tokens]` (`cpy_v`).
    pub fn store_v(
        &mut self,
        graph: &mut Graph,
        il: usize,
        v_cur: TensorId,
        idxs: TensorId,
    ) -> Result<TensorId, Error> {
        let n_embd_gqa = self.cache.layer(il)?.shape.n_embd_v_gqa;
        let leaf = self.v_leaf(graph, il)?;
        store(graph, leaf, v_cur, idxs, il, n_embd_gqa)
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
        let leaf = self.k_leaf(graph, il)?;
        let rows = heads(graph, leaf, n_embd_head, n_embd_head, n_head_kv, n_kv)?;
        Ok(graph.permute(rows, [0, 2, 1, 3])?)
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
        let leaf = self.v_leaf(graph, il)?;
        let rows = heads(graph, leaf, n_embd_head, n_embd_head, n_head_kv, n_kv)?;
        Ok(graph.permute(rows, [0, 2, 1, 3])?)
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
        let leaf = self.k_leaf(graph, il)?;
        heads(graph, leaf, n_rot, n_embd_head, n_head_kv, self.cache.n_cells())
    }

    fn k_leaf(&mut self, graph: &mut Graph, il: usize) -> Result<TensorId, Error> {
        let layer = self.cache.layer(il)?;
        if let Some(id) = self.k[il] {
            return Ok(id);
        }
        let ne = [layer.shape.n_embd_k_gqa, self.cache.n_cells(), 1, 1];
        let storage = self.cache.k_storage(layer);
        let id = graph.external(&format!("cache_k_l{il}"), self.cache.type_k, ne, storage)?;
        self.k[il] = Some(id);
        Ok(id)
    }

    fn v_leaf(&mut self, graph: &mut Graph, il: usize) -> Result<TensorId, Error> {
        let layer = self.cache.layer(il)?;
        if let Some(id) = self.v[il] {
            return Ok(id);
        }
        let ne = [layer.shape.n_embd_v_gqa, self.cache.n_cells(), 1, 1];
        let storage = self.cache.v_storage(layer);
        let id = graph.external(&format!("cache_v_l{il}"), self.cache.type_v, ne, storage)?;
        self.v[il] = Some(id);
        Ok(id)
    }
}

/// Rows of `cur` written into `leaf` at `idxs`, heads merged into one row per token first.
fn store(
    graph: &mut Graph,
    leaf: TensorId,
    cur: TensorId,
    idxs: TensorId,
    il: usize,
    n_embd_gqa: usize,
) -> Result<TensorId, Error> {
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
