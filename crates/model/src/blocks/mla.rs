//! Attention with latent keys and values, expanded before it is remembered: of each token a few numbers are computed, from which all
//! heads' keys and values follow, and one rotated part that all heads share. Answers to the graph of `minicpm3`.

use std::sync::Arc;

use quipu_graph::TensorId;
use quipu_kv_cache::KvLayerShape;

use super::{Bias, Block, Linear, Norm, Rope, RopeFactors};
use crate::build::{AttentionInput, Builder, Heads};
use crate::error::Error;
use crate::hparams::{Hparams, LayerHparams};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;

/// Widths of the latent rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MlaSpec {
    /// Of queries; `None`: one matrix gives them.
    pub n_lora_q: Option<usize>,
    /// Of keys and values.
    pub n_lora_kv: usize,
}

/// The attention of a layer.
#[derive(Debug)]
pub(crate) struct Mla {
    il: usize,
    shape: LayerHparams,
    n_lora_kv: usize,
    queries: Queries,
    kv_a: Linear,
    kv_a_norm: Norm,
    kv_b: Linear,
    rope: Option<Rope>,
    wo: Linear,
}

/// How queries are computed.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
enum Queries {
    Whole(Linear),
    Latent { a: Linear, norm: Norm, b: Linear },
}

impl Mla {
    /// The attention of layer `il`.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        factors: &Arc<RopeFactors>,
        spec: &MlaSpec,
    ) -> Result<Mla, Error> {
        let (shape, n_embd) = (hparams.layers[il], hparams.n_embd);
        let LayerHparams { n_head, n_head_kv, n_embd_head_k: d_k, n_embd_head_v: d_v, n_rot, .. } = shape;
        if n_head == 0 || n_head_kv != n_head {
            let found = format!("{n_head_kv} for {n_head} heads in layer {il}");
            return Err(hparams.error("attention.head_count_kv", &found, "as many as there are heads"));
        }
        if n_rot == 0 || n_rot >= d_k {
            let expected = format!("less than the head size {d_k}");
            return Err(hparams.error("rope.dimension_count", &n_rot, expected));
        }
        let mut linear = |name: &str, ne: [usize; 2]| {
            Linear::load(loader, &block(il, name), ne, Bias::Never).map(Linear::unscaled)
        };
        let n_q = d_k * n_head;
        let (kv_a, kv_b) = (
            linear("attn_kv_a_mqa", [n_embd, spec.n_lora_kv + n_rot])?,
            linear("attn_kv_b", [spec.n_lora_kv, n_head * (d_k - n_rot + d_v)])?,
        );
        let queries = match spec.n_lora_q {
            None => Queries::Whole(linear("attn_q", [n_embd, n_q])?),
            Some(n) => {
                let (a, b) = (linear("attn_q_a", [n_embd, n])?, linear("attn_q_b", [n, n_q])?);
                let norm = Norm::load(loader, hparams, &block(il, "attn_q_a_norm"), &[n], Bias::Never)?;
                Queries::Latent { a, norm, b }
            }
        };
        let ne = [spec.n_lora_kv];
        Ok(Mla {
            il,
            shape,
            n_lora_kv: spec.n_lora_kv,
            queries,
            kv_a,
            kv_a_norm: Norm::load(loader, hparams, &block(il, "attn_kv_a_norm"), &ne, Bias::Never)?,
            kv_b,
            rope: Rope::new(hparams, il, factors),
            wo: Linear::load(loader, &block(il, "attn_output"), [d_v * n_head, n_embd], Bias::Never)?,
        })
    }

    fn heads(&self, b: &mut Builder<'_>, x: TensorId) -> Result<Heads, Error> {
        let LayerHparams { n_head, n_embd_head_k: d_k, n_embd_head_v: d_v, n_rot, .. } = self.shape;
        let n_tokens = b.graph[x].ne[1];
        let float = size_of::<f32>();
        // A part of each head of rows that hold heads of `d` elements.
        let part = |b: &mut Builder<'_>, rows: TensorId, d: usize, from: usize, n: usize| {
            let strides = [d * float, d * n_head * float, d * n_head * n_tokens * float];
            b.graph.view(rows, [n, n_head, n_tokens, 1], strides, from * float)
        };
        let q = match &self.queries {
            Queries::Whole(matrix) => matrix.forward(b, x)?,
            Queries::Latent { a, norm, b: matrix } => {
                let latent = a.forward(b, x)?;
                let latent = norm.forward(b, latent)?;
                matrix.forward(b, latent)?
            }
        };
        let q_still = part(b, q, d_k, 0, d_k - n_rot)?;
        let q_turned = part(b, q, d_k, d_k - n_rot, n_rot)?;

        let latent = self.kv_a.forward(b, x)?;
        let row = b.graph[latent].nb[1];
        let strides = [row, row * n_tokens, row * n_tokens];
        let k_turned = b.graph.view(
            latent,
            [n_rot, 1, n_tokens, 1],
            [row, row, row * n_tokens],
            self.n_lora_kv * float,
        )?;
        let latent = b.graph.view(latent, [self.n_lora_kv, n_tokens, 1, 1], strides, 0)?;
        let latent = self.kv_a_norm.forward(b, latent)?;
        let kv = self.kv_b.forward(b, latent)?;
        let d = d_k - n_rot + d_v;
        let k_still = part(b, kv, d, 0, d_k - n_rot)?;
        let v = part(b, kv, d, d_k - n_rot, d_v)?;
        let v = b.graph.cont(v)?;

        let (mut q_turned, mut k_turned) = (q_turned, k_turned);
        if let Some(rope) = &self.rope {
            q_turned = rope.forward(b, q_turned)?;
            k_turned = rope.forward(b, k_turned)?;
        }
        let k_turned = b.graph.repeat(k_turned, [n_rot, n_head, n_tokens, 1])?;
        Ok(Heads { q: b.graph.concat(q_still, q_turned, 0)?, k: b.graph.concat(k_still, k_turned, 0)?, v })
    }
}

impl Block for Mla {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let heads = self.heads(b, x)?;
        let kq_scale = 1.0 / (self.shape.n_embd_head_k as f32).sqrt();
        let out = b.attend(&AttentionInput { il: self.il, heads, kq_scale, logit_softcap: 0.0 })?;
        let out = self.wo.forward(b, out)?;
        b.name(out, "attn_out", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        let shape =
            KvLayerShape { n_embd_k_gqa: self.shape.n_embd_k_gqa(), n_embd_v_gqa: self.shape.n_embd_v_gqa() };
        LayerMemory::Attention { shape, window: self.shape.window }
    }
}
