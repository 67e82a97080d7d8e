//! The cache inside a graph: one leaf per layer and side, stores into it, reads from it.
//!
//! A read does not depend on a store as far as the graph can tell: expand the store into the evaluation
//! order (`Graph::build_forward_expand`) before building the attention that reads.

use quipu_graph::{DType, Graph, TensorId};

use crate::cache::Layer;
use crate::{Error, KvCache};

/// Cells that attention reads: of each of some neighbouring streams the first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvView {
    /// Cells of a stream.
    pub n_kv: usize,
    /// First stream.
    pub stream: usize,
    /// Streams.
    pub n_stream: usize,
}

impl KvView {
    /// The first `n_kv` cells of the first stream.
    pub fn first(n_kv: usize) -> KvView {
        KvView { n_kv, stream: 0, n_stream: 1 }
    }
}

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

    /// The input that says who attends to what: f16 or f32 `[n_kv, n_tokens of a stream, 1, n_stream]`, 0 or -inf.
    pub fn input_mask(
        &self,
        graph: &mut Graph,
        dtype: DType,
        view: KvView,
        n_tokens: usize,
    ) -> Result<TensorId, Error> {
        let KvView { n_kv, n_stream, .. } = view;
        Ok(graph.input("kq_mask", dtype, [n_kv, n_tokens / n_stream.max(1), 1, n_stream])?)
    }

    /// The input that says where each element of the values goes, in token order, where they are stored element by element: i64
    /// `[n_embd_v_gqa * n_tokens]` (`build_input_v_idxs`).
    pub fn input_v_idxs(
        &self,
        graph: &mut Graph,
        n_embd_v_gqa: usize,
        n_tokens: usize,
    ) -> Result<TensorId, Error> {
        Ok(graph.input("v_idxs", DType::I64, [n_embd_v_gqa * n_tokens, 1, 1, 1])?)
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

    /// Stores values, f32 `[n_embd_head, n_head_kv, n_tokens]` or `[n_embd_v_gqa, n_tokens]` (`cpy_v`): rows at the cells of
    /// [`KvGraph::input_idxs`], or, where they are stored element by element, at the places of [`KvGraph::input_v_idxs`].
    pub fn store_v(
        &mut self,
        graph: &mut Graph,
        il: usize,
        v_cur: TensorId,
        idxs: TensorId,
    ) -> Result<TensorId, Error> {
        if !self.cache.v_trans() {
            return self.store(Side::V, graph, il, v_cur, idxs);
        }
        let leaf = self.leaf(Side::V, graph, il)?;
        let rows = self.rows(Side::V, graph, il, v_cur)?;
        let rows = if graph[rows].is_contiguous() { rows } else { graph.cont(rows)? };
        let n = graph[rows].n_elements();
        let elements = graph.reshape(rows, [1, n, 1, 1])?;
        let n = graph[leaf].n_elements();
        let places = graph.reshape(leaf, [1, n, 1, 1])?;
        Ok(graph.set_rows(places, elements, idxs)?)
    }

    /// The keys of some cells, `[n_embd_head, n_kv, n_head_kv, n_stream]` as `Graph::flash_attn` takes
    /// them (`get_k`, permuted).
    pub fn k(
        &mut self,
        graph: &mut Graph,
        il: usize,
        view: KvView,
        n_embd_head: usize,
        n_head_kv: usize,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(Side::K, graph, il)?;
        self.read(graph, leaf, il, view, [n_embd_head, n_head_kv])
    }

    /// The values of some cells, `[n_embd_head, n_kv, n_head_kv, n_stream]`, or, where they are stored element by element,
    /// `[n_kv, n_embd_head, n_head_kv, n_stream]` (`get_v`, permuted).
    pub fn v(
        &mut self,
        graph: &mut Graph,
        il: usize,
        view: KvView,
        n_embd_head: usize,
        n_head_kv: usize,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(Side::V, graph, il)?;
        if !self.cache.v_trans() {
            return self.read(graph, leaf, il, view, [n_embd_head, n_head_kv]);
        }
        let KvView { n_kv, stream, n_stream } = view;
        let element = graph[leaf].nb[0] * self.cache.n_cells();
        let all = element * graph[leaf].ne[0];
        let ne = [n_kv, n_embd_head, n_head_kv, n_stream];
        Ok(graph.view(leaf, ne, [element, element * n_embd_head, all], stream * all)?)
    }

    /// The input that says by how much each cell's position moved: i32 `[n_cells * n_stream]`.
    pub fn input_shift(&self, graph: &mut Graph) -> Result<TensorId, Error> {
        Ok(graph.input("k_shift", DType::I32, [self.n_rows(), 1, 1, 1])?)
    }

    /// Elements of a row of values of a layer; 0 if they are not kept.
    pub(crate) fn n_embd_v_gqa(&self, il: usize) -> Result<usize, Error> {
        Ok(self.cache.layer(il)?.shape.n_embd_v_gqa)
    }

    /// Cells of all streams.
    pub fn n_rows(&self) -> usize {
        self.cache.n_cells() * self.cache.n_stream()
    }

    /// The rotated part of the keys of all cells, `[n_rot, n_head_kv, n_cells * n_stream]` in the cache's type: what a
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
        let row = graph[leaf].nb[1];
        let n_rows = self.n_rows();
        let head = head_bytes(graph, leaf, il, n_embd_head)?;
        Ok(graph.view(leaf, [n_rot, n_head_kv, n_rows, 1], [head, row, row * n_rows], 0)?)
    }

    /// Some rows of a leaf as attention takes them.
    fn read(
        &self,
        graph: &mut Graph,
        leaf: TensorId,
        il: usize,
        view: KvView,
        [n_embd_head, n_head]: [usize; 2],
    ) -> Result<TensorId, Error> {
        let KvView { n_kv, stream, n_stream } = view;
        let row = graph[leaf].nb[1];
        let all = row * self.cache.n_cells();
        let ne = [n_embd_head, n_head, n_kv, n_stream];
        let head = head_bytes(graph, leaf, il, n_embd_head)?;
        let heads = graph.view(leaf, ne, [head, row, all], stream * all)?;
        Ok(graph.permute(heads, [0, 2, 1, 3])?)
    }

    fn leaf(&mut self, side: Side, graph: &mut Graph, il: usize) -> Result<TensorId, Error> {
        let layer = self.cache.layer(il)?;
        let il = self.cache.source_layer(il);
        if let Some(id) = self.leaves[il][side as usize] {
            return Ok(id);
        }
        let (name, dtype, storage) = match side {
            Side::K => (format!("cache_k_l{il}"), self.cache.type_k, layer.k_storage()),
            Side::V => (format!("cache_v_l{il}"), self.cache.type_v, layer.v_storage()),
        };
        let ne = [side.n_embd_gqa(layer), self.n_rows(), 1, 1];
        let id = graph.external(&name, dtype, ne, storage)?;
        self.leaves[il][side as usize] = Some(id);
        Ok(id)
    }

    /// Rows of `cur` written into the layer's leaf at `idxs`.
    fn store(
        &mut self,
        side: Side,
        graph: &mut Graph,
        il: usize,
        cur: TensorId,
        idxs: TensorId,
    ) -> Result<TensorId, Error> {
        let leaf = self.leaf(side, graph, il)?;
        let rows = self.rows(side, graph, il, cur)?;
        Ok(graph.set_rows(leaf, rows, idxs)?)
    }

    /// `cur` with its heads merged into one row per token.
    fn rows(&self, side: Side, graph: &mut Graph, il: usize, cur: TensorId) -> Result<TensorId, Error> {
        let n_embd_gqa = side.n_embd_gqa(self.cache.layer(il)?);
        let (ne, nb) = (graph[cur].ne, graph[cur].nb);
        if ne[0] == n_embd_gqa && ne[2] == 1 {
            return Ok(cur);
        }
        if ne[0] * ne[1] == n_embd_gqa && nb[1] == ne[0] * nb[0] {
            let strides = [nb[2], nb[2] * ne[2], nb[2] * ne[2]];
            return Ok(graph.view(cur, [n_embd_gqa, ne[2], 1, 1], strides, 0)?);
        }
        Err(Error::RowShape { il, ne, n_embd_gqa })
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

/// Bytes of a head in a row, which is whole blocks.
fn head_bytes(graph: &Graph, leaf: TensorId, il: usize, n: usize) -> Result<usize, Error> {
    let dtype = graph[leaf].dtype;
    dtype.row_bytes(n).ok_or(Error::RowBlocks { il, dtype, n })
}
