//! T5's attentions: with a bias by distance, and over what an encoder left.

use std::sync::Arc;

use quipu_backend::WeightUse::GetRows;
use quipu_graph::TensorId;
use quipu_kv_cache::KvLayerShape;

use super::{Bias, Block, Linear};
use crate::build::{Builder, Heads};
use crate::error::Error;
use crate::hparams::{Hparams, LayerHparams};
use crate::loader::Loader;
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// Four matrices without biases.
#[derive(Debug)]
struct Matrices {
    shape: LayerHparams,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Matrices {
    /// The matrices `{prefix}q.weight` and so on.
    fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize, prefix: &str) -> Result<Matrices, Error> {
        let shape = hparams.layers[il];
        let (n_k, n_v) = (shape.n_embd_k_gqa(), shape.n_embd_v_gqa());
        let mut load = |name: &str, ne| Linear::load(loader, &format!("{prefix}{name}"), ne, Bias::Never);
        let q = load("q", [hparams.n_embd, n_k])?;
        let k = load("k", [hparams.n_embd, n_k])?;
        let v = load("v", [hparams.n_embd, n_v])?;
        // The reference applies no factors here.
        let out = load("o", [n_v, hparams.n_embd])?.unscaled();
        Ok(Matrices { shape, q: q.unscaled(), k: k.unscaled(), v: v.unscaled(), out })
    }

    /// Queries of `x`, keys and values of `of`.
    fn heads(&self, b: &mut Builder<'_>, x: TensorId, of: TensorId) -> Result<Heads, Error> {
        let LayerHparams { n_head, n_head_kv, n_embd_head_k: d_k, n_embd_head_v: d_v, .. } = self.shape;
        let mut project = |linear: &Linear, x: TensorId, d, n_head| {
            let rows = linear.forward(b, x)?;
            let n = b.graph[rows].ne[1];
            Ok::<_, Error>(b.graph.reshape(rows, [d, n_head, n, 1])?)
        };
        let q = project(&self.q, x, d_k, n_head)?;
        let k = project(&self.k, of, d_k, n_head_kv)?;
        let v = project(&self.v, of, d_v, n_head_kv)?;
        Ok(Heads { q, k, v })
    }
}

/// Self-attention with a bias by distance.
#[derive(Debug)]
pub(crate) struct RelativeAttention {
    il: usize,
    matrices: Matrices,
    table: Arc<Weight>,
    remembers: bool,
}

impl RelativeAttention {
    /// The attention of layer `il` of a half, `enc.` or `dec.`; a layer without a table has that of the first (`shared`).
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        half: &str,
        shared: &mut Option<Arc<Weight>>,
    ) -> Result<RelativeAttention, Error> {
        let matrices = Matrices::load(loader, hparams, il, &format!("{half}blk.{il}.attn_"))?;
        let name = format!("{half}blk.{il}.attn_rel_b.weight");
        let ne = [matrices.shape.n_head, hparams.encoder.n_buckets];
        let own = loader.optional(&name, &ne, GetRows)?.map(Arc::new);
        if il == 0 {
            shared.clone_from(&own);
        }
        let table = own.or_else(|| shared.clone()).ok_or_else(|| Loader::missing(&name, &ne, &[]))?;
        Ok(RelativeAttention { il, matrices, table, remembers: half == "dec." })
    }
}

impl Block for RelativeAttention {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let heads = self.matrices.heads(b, x, x)?;
        let mixed = b.attend_by_distance(self.il, heads, &self.table)?;
        self.matrices.out.forward(b, mixed)
    }

    fn memory(&self) -> LayerMemory {
        if !self.remembers {
            return LayerMemory::None;
        }
        let LayerHparams { n_embd_head_k: d_k, n_embd_head_v: d_v, n_head_kv, .. } = self.matrices.shape;
        let shape = KvLayerShape { n_embd_k_gqa: d_k * n_head_kv, n_embd_v_gqa: d_v * n_head_kv };
        LayerMemory::Attention { shape, window: None }
    }
}

/// Attention over what an encoder left. Keys and values are computed anew in each graph, as in the reference.
#[derive(Debug)]
pub(crate) struct CrossAttention {
    il: usize,
    matrices: Matrices,
}

impl CrossAttention {
    /// The attention of layer `il` of a decoder.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<CrossAttention, Error> {
        let matrices = Matrices::load(loader, hparams, il, &format!("dec.blk.{il}.cross_attn_"))?;
        // A table that nothing reads.
        loader.ignore(&format!("dec.blk.{il}.cross_attn_rel_b.weight"));
        Ok(CrossAttention { il, matrices })
    }
}

impl Block for CrossAttention {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let encoded = b.encoded_rows()?;
        let heads = self.matrices.heads(b, x, encoded)?;
        let mixed = b.attend_encoded(self.il, heads)?;
        self.matrices.out.forward(b, mixed)
    }
}
