//! What adapters add to a graph.

use quipu_backend::BufferTable;
use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{Error as MemoryError, GraphInput, GraphShape, InputSource, SeqId, write_input};

use super::Builder;
use crate::adapter::shifted;
use crate::error::Error;
use crate::weight::Weight;

/// Which tokens of a ubatch an adapter is for: f32 `[1, n_tokens]`, 1 or 0; and of those whose outputs are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoraFactors {
    all: TensorId,
    kept: Option<TensorId>,
}

impl Builder<'_> {
    /// The input that says which tokens the `k`-th adapter is for; `None` if it is for all.
    fn lora_factors(&mut self, k: usize) -> Result<Option<LoraFactors>, Error> {
        let adapters = self.adapters;
        let Some(sequences) = &adapters.loras[k].sequences else { return Ok(None) };
        if let Some(known) = self.lora_factors[k] {
            return Ok(Some(known));
        }
        let n_tokens = self.n_tokens();
        let all = self.graph.input("lora_factors", DType::F32, [1, n_tokens, 1, 1])?;
        self.add_input(Box::new(SequenceFactors {
            factors: all,
            n_tokens,
            sequences: sequences.clone(),
            values: Vec::new(),
        }));
        let kept = self.out_ids().map(|ids| self.graph.get_rows(all, ids)).transpose()?;
        let factors = LoraFactors { all, kept };
        self.lora_factors[k] = Some(factors);
        Ok(Some(factors))
    }

    /// `delta` times a factor, where it is for tokens that the `k`-th adapter is for, and 0 elsewhere. Its last dimensions, from `dim` on, count
    /// tokens.
    fn for_tokens(&mut self, k: usize, delta: TensorId, scale: f32, dim: usize) -> Result<TensorId, Error> {
        let delta = self.graph.scale(delta, scale, 0.0)?;
        let Some(LoraFactors { all, kept }) = self.lora_factors(k)? else { return Ok(delta) };
        let ne = self.graph[delta].ne;
        let n: usize = ne[dim..].iter().product();
        let of_rows = [Some(all), kept].into_iter().flatten().find(|id| self.graph[*id].n_elements() == n);
        let Some(factors) = of_rows else {
            return Err(Error::AdapterRows { found: n, expected: self.n_tokens() });
        };
        let mut as_rows = [1; 4];
        as_rows[dim..].copy_from_slice(&ne[dim..]);
        let factors = self.graph.reshape(factors, as_rows)?;
        Ok(self.graph.mul(delta, factors)?)
    }

    /// `product`, which is `weight` times `x`, with what adapters add to it (`build_lora_mm`).
    pub fn adapted(&mut self, weight: &Weight, x: TensorId, product: TensorId) -> Result<TensorId, Error> {
        let mut sum = product;
        let adapters = self.adapters;
        for (k, lora) in adapters.loras.iter().enumerate() {
            let Some((pair, scale)) = lora.adapter.pair(&weight.name, lora.scale) else { continue };
            // A second use of the embeddings as output matrix: their pair lies the other way, and is for the embeddings alone.
            if pair.a.ne[0] != weight.ne[0] || pair.b.ne[1] != weight.ne[1] {
                continue;
            }
            let [a, b] = self.lora_leafs(lora.first_buffer, [&pair.a, &pair.b])?;
            let latent = self.graph.mul_mat(a, x)?;
            let delta = self.graph.mul_mat(b, latent)?;
            let delta = self.for_tokens(k, delta, scale, 1)?;
            sum = self.graph.add(sum, delta)?;
        }
        Ok(sum)
    }

    /// As [`Builder::adapted`], for the matrices of the experts that each token chose (`build_lora_mm_id`).
    pub fn adapted_by_id(
        &mut self,
        weight: &Weight,
        x: TensorId,
        chosen: TensorId,
        product: TensorId,
    ) -> Result<TensorId, Error> {
        let mut sum = product;
        let adapters = self.adapters;
        for (k, lora) in adapters.loras.iter().enumerate() {
            let Some((pair, scale)) = lora.adapter.pair(&weight.name, lora.scale) else { continue };
            let [a, b] = self.lora_leafs(lora.first_buffer, [&pair.a, &pair.b])?;
            let latent = self.graph.mul_mat_id(a, x, chosen)?;
            let delta = self.graph.mul_mat_id(b, latent, chosen)?;
            let delta = self.for_tokens(k, delta, scale, 2)?;
            sum = self.graph.add(sum, delta)?;
        }
        Ok(sum)
    }

    /// `rows` of the table of embeddings with what adapters add to them (`build_inp_embd`).
    pub fn adapted_rows(&mut self, table: &Weight, ids: TensorId, rows: TensorId) -> Result<TensorId, Error> {
        let mut sum = rows;
        let adapters = self.adapters;
        for (k, lora) in adapters.loras.iter().enumerate() {
            let Some((pair, scale)) = lora.adapter.pair(&table.name, lora.scale) else { continue };
            let [a, b] = self.lora_leafs(lora.first_buffer, [&pair.a, &pair.b])?;
            let latent = self.graph.get_rows(a, ids)?;
            let delta = self.graph.mul_mat(b, latent)?;
            let delta = self.for_tokens(k, delta, scale, 1)?;
            sum = self.graph.add(sum, delta)?;
        }
        Ok(sum)
    }

    /// What layer `il` gives, with its direction (`build_cvec`).
    pub fn steered(&mut self, il: usize, x: TensorId) -> Result<TensorId, Error> {
        let adapters = self.adapters;
        let Some(active) = &adapters.steering else { return Ok(x) };
        let Some(row) = active.steering.row(il) else { return Ok(x) };
        let row = self.graph.external(&row.name, row.dtype, row.ne, shifted(row, active.first_buffer))?;
        Ok(self.graph.add(x, row)?)
    }

    fn lora_leafs(&mut self, first_buffer: u32, weights: [&Weight; 2]) -> Result<[TensorId; 2], Error> {
        let mut leaf = |w: &Weight| self.graph.external(&w.name, w.dtype, w.ne, shifted(w, first_buffer));
        Ok([leaf(weights[0])?, leaf(weights[1])?])
    }
}

/// 1 for tokens whose first sequence is one of these, else 0.
#[derive(Debug)]
struct SequenceFactors {
    factors: TensorId,
    n_tokens: usize,
    sequences: Vec<SeqId>,
    values: Vec<f32>,
}

impl GraphInput for SequenceFactors {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), MemoryError> {
        let factor = |seq_id: &SeqId| if self.sequences.contains(seq_id) { 1.0 } else { 0.0 };
        self.values.clear();
        self.values.extend(source.ubatch.seq_id.iter().map(factor));
        write_input(graph, self.factors, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}
