//! What attention layers of a graph share: what they attend over, and who sees what.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{DType, Graph, TensorId};

use crate::attention_kind::AttentionKind;
use crate::cache_input::{
    DROP, KEEP, KvElementIdxs, KvIdxs, KvMask, minus_distance, minus_distance_f32, n_kv_of, refill, widen,
};
use crate::input::write_input;
use crate::{
    Error, GraphInput, GraphShape, InputSource, KvCache, KvGraph, KvPart, KvView, Memory, MemoryKey, Pos,
    Rotation, Window, rotate,
};

/// The attention part of a graph under construction, over a memory's caches or, without one, over the ubatch itself. Answers to
/// `llm_graph_input_attn_kv`, `llm_graph_input_attn_kv_iswa` and `llm_graph_input_attn_no_cache`.
#[derive(Debug)]
pub struct AttentionGraph<'a> {
    full: Attended<'a>,
    /// What layers with windows attend over, if the model has any.
    window: Option<Attended<'a>>,
}

/// What some layers attend over.
#[derive(Debug)]
struct Attended<'a> {
    /// The cache, the cells the ubatch is stored in, and the cells looked at.
    cache: Option<(KvGraph<'a>, TensorId, KvView)>,
    /// Where elements of values go, by the length of a row of them; of caches that keep them element by element.
    v_idxs: Vec<(usize, TensorId)>,
    /// Flash attention computes it.
    flash: bool,
    mask: TensorId,
    /// Streams that the queries are for.
    n_stream: usize,
    /// Matrices that keys and values are rotated by before they are stored.
    rotations: [Option<TensorId>; 2],
}

impl<'a> AttentionGraph<'a> {
    /// Adds the inputs that attention needs to a graph, over the caches of `memory`, if it has any.
    pub fn new(
        graph: &mut Graph,
        memory: Option<&'a dyn Memory>,
        shape: &GraphShape,
        kind: AttentionKind,
        inputs: &mut Vec<Box<dyn GraphInput>>,
    ) -> Result<AttentionGraph<'a>, Error> {
        let mut over = |part: KvPart, window: Option<Window>| {
            if let Some(cache) = memory.and_then(|memory| memory.kv(part)) {
                return Attended::cache(graph, part, cache, shape, kind, inputs);
            }
            let n_tokens = shape.n_tokens;
            let mask = graph.input("kq_mask", mask_type(kind), [n_tokens, n_tokens, 1, 1])?;
            let kind = AttentionKind { window, ..kind };
            let (values, wide) = (Vec::new(), Vec::new());
            inputs.push(Box::new(UbatchMask { mask, n_tokens, kind, values, wide }));
            let (v_idxs, flash) = (Vec::new(), kind.flash);
            Ok(Attended { cache: None, v_idxs, flash, mask, n_stream: 1, rotations: [None; 2] })
        };
        let full = over(KvPart::Full, None)?;
        let window = kind.window.map(|window| over(KvPart::Window, Some(window))).transpose()?;
        Ok(AttentionGraph { full, window })
    }

    /// Who attends to what: f16, or f32 without flash attention, `[n_kv, n_tokens of a stream, 1, n_stream]`, 0 (or minus the distance) or
    /// -inf.
    pub fn mask(&self, part: KvPart) -> TensorId {
        self.part(part).mask
    }

    /// Whether layers attend over a cache, and not over the ubatch itself.
    pub fn is_cached(&self, part: KvPart) -> bool {
        self.part(part).cache.is_some()
    }

    /// Streams that the queries are for, at least 1: each has the same number of the ubatch's tokens, side by side.
    pub fn n_stream(&self, part: KvPart) -> usize {
        self.part(part).n_stream
    }

    /// Whether values come element by element, `[n_kv, n_embd_head, n_head_kv, n_stream]`.
    pub fn is_transposed(&self, part: KvPart) -> bool {
        !self.part(part).v_idxs.is_empty()
    }

    /// Queries or keys as the cache wants them (`k_rot`).
    pub fn rotate_k(&self, graph: &mut Graph, part: KvPart, x: TensorId) -> Result<TensorId, Error> {
        self.part(part).rotations[0].map_or(Ok(x), |matrix| rotate(graph, matrix, x))
    }

    /// Values as the cache wants them, or what attention made of such (`v_rot`).
    pub fn rotate_v(&self, graph: &mut Graph, part: KvPart, x: TensorId) -> Result<TensorId, Error> {
        self.part(part).rotations[1].map_or(Ok(x), |matrix| rotate(graph, matrix, x))
    }

    /// Puts the stores of a layer's keys and values, `[n_embd_head, n_head_kv, n_tokens]`, into the graph's order. Whoever reads the
    /// cache afterwards reads them too. Without a cache there is nothing to store.
    pub fn store(
        &mut self,
        graph: &mut Graph,
        part: KvPart,
        il: usize,
        k_cur: TensorId,
        v_cur: TensorId,
    ) -> Result<(), Error> {
        let Attended { cache, v_idxs, .. } = self.part_mut(part);
        let Some((kv, idxs, _)) = cache else { return Ok(()) };
        let stored = kv.store_k(graph, il, k_cur, *idxs)?;
        graph.build_forward_expand(stored);
        let n_embd_v_gqa = kv.n_embd_v_gqa(il)?;
        let places = v_idxs.iter().find(|(n, _)| *n == n_embd_v_gqa).map_or(*idxs, |(_, places)| *places);
        let stored = kv.store_v(graph, il, v_cur, places)?;
        graph.build_forward_expand(stored);
        Ok(())
    }

    /// As [`AttentionGraph::store`], of a layer that remembers keys alone.
    pub fn store_keys(
        &mut self,
        graph: &mut Graph,
        part: KvPart,
        il: usize,
        k_cur: TensorId,
    ) -> Result<(), Error> {
        let Some((kv, idxs, _)) = &mut self.part_mut(part).cache else { return Ok(()) };
        let stored = kv.store_k(graph, il, k_cur, *idxs)?;
        graph.build_forward_expand(stored);
        Ok(())
    }

    /// The keys alone of [`AttentionGraph::keys_and_values`].
    pub fn keys(
        &mut self,
        graph: &mut Graph,
        part: KvPart,
        il: usize,
        k_cur: TensorId,
    ) -> Result<TensorId, Error> {
        let Attended { cache, flash, .. } = self.part_mut(part);
        let Some((kv, _, view)) = cache else {
            return if *flash { as_half(graph, k_cur) } else { Ok(graph.permute(k_cur, [0, 2, 1, 3])?) };
        };
        let [d_k, n_head_kv, ..] = graph[k_cur].ne;
        kv.k(graph, il, *view, d_k, n_head_kv)
    }

    /// The keys and values a layer attends over, `[n_embd_head, n_kv, n_head_kv, n_stream]` as `Graph::flash_attn` takes them, but for values
    /// that are [transposed](AttentionGraph::is_transposed); `k_cur` and `v_cur` are those that were stored.
    pub fn keys_and_values(
        &mut self,
        graph: &mut Graph,
        part: KvPart,
        il: usize,
        k_cur: TensorId,
        v_cur: TensorId,
    ) -> Result<[TensorId; 2], Error> {
        let Attended { cache, flash, .. } = self.part_mut(part);
        let Some((kv, _, view)) = cache else {
            if *flash {
                return Ok([as_half(graph, k_cur)?, as_half(graph, v_cur)?]);
            }
            return Ok([graph.permute(k_cur, [0, 2, 1, 3])?, graph.permute(v_cur, [0, 2, 1, 3])?]);
        };
        let [d_k, n_head_kv, ..] = graph[k_cur].ne;
        let d_v = graph[v_cur].ne[0];
        Ok([kv.k(graph, il, *view, d_k, n_head_kv)?, kv.v(graph, il, *view, d_v, n_head_kv)?])
    }

    /// As [`AttentionGraph::keys_and_values`], for a layer that stores nothing and reads what another one stored ([`KvParams::reuse`]), in
    /// heads of those sizes.
    ///
    /// # Errors
    /// [`Error::NoCache`] without one: a ubatch's own keys and values are not kept for other layers.
    ///
    /// [`KvParams::reuse`]: crate::KvParams::reuse
    pub fn reused(
        &mut self,
        graph: &mut Graph,
        part: KvPart,
        il: usize,
        [d_k, d_v, n_head_kv]: [usize; 3],
    ) -> Result<[TensorId; 2], Error> {
        let Some((kv, _, view)) = &mut self.part_mut(part).cache else { return Err(Error::NoCache) };
        Ok([kv.k(graph, il, *view, d_k, n_head_kv)?, kv.v(graph, il, *view, d_v, n_head_kv)?])
    }

    fn part(&self, part: KvPart) -> &Attended<'a> {
        self.window.as_ref().filter(|_| part == KvPart::Window).unwrap_or(&self.full)
    }

    fn part_mut(&mut self, part: KvPart) -> &mut Attended<'a> {
        self.window.as_mut().filter(|_| part == KvPart::Window).unwrap_or(&mut self.full)
    }
}

impl<'a> Attended<'a> {
    fn cache(
        graph: &mut Graph,
        part: KvPart,
        cache: &'a KvCache,
        shape: &GraphShape,
        kind: AttentionKind,
        inputs: &mut Vec<Box<dyn GraphInput>>,
    ) -> Result<Attended<'a>, Error> {
        let MemoryKey { stream, n_stream, .. } = shape.memory;
        let view = KvView { n_kv: n_kv_of(&shape.memory, part), stream, n_stream };
        let kv = cache.graph();
        let idxs = kv.input_idxs(graph, shape.n_tokens)?;
        let mask = kv.input_mask(graph, mask_type(kind), view, shape.n_tokens)?;
        inputs.push(Box::new(KvIdxs::new(part, idxs, shape.n_tokens)));
        let mut v_idxs: Vec<(usize, TensorId)> = Vec::new();
        if cache.v_trans() {
            for n in cache.layers.iter().map(|layer| layer.shape.n_embd_v_gqa).filter(|n| *n > 0) {
                if v_idxs.iter().all(|(known, _)| *known != n) {
                    let places = kv.input_v_idxs(graph, n, shape.n_tokens)?;
                    inputs.push(Box::new(KvElementIdxs::new(part, places, n, shape.n_tokens)));
                    v_idxs.push((n, places));
                }
            }
        }
        inputs.push(Box::new(KvMask::new(part, mask, shape, kind)));
        let mut rotation = |name: &str, n: Option<usize>| -> Result<Option<TensorId>, Error> {
            let Some(n) = n else { return Ok(None) };
            let rotation = Rotation::new(graph, name, n)?;
            let matrix = rotation.matrix();
            inputs.push(Box::new(rotation));
            Ok(Some(matrix))
        };
        let rotations = [
            rotation("attn_inp_k_rot", cache.key_rotation())?,
            rotation("attn_inp_v_rot", cache.value_rotation())?,
        ];
        let flash = kind.flash;
        Ok(Attended { cache: Some((kv, idxs, view)), v_idxs, flash, mask, n_stream, rotations })
    }
}

/// Flash attention takes f16 masks.
fn mask_type(kind: AttentionKind) -> DType {
    if kind.flash { DType::F16 } else { DType::F32 }
}

/// Keys or values `[n_embd_head, n_head_kv, n]` that are in no cache as attention takes them, in f16 as a cache would hold them
/// (`build_attn_mha`).
///
/// # Errors
/// Shapes that cannot be copied.
pub fn as_half(graph: &mut Graph, cur: TensorId) -> Result<TensorId, Error> {
    let rows = graph.permute(cur, [0, 2, 1, 3])?;
    let half = graph.leaf("", DType::F16, graph[rows].ne)?;
    Ok(graph.cpy(rows, half)?)
}

/// The mask of attention without a cache.
#[derive(Debug)]
struct UbatchMask {
    mask: TensorId,
    n_tokens: usize,
    kind: AttentionKind,
    values: Vec<u16>,
    /// The values in f32, where attention takes such.
    wide: Vec<f32>,
}

impl GraphInput for UbatchMask {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        if graph[self.mask].storage.location().is_none() {
            // No layer attends.
            return Ok(());
        }
        let AttentionKind { causal, window, alibi, flash } = self.kind;
        fill_ubatch_mask(source.ubatch, causal, window, &mut self.values)?;
        let pos = &source.ubatch.pos;
        if !flash {
            widen(&self.values, &mut self.wide)?;
            if alibi {
                fill_ubatch_distances(pos, &mut self.wide, 0.0, minus_distance_f32);
            }
            return write_input(graph, self.mask, &self.wide, buffers);
        }
        if alibi {
            fill_ubatch_distances(pos, &mut self.values, KEEP, minus_distance);
        }
        write_input(graph, self.mask, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// Puts distances where a token may attend.
fn fill_ubatch_distances<T: Copy + PartialEq>(
    pos: &[Pos],
    mask: &mut [T],
    keep: T,
    distance: impl Fn(Pos, Pos) -> T,
) {
    for (row, from) in mask.chunks_exact_mut(pos.len().max(1)).zip(pos) {
        for (value, to) in row.iter_mut().zip(pos).filter(|(value, _)| **value == keep) {
            *value = distance(*from, *to);
        }
    }
}

/// `n_tokens` f16 values per token: 0 for tokens of the same first sequence that no window hides and, with `causal`, of no later position,
/// else -inf.
fn fill_ubatch_mask(
    ubatch: &Ubatch,
    causal: bool,
    window: Option<Window>,
    out: &mut Vec<u16>,
) -> Result<(), Error> {
    let n_tokens = ubatch.n_tokens;
    refill(out, DROP, n_tokens.saturating_mul(n_tokens))?;
    for (i, row) in out.chunks_exact_mut(n_tokens.max(1)).enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let (of, pos) = (ubatch.pos[j], ubatch.pos[i]);
            let hidden = causal && of > pos || window.is_some_and(|window| window.hides(of, pos));
            if ubatch.seq_id[j] == ubatch.seq_id[i] && !hidden {
                *value = KEEP;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WindowKind;

    #[test]
    fn tokens_see_their_sequence_and_causal_ones_nothing_later() {
        let ubatch =
            Ubatch { n_tokens: 4, pos: vec![0, 5, 1, 6], seq_id: vec![0, 1, 0, 1], ..Ubatch::default() };
        let mut mask = Vec::new();
        let mut rows = |causal, window| -> Vec<String> {
            fill_ubatch_mask(&ubatch, causal, window, &mut mask).unwrap();
            let shown = |row: &[u16]| row.iter().map(|m| if *m == KEEP { '1' } else { '.' }).collect();
            mask.chunks(4).map(shown).collect()
        };
        assert_eq!(rows(true, None), ["1...", ".1..", "1.1.", ".1.1"]);
        assert_eq!(rows(false, None), ["1.1.", ".1.1", "1.1.", ".1.1"]);
        let window = Some(Window { n_swa: 1, kind: WindowKind::Symmetric });
        assert_eq!(rows(false, window), ["1...", ".1..", "..1.", "...1"]);
    }
}
