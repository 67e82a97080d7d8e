//! Attention whose result is gated head by head; gates come with the queries. Answers to `build_layer_attn` of `src/models/qwen3next.cpp`.

use quipu_graph::{TensorId, UnaryOp};
use quipu_kv_cache::KvLayerShape;

use super::{Bias, Block, KeyRotation, Linear, Norm, Rope, RopeFactors};
use crate::build::{AttentionInput, Builder, Heads};
use crate::error::Error;
use crate::hparams::{Hparams, LayerHparams};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;

/// The block.
#[derive(Debug)]
pub(crate) struct GatedAttention {
    il: usize,
    shape: LayerHparams,
    /// To each head's query and its gate.
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: Norm,
    k_norm: Norm,
    rope: Option<Rope>,
    wo: Linear,
}

impl GatedAttention {
    /// The block of layer `il`.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<GatedAttention, Error> {
        let (shape, n_embd) = (hparams.layers[il], hparams.n_embd);
        let LayerHparams { n_head, n_head_kv, n_embd_head_k: d, .. } = shape;
        if n_head == 0 || n_head_kv == 0 || !n_head.is_multiple_of(n_head_kv) {
            let found = format!("{n_head_kv} for {n_head} heads in layer {il}");
            return Err(hparams.error(
                "attention.head_count_kv",
                &found,
                "a positive divisor of the head count",
            ));
        }
        let mut linear =
            |part: &str, n_in, n_out, bias| Linear::load(loader, &block(il, part), [n_in, n_out], bias);
        // Biases that files may carry are left out of the graph.
        let q = linear("attn_q", n_embd, 2 * d * n_head, Bias::Unused)?;
        let k = linear("attn_k", n_embd, d * n_head_kv, Bias::Unused)?;
        let v = linear("attn_v", n_embd, d * n_head_kv, Bias::Unused)?;
        let wo = linear("attn_output", d * n_head, n_embd, Bias::Never)?;
        let q_norm = Norm::load(loader, hparams, &block(il, "attn_q_norm"), &[d], Bias::Never)?;
        let k_norm = Norm::load(loader, hparams, &block(il, "attn_k_norm"), &[d], Bias::Never)?;
        let rope = Rope::new(hparams, il, &RopeFactors::none());
        Ok(GatedAttention { il, shape, q, k, v, q_norm, k_norm, rope, wo })
    }
}

impl Block for GatedAttention {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let LayerHparams { n_head, n_head_kv, n_embd_head_k: d, .. } = self.shape;
        let both = self.q.forward(b, x)?;
        let n_tokens = b.graph[both].ne[1];
        let both = b.graph.reshape(both, [2 * d, n_head, n_tokens, 1])?;
        let nb = b.graph[both].nb;
        let heads = [d, n_head, n_tokens, 1];
        let q = b.graph.view(both, heads, [nb[1], nb[2], nb[3]], 0)?;
        let gate = b.graph.view(both, heads, [nb[1], nb[2], nb[3]], d * size_of::<f32>())?;
        let k = self.k.forward(b, x)?;
        let k = b.graph.reshape(k, [d, n_head_kv, n_tokens, 1])?;
        let v = self.v.forward(b, x)?;
        let v = b.graph.reshape(v, [d, n_head_kv, n_tokens, 1])?;
        let mut q = self.q_norm.forward(b, q)?;
        let mut k = self.k_norm.forward(b, k)?;
        if let Some(rope) = &self.rope {
            q = rope.forward(b, q)?;
            k = rope.forward(b, k)?;
        }
        let kq_scale = 1.0 / (d as f32).sqrt();
        let heads = Heads { q, k, v };
        let out =
            b.attend(&AttentionInput { il: self.il, heads, kq_scale, logit_softcap: 0.0, sinks: None })?;
        let gate = b.graph.cont(gate)?;
        let gate = b.graph.reshape(gate, [d * n_head, n_tokens, 1, 1])?;
        let gate = b.graph.unary(UnaryOp::Sigmoid, gate)?;
        let out = b.graph.mul(out, gate)?;
        let out = self.wo.forward(b, out)?;
        b.name(out, "attn_output", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        let shape =
            KvLayerShape { n_embd_k_gqa: self.shape.n_embd_k_gqa(), n_embd_v_gqa: self.shape.n_embd_v_gqa() };
        LayerMemory::Attention { shape, window: None }
    }

    fn key_rotation(&self) -> Option<KeyRotation<'_>> {
        let rope = self.rope.as_ref()?;
        Some(KeyRotation::new(rope, self.shape.n_embd_head_k, self.shape.n_head_kv))
    }
}
