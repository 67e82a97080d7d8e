//! Attention whose scores have a bias by distance, and attention over what an encoder left: what T5 has beside other models.
//!
//! Answers to `build_pos_bias`, to `build_attn` with `kq_b`, and to `build_attn_inp_cross`.

use quipu_backend::BufferTable;
use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{
    Error as MemoryError, GraphInput, GraphShape, InputSource, KvPart, Pos, as_half, write_input,
};

use super::{Builder, Heads};
use crate::error::Error;
use crate::graph::GraphKind;
use crate::weight::Weight;

/// f16 bits of -inf.
const DROP: u16 = 0xfc00;
/// From this distance on all distances are of one class.
const MAX_DISTANCE: i64 = 128;

impl Builder<'_> {
    /// As [`Builder::attend`], unscaled, with a bias on the scores by the distance of both tokens: `table` is `[n_head, n_buckets]`. A
    /// decoder's tokens see only earlier ones, so that its classes are all for these.
    pub fn attend_by_distance(
        &mut self,
        il: usize,
        mut heads: Heads,
        table: &Weight,
    ) -> Result<TensorId, Error> {
        const PART: KvPart = KvPart::Full;
        if self.attn.n_stream(PART) != 1 {
            let expected = "one: biases by distance are for a cache that all sequences share".to_owned();
            return Err(Error::Hparam {
                key: "kv streams".to_owned(),
                found: "several".to_owned(),
                expected,
            });
        }
        self.name(heads.q, "Qcur", il);
        self.name(heads.k, "Kcur", il);
        self.name(heads.v, "Vcur", il);
        heads.q = self.attn.rotate_k(&mut self.graph, PART, heads.q)?;
        heads.k = self.attn.rotate_k(&mut self.graph, PART, heads.k)?;
        heads.v = self.attn.rotate_v(&mut self.graph, PART, heads.v)?;
        for x in [heads.q, heads.v, heads.k] {
            self.graph.build_forward_expand(x);
        }
        self.attn.store(&mut self.graph, PART, il, heads.k, heads.v)?;
        let [k, v] = if self.attn.is_cached(PART) {
            self.attn.keys_and_values(&mut self.graph, PART, il, heads.k, heads.v)?
        } else {
            // Scores are computed from these as they are, unlike by flash attention.
            [self.graph.permute(heads.k, [0, 2, 1, 3])?, self.graph.permute(heads.v, [0, 2, 1, 3])?]
        };
        let q = self.graph.permute(heads.q, [0, 2, 1, 3])?;
        let bias = self.bias_by_distance(table, self.graph[k].ne[1])?;
        let scores = self.graph.mul_mat(k, q)?;
        let scores = self.graph.add(scores, bias)?;
        let shares = self.graph.soft_max(scores, Some(self.attn.mask(PART)), 1.0, 0.0)?;
        let v = self.graph.transpose(v);
        let v = self.graph.cont(v)?;
        let mixed = self.graph.mul_mat(v, shares)?;
        let mixed = self.graph.permute(mixed, [0, 2, 1, 3])?;
        let mixed = self.graph.cont(mixed)?;
        let [d, n_head, n_tokens, _] = self.graph[mixed].ne;
        let out = self.graph.reshape(mixed, [d * n_head, n_tokens, 1, 1])?;
        self.name(out, "kqv_out", il);
        Ok(self.attn.rotate_v(&mut self.graph, PART, out)?)
    }

    /// The biases of `table` for all pairs of tokens: f32 `[n_kv, n_tokens, n_head]`. Layers with one table share them.
    fn bias_by_distance(&mut self, table: &Weight, n_kv: usize) -> Result<TensorId, Error> {
        if let Some((of, bias)) = self.by_distance
            && std::ptr::eq(of, table)
        {
            return Ok(bias);
        }
        let n_tokens = self.params.shape.n_tokens;
        let buckets = self.graph.input("pos_bucket", DType::I32, [n_kv * n_tokens, 1, 1, 1])?;
        let is_encoder = self.params.kind == GraphKind::Encoder;
        let n_buckets = table.ne[1];
        self.inputs.push(Box::new(InputBuckets {
            buckets,
            n_tokens,
            n_kv,
            n_buckets,
            is_encoder,
            values: Vec::new(),
        }));
        let of = std::ptr::from_ref(table);
        let table = self.weight(table)?;
        let rows = self.graph.get_rows(table, buckets)?;
        let n_head = self.graph[rows].ne[0];
        let rows = self.graph.reshape(rows, [n_head, n_kv, n_tokens, 1])?;
        let bias = self.graph.permute(rows, [2, 0, 1, 3])?;
        let bias = self.graph.cont(bias)?;
        self.graph.set_name(bias, "pos_bias");
        self.by_distance = Some((of, bias));
        Ok(bias)
    }

    /// The rows that an encoder left: f32 `[n_embd, n_enc]`.
    pub fn encoded_rows(&mut self) -> Result<TensorId, Error> {
        Ok(self.cross_inputs()?[0])
    }

    /// Attends over what an encoder left, unscaled: keys and values are made of [`Builder::encoded_rows`].
    pub fn attend_encoded(&mut self, il: usize, heads: Heads) -> Result<TensorId, Error> {
        let [_, mask] = self.cross_inputs()?;
        for x in [heads.q, heads.v, heads.k] {
            self.graph.build_forward_expand(x);
        }
        let q = self.graph.permute(heads.q, [0, 2, 1, 3])?;
        let k = as_half(&mut self.graph, heads.k)?;
        let v = as_half(&mut self.graph, heads.v)?;
        let out = self.graph.flash_attn(q, k, v, Some(mask), 1.0, 0.0, 0.0)?;
        let [d, n_head, n_tokens, _] = self.graph[out].ne;
        let out = self.graph.reshape(out, [d * n_head, n_tokens, 1, 1])?;
        self.name(out, "kqv_out", il);
        Ok(out)
    }

    /// The rows that an encoder left, and the mask of who sees them, f16 `[n_enc, n_tokens]`.
    fn cross_inputs(&mut self) -> Result<[TensorId; 2], Error> {
        if let Some(inputs) = self.cross {
            return Ok(inputs);
        }
        let (n_enc, n_tokens) = (self.params.shape.n_enc, self.params.shape.n_tokens);
        let rows = self.graph.input("inp_cross_embd", DType::F32, [self.hparams.n_embd, n_enc, 1, 1])?;
        let mask = self.graph.input("cross_kq_mask", DType::F16, [n_enc, n_tokens, 1, 1])?;
        self.inputs.push(Box::new(InputCross { rows, mask, n_enc, n_tokens, values: Vec::new() }));
        self.cross = Some([rows, mask]);
        Ok([rows, mask])
    }
}

/// The class of each pair's distance, i32 `[n_kv * n_tokens]`. Answers to `llm_graph_input_pos_bucket` and its kin over a cache.
#[derive(Debug)]
struct InputBuckets {
    buckets: TensorId,
    n_tokens: usize,
    n_kv: usize,
    n_buckets: usize,
    is_encoder: bool,
    values: Vec<i32>,
}

impl GraphInput for InputBuckets {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), MemoryError> {
        let (n_buckets, both_ways) = (self.n_buckets as i64, self.is_encoder);
        let class = |of: Pos, from: Pos| bucket(of, from, n_buckets, both_ways);
        if let Some(cache) = source.memory.kv(KvPart::Full).filter(|_| !both_ways) {
            cache.fill_buckets(source.ubatch, self.n_kv, class, &mut self.values);
        } else {
            let pos = &source.ubatch.pos;
            self.values.clear();
            self.values.extend(pos.iter().flat_map(|from| pos.iter().map(move |of| class(*of, *from))));
        }
        write_input(graph, self.buckets, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        let n_kv = if self.is_encoder { shape.n_tokens } else { shape.memory.n_kv };
        (shape.n_tokens, n_kv) == (self.n_tokens, self.n_kv)
    }
}

/// The class of the distance from a token at `from` to one at `of` (`llama_relative_position_bucket`): short distances have one each, long
/// ones share classes, ever wider ones. With `both_ways` half of them are for later tokens; else those are as near as can be.
fn bucket(of: Pos, from: Pos, n_buckets: i64, both_ways: bool) -> i32 {
    let relative = i64::from(of) - i64::from(from);
    let (n, first, distance) = if both_ways {
        let n = n_buckets / 2;
        (n, if relative > 0 { n } else { 0 }, relative.abs())
    } else {
        (n_buckets, 0, -relative.min(0))
    };
    let exact = n / 2;
    if distance < exact {
        return (first + distance) as i32;
    }
    let share = (distance as f64 / exact as f64) as f32;
    let steps = f64::from(share.ln() * (n - exact) as f32) / (MAX_DISTANCE as f64 / exact as f64).ln();
    let far = (exact as f64 + steps) as f32;
    (first + (far.floor() as i64).min(n - 1)) as i32
}

/// What an encoder left, f32 `[n_embd, n_enc]`, and who sees it. Answers to `llm_graph_input_cross_embd` and
/// `llm_graph_input_attn_cross`.
#[derive(Debug)]
struct InputCross {
    rows: TensorId,
    mask: TensorId,
    n_enc: usize,
    n_tokens: usize,
    values: Vec<u16>,
}

impl GraphInput for InputCross {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), MemoryError> {
        let cross = source.cross;
        self.values.clear();
        for seqs in &source.ubatch.seq_set {
            let seen = |i: usize| if cross.sees(i, *seqs) { 0 } else { DROP };
            self.values.extend((0..self.n_enc).map(seen));
        }
        write_input(graph, self.rows, &cross.rows, buffers)?;
        write_input(graph, self.mask, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        (shape.n_enc, shape.n_tokens) == (self.n_enc, self.n_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference's function, with 32 classes.
    #[test]
    fn near_distances_have_classes_of_their_own() {
        let back = |distance| bucket(200 - distance, 200, 32, false);
        assert_eq!(
            [0, 1, 15, 16, 17, 18, 20, 40, 127, 128, 200].map(back),
            [0, 1, 15, 16, 16, 16, 17, 23, 31, 31, 31]
        );
        assert_eq!(bucket(5, 3, 32, false), 0);
        let both = |relative| bucket(200 + relative, 200, 32, true);
        assert_eq!([0, 1, 7, 8, 16, 64, 127, 128].map(both), [0, 17, 23, 24, 26, 30, 31, 31]);
        assert_eq!([-1, -7, -8, -16, -64, -127].map(both), [1, 7, 8, 10, 14, 15]);
    }
}
