//! What attention layers of a graph share: what they attend over, and who sees what.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{DType, Graph, TensorId};

use crate::cache_input::{DROP, KEEP, KvIdxs, KvMask, minus_distance, refill};
use crate::input::write_input;
use crate::{Error, GraphInput, GraphShape, InputSource, KvCache, KvGraph};

/// The attention part of a graph under construction, over a cache or, without one, over the ubatch itself. Answers to
/// `llm_graph_input_attn_kv` and `llm_graph_input_attn_no_cache`.
#[derive(Debug)]
pub struct AttentionGraph<'a> {
    /// The cache, the cells the ubatch is stored in, and the number of cells looked at.
    cache: Option<(KvGraph<'a>, TensorId, usize)>,
    mask: TensorId,
}

impl<'a> AttentionGraph<'a> {
    /// Adds the inputs that attention needs to a graph. With `causal` a token sees no later position; with `alibi` the mask holds
    /// distances.
    pub fn new(
        graph: &mut Graph,
        cache: Option<&'a KvCache>,
        shape: &GraphShape,
        causal: bool,
        alibi: bool,
        inputs: &mut Vec<Box<dyn GraphInput>>,
    ) -> Result<AttentionGraph<'a>, Error> {
        let (n_tokens, n_kv) = (shape.n_tokens, shape.memory.n_kv);
        let Some(cache) = cache else {
            let mask = graph.input("kq_mask", DType::F16, [n_tokens, n_tokens, 1, 1])?;
            inputs.push(Box::new(UbatchMask { mask, n_tokens, causal, alibi, values: Vec::new() }));
            return Ok(AttentionGraph { cache: None, mask });
        };
        let kv = cache.graph();
        let idxs = kv.input_idxs(graph, n_tokens)?;
        let mask = kv.input_mask(graph, n_kv, n_tokens)?;
        inputs.push(Box::new(KvIdxs::new(idxs, n_tokens)));
        inputs.push(Box::new(KvMask::new(mask, n_kv, n_tokens, causal, alibi)));
        Ok(AttentionGraph { cache: Some((kv, idxs, n_kv)), mask })
    }

    /// Who attends to what: f16 `[n_kv, n_tokens]`, 0 (or minus the distance) or -inf.
    pub fn mask(&self) -> TensorId {
        self.mask
    }

    /// Puts the stores of a layer's keys and values, `[n_embd_head, n_head_kv, n_tokens]`, into the graph's order. Whoever reads the
    /// cache afterwards reads them too. Without a cache there is nothing to store.
    pub fn store(
        &mut self,
        graph: &mut Graph,
        il: usize,
        k_cur: TensorId,
        v_cur: TensorId,
    ) -> Result<(), Error> {
        let Some((kv, idxs, _)) = &mut self.cache else { return Ok(()) };
        let stored = kv.store_k(graph, il, k_cur, *idxs)?;
        graph.build_forward_expand(stored);
        let stored = kv.store_v(graph, il, v_cur, *idxs)?;
        graph.build_forward_expand(stored);
        Ok(())
    }

    /// The keys and values a layer attends over, `[n_embd_head, n_kv, n_head_kv]` as `Graph::flash_attn` takes them; `k_cur` and
    /// `v_cur` are those that were stored.
    pub fn keys_and_values(
        &mut self,
        graph: &mut Graph,
        il: usize,
        k_cur: TensorId,
        v_cur: TensorId,
    ) -> Result<[TensorId; 2], Error> {
        let Some((kv, _, n_kv)) = &mut self.cache else {
            return Ok([of_ubatch(graph, k_cur)?, of_ubatch(graph, v_cur)?]);
        };
        let [d_k, n_head_kv, ..] = graph[k_cur].ne;
        let d_v = graph[v_cur].ne[0];
        Ok([kv.k(graph, il, *n_kv, d_k, n_head_kv)?, kv.v(graph, il, *n_kv, d_v, n_head_kv)?])
    }
}

/// Keys or values of the ubatch as attention takes them, in f16 as a cache would hold them (`build_attn_mha`).
fn of_ubatch(graph: &mut Graph, cur: TensorId) -> Result<TensorId, Error> {
    let rows = graph.permute(cur, [0, 2, 1, 3])?;
    let half = graph.leaf("", DType::F16, graph[rows].ne)?;
    Ok(graph.cpy(rows, half)?)
}

/// The mask of attention without a cache.
#[derive(Debug)]
struct UbatchMask {
    mask: TensorId,
    n_tokens: usize,
    causal: bool,
    alibi: bool,
    values: Vec<u16>,
}

impl GraphInput for UbatchMask {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        fill_ubatch_mask(source.ubatch, self.causal, &mut self.values)?;
        if self.alibi {
            let pos = &source.ubatch.pos;
            for (row, from) in self.values.chunks_exact_mut(self.n_tokens.max(1)).zip(pos) {
                for (value, to) in row.iter_mut().zip(pos).filter(|(value, _)| **value == KEEP) {
                    *value = minus_distance(*from, *to);
                }
            }
        }
        write_input(graph, self.mask, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// `n_tokens` f16 values per token: 0 for tokens of the same first sequence and, with `causal`, no later position, else -inf.
fn fill_ubatch_mask(ubatch: &Ubatch, causal: bool, out: &mut Vec<u16>) -> Result<(), Error> {
    let n_tokens = ubatch.n_tokens;
    refill(out, DROP, n_tokens.saturating_mul(n_tokens))?;
    for (i, row) in out.chunks_exact_mut(n_tokens.max(1)).enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            if ubatch.seq_id[j] == ubatch.seq_id[i] && (!causal || ubatch.pos[j] <= ubatch.pos[i]) {
                *value = KEEP;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_see_their_sequence_and_causal_ones_nothing_later() {
        let ubatch =
            Ubatch { n_tokens: 4, pos: vec![0, 5, 1, 6], seq_id: vec![0, 1, 0, 1], ..Ubatch::default() };
        let mut mask = Vec::new();
        let mut rows = |causal| -> Vec<String> {
            fill_ubatch_mask(&ubatch, causal, &mut mask).unwrap();
            let shown = |row: &[u16]| row.iter().map(|m| if *m == KEEP { '1' } else { '.' }).collect();
            mask.chunks(4).map(shown).collect()
        };
        assert_eq!(rows(true), ["1...", ".1..", "1.1.", ".1.1"]);
        assert_eq!(rows(false), ["1.1.", ".1.1", "1.1.", ".1.1"]);
    }
}
