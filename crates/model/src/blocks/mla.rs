//! Attention with latent keys and values: of each token a few numbers are computed, from which all heads' keys and values follow, and one
//! rotated part that all heads share. Either they are expanded before they are remembered, or the numbers themselves are remembered and the
//! expansion is taken over by the queries and by what attention gives. Answers to the graphs of `minicpm3` and `deepseek2`.

use std::sync::Arc;

use quipu_backend::WeightUse::MulMat;
use quipu_graph::TensorId;
use quipu_kv_cache::KvLayerShape;

use super::{Bias, Block, Linear, Norm, Rope, RopeFactors};
use crate::build::{AttentionInput, Builder, Heads};
use crate::error::Error;
use crate::hparams::{Hparams, Temperature};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// What an architecture's latent attention has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MlaSpec {
    /// Width of latent queries; `None`: one matrix gives them.
    pub n_lora_q: Option<usize>,
    /// Width of latent keys and values.
    pub n_lora_kv: usize,
    /// Sizes of keys and values of a head.
    pub n_embd_head: [usize; 2],
    /// Latent rows are remembered, not keys and values.
    pub is_absorbed: bool,
    /// Scores grow with the context's scaling, by this in place of the logarithm's own factor (`rope_yarn_log_mul`); `None`: not at all.
    pub log_mul: Option<f32>,
    /// Queries grow with their position.
    pub temperature: Option<Temperature>,
}

/// The attention of a layer.
#[derive(Debug)]
pub(crate) struct Mla {
    il: usize,
    n_head: usize,
    n_rot: usize,
    spec: MlaSpec,
    queries: Queries,
    kv_a: Linear,
    kv_a_norm: Norm,
    kv_b: Expansion,
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

/// How keys and values follow from latent rows.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
enum Expansion {
    /// Both by one matrix.
    Whole(Linear),
    /// By a matrix of each head: `[still part of a key, n_lora_kv, n_head]` and `[n_lora_kv, size of a value, n_head]`.
    ByHead { k: Weight, v: Weight },
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
        let (n_head, n_rot, n_lora_kv, [d_k, d_v]) =
            (shape.n_head, shape.n_rot, spec.n_lora_kv, spec.n_embd_head);
        // Latent rows are one head for all.
        let n_head_kv = if spec.is_absorbed { 1 } else { n_head };
        if n_head == 0 || shape.n_head_kv != n_head_kv {
            let found = format!("{} for {n_head} heads in layer {il}", shape.n_head_kv);
            let expected = if spec.is_absorbed { "one" } else { "as many as there are heads" };
            return Err(hparams.error("attention.head_count_kv", &found, expected));
        }
        if n_rot == 0 || n_rot > d_k || (spec.is_absorbed && n_rot == d_k) {
            let expected = format!("a part of the head size {d_k}");
            return Err(hparams.error("rope.dimension_count", &n_rot, expected));
        }
        if spec.is_absorbed && shape.n_embd_head_k != n_lora_kv + n_rot {
            let expected = format!("{}, what is remembered of a token", n_lora_kv + n_rot);
            return Err(hparams.error("attention.key_length", &shape.n_embd_head_k, expected));
        }
        let linear = |loader: &mut Loader<'_>, name: &str, ne: [usize; 2]| {
            Linear::load(loader, &block(il, name), ne, Bias::Never).map(Linear::unscaled)
        };
        let n_q = d_k * n_head;
        let queries = match spec.n_lora_q {
            None => Queries::Whole(linear(loader, "attn_q", [n_embd, n_q])?),
            Some(n) => Queries::Latent {
                a: linear(loader, "attn_q_a", [n_embd, n])?,
                norm: Norm::load(loader, hparams, &block(il, "attn_q_a_norm"), &[n], Bias::Never)?,
                b: linear(loader, "attn_q_b", [n, n_q])?,
            },
        };
        let kv_a = linear(loader, "attn_kv_a_mqa", [n_embd, n_lora_kv + n_rot])?;
        let kv_b = if spec.is_absorbed {
            let k = [d_k - n_rot, n_lora_kv, n_head];
            let v = [n_lora_kv, d_v, n_head];
            Expansion::ByHead {
                k: loader.require(&block(il, "attn_k_b.weight"), &k, MulMat)?,
                v: loader.require(&block(il, "attn_v_b.weight"), &v, MulMat)?,
            }
        } else {
            Expansion::Whole(linear(loader, "attn_kv_b", [n_lora_kv, n_head * (d_k - n_rot + d_v)])?)
        };
        Ok(Mla {
            il,
            n_head,
            n_rot,
            spec: *spec,
            queries,
            kv_a,
            kv_a_norm: Norm::load(loader, hparams, &block(il, "attn_kv_a_norm"), &[n_lora_kv], Bias::Never)?,
            kv_b,
            rope: Rope::new(hparams, il, factors),
            wo: Linear::load(loader, &block(il, "attn_output"), [d_v * n_head, n_embd], Bias::Never)?,
        })
    }

    /// A part of each head of rows that hold heads of `d` elements: `n` elements, from number `from` on.
    fn part(
        &self,
        b: &mut Builder<'_>,
        rows: TensorId,
        d: usize,
        [from, n]: [usize; 2],
    ) -> Result<TensorId, Error> {
        let (n_tokens, float) = (b.graph[rows].ne[1], size_of::<f32>());
        let strides = [d * float, d * self.n_head * float, d * self.n_head * n_tokens * float];
        Ok(b.graph.view(rows, [n, self.n_head, n_tokens, 1], strides, from * float)?)
    }

    /// What attention gives for `x`.
    fn attend(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let (n_rot, n_lora_kv, [d_k, d_v]) = (self.n_rot, self.spec.n_lora_kv, self.spec.n_embd_head);
        let (n_tokens, float) = (b.graph[x].ne[1], size_of::<f32>());
        let q = match &self.queries {
            Queries::Whole(matrix) => matrix.forward(b, x)?,
            Queries::Latent { a, norm, b: matrix } => {
                let latent = a.forward(b, x)?;
                let latent = norm.forward(b, latent)?;
                matrix.forward(b, latent)?
            }
        };
        let n_still = d_k - n_rot;
        let mut q_turned = self.part(b, q, d_k, [n_still, n_rot])?;
        let latent = self.kv_a.forward(b, x)?;
        let row = b.graph[latent].nb[1];
        let strides = [row, row, row * n_tokens];
        let mut k_turned = b.graph.view(latent, [n_rot, 1, n_tokens, 1], strides, n_lora_kv * float)?;
        let strides = [row, row * n_tokens, row * n_tokens];
        let latent = b.graph.view(latent, [n_lora_kv, n_tokens, 1, 1], strides, 0)?;
        let latent = self.kv_a_norm.forward(b, latent)?;
        if let Some(rope) = &self.rope {
            q_turned = rope.forward(b, q_turned)?;
            k_turned = rope.forward(b, k_turned)?;
        }
        let kq_scale = self.kq_scale(b);
        match &self.kv_b {
            Expansion::ByHead { k, v } => {
                let still = self.part(b, q, d_k, [0, n_still])?;
                let still = b.graph.permute(still, [0, 2, 1, 3])?;
                let k = b.weight(k)?;
                let absorbed = b.graph.mul_mat(k, still)?;
                let absorbed = b.graph.permute(absorbed, [0, 2, 1, 3])?;
                let q = b.graph.concat(absorbed, q_turned, 0)?;
                let q = self.warmed(b, q)?;
                let latent = b.graph.reshape(latent, [n_lora_kv, 1, n_tokens, 1])?;
                let k = b.graph.concat(latent, k_turned, 0)?;
                b.attend_latent(self.il, [q, k], v, kq_scale)
            }
            Expansion::Whole(matrix) => {
                let kv = matrix.forward(b, latent)?;
                let d = n_still + d_v;
                let v = self.part(b, kv, d, [n_still, d_v])?;
                let v = b.graph.cont(v)?;
                let (mut q_whole, mut k) =
                    (q_turned, b.graph.repeat(k_turned, [n_rot, self.n_head, n_tokens, 1])?);
                if n_still > 0 {
                    let q_still = self.part(b, q, d_k, [0, n_still])?;
                    q_whole = b.graph.concat(q_still, q_turned, 0)?;
                    let k_still = self.part(b, kv, d, [0, n_still])?;
                    k = b.graph.concat(k_still, k, 0)?;
                }
                let q = self.warmed(b, q_whole)?;
                let heads = Heads { q, k, v };
                b.attend(&AttentionInput { il: self.il, heads, kq_scale, logit_softcap: 0.0, sinks: None })
            }
        }
    }

    /// Queries that grow with their position, if they do.
    fn warmed(&self, b: &mut Builder<'_>, q: TensorId) -> Result<TensorId, Error> {
        let Some(temperature) = self.spec.temperature else { return Ok(q) };
        let factors = b.temperature(temperature)?;
        Ok(b.graph.mul(q, factors)?)
    }

    /// The factor on scores.
    fn kq_scale(&self, b: &Builder<'_>) -> f32 {
        let by_head = 1.0 / (self.spec.n_embd_head[0] as f32).sqrt();
        let Some(log_mul) = self.spec.log_mul else { return by_head };
        let rope = b.rope_config();
        let log = (1.0 / rope.freq_scale).ln();
        // The op's own correction is cancelled in the context's factor; here it is wanted.
        let whole = rope.attn_factor * (1.0 + 0.1 * log);
        let magnitude = whole * (1.0 + 0.1 * log_mul * log);
        magnitude * magnitude * by_head
    }
}

impl Block for Mla {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let out = self.attend(b, x)?;
        let out = self.wo.forward(b, out)?;
        b.name(out, "attn_out", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        let [d_k, d_v] = self.spec.n_embd_head;
        let (n_embd_k_gqa, n_embd_v_gqa) = if self.spec.is_absorbed {
            (self.spec.n_lora_kv + self.n_rot, 0)
        } else {
            (d_k * self.n_head, d_v * self.n_head)
        };
        LayerMemory::Attention { shape: KvLayerShape { n_embd_k_gqa, n_embd_v_gqa }, window: None }
    }
}
