//! The first block of version 6's layers, and of what was made of Qwen 2 by it. Answers to `build_rwkv6_time_mix`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{TensorId, UnaryOp};

use super::rwkv_parts::{HeadNorm, matrix, mix, part_of, plus, product, recur, row};
use super::{Bias, Linear};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};
use crate::weight::Weight;

/// Parts that are mixed each in its own way: decay, keys, values, receptances, gate.
const PARTS: [&str; 5] = ["w", "k", "v", "r", "g"];

/// How each part is mixed, besides what depends on the token.
#[derive(Debug)]
enum Lerps {
    /// `[n_embd, 1, 1, 5]`.
    Fused(Weight),
    Apart(Box<[Weight; 5]>),
}

/// The block.
#[derive(Debug)]
pub(crate) struct TimeMix6 {
    il: usize,
    head_size: usize,
    n_head_kv: usize,
    lerp_x: Weight,
    lerps: Lerps,
    w1: Weight,
    w2: Weight,
    /// A bonus for the token itself; without one states are gated (`is_qrwkv`).
    first: Option<Weight>,
    decay: Weight,
    decay_w1: Weight,
    decay_w2: Weight,
    key: Linear,
    value: Linear,
    receptance: Linear,
    gate: Linear,
    norm: Option<HeadNorm>,
    output: Linear,
}

impl TimeMix6 {
    /// The block of layer `il`: RWKV's own, or that of transformed models.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        is_own: bool,
    ) -> Result<TimeMix6, Error> {
        let (n_embd, head_size) = (hparams.n_embd, hparams.rwkv.head_size);
        let [n_mix, n_decay, ..] = hparams.rwkv.ranks;
        let n_head = n_embd / head_size;
        let n_head_kv = if is_own { 0 } else { hparams.layers[il].n_head_kv };
        let n_head_kv = if n_head_kv == 0 { n_head } else { n_head_kv };
        if !n_head.is_multiple_of(n_head_kv) {
            let found = format!("{n_head_kv} for {n_head} heads");
            return Err(hparams.error("attention.head_count_kv", &found, "a divisor of the head count"));
        }
        let fused = block(il, "time_mix_lerp_fused.weight");
        let lerps = if !is_own || loader.has(&fused) {
            Lerps::Fused(loader.require(&fused, &[n_embd, 1, 1, 5], Elementwise)?)
        } else {
            let mut lerp = |part: &str| row(loader, il, &format!("time_mix_lerp_{part}"), &[n_embd]);
            let [w, k, v, r, g] = PARTS;
            Lerps::Apart(Box::new([lerp(w)?, lerp(k)?, lerp(v)?, lerp(r)?, lerp(g)?]))
        };
        let first_name = block(il, "time_mix_first.weight");
        let first = loader.optional(&first_name, &[head_size, n_head], Elementwise)?;
        let norm = HeadNorm::optional(loader, n_embd, il)?;
        if is_own && first.is_none() {
            return Err(Loader::missing(&first_name, &[head_size, n_head], &[]));
        }
        if first.is_some() && norm.is_none() {
            return Err(HeadNorm::missing(n_embd, il));
        }
        let n_kv = n_head_kv * head_size;
        let bias = if is_own { Bias::Never } else { Bias::Optional };
        let mut linear = |part: &str, n: usize, bias| {
            Linear::load(loader, &block(il, &format!("time_mix_{part}")), [n_embd, n], bias)
                .map(Linear::unscaled)
        };
        Ok(TimeMix6 {
            il,
            head_size,
            n_head_kv,
            key: linear("key", n_kv, bias)?,
            value: linear("value", n_kv, bias)?,
            receptance: linear("receptance", n_embd, bias)?,
            gate: linear("gate", n_embd, Bias::Never)?,
            output: linear("output", n_embd, Bias::Never)?,
            lerp_x: row(loader, il, "time_mix_lerp_x", &[n_embd])?,
            lerps,
            w1: matrix(loader, il, "time_mix_w1", &[n_embd, n_mix * 5])?,
            w2: matrix(loader, il, "time_mix_w2", &[n_mix, n_embd, 5])?,
            first,
            decay: row(loader, il, "time_mix_decay", &[n_embd])?,
            decay_w1: matrix(loader, il, "time_mix_decay_w1", &[n_embd, n_decay])?,
            decay_w2: matrix(loader, il, "time_mix_decay_w2", &[n_decay, n_embd])?,
            norm,
        })
    }

    /// Rows `[n_embd, n_seq_tokens, n_seqs]` and those one token earlier, to `[n_embd, n_tokens]`.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId, before: TensorId) -> Result<TensorId, Error> {
        let change = b.graph.sub(before, x)?;
        let (change, x) = (b.in_a_row(change)?, b.in_a_row(x)?);
        let [n_embd, n_tokens, ..] = b.graph[x].ne;
        let n_head = n_embd / self.head_size;
        let [xw, xk, xv, xr, xg] = self.mixes(b, x, change)?;
        let r = self.receptance.forward(b, xr)?;
        let k = self.key.forward(b, xk)?;
        let v = self.value.forward(b, xv)?;
        let g = self.gate.forward(b, xg)?;
        let bent = if self.first.is_some() { UnaryOp::Silu } else { UnaryOp::Sigmoid };
        let g = b.graph.unary(bent, g)?;
        let heads = [self.head_size, n_head, n_tokens, 1];
        let r = b.graph.reshape(r, heads)?;
        let mut k = self.repeated(b, k, heads)?;
        let v = self.repeated(b, v, heads)?;
        let w = product(b, &self.decay_w1, xw)?;
        let w = b.graph.unary(UnaryOp::Tanh, w)?;
        let w = product(b, &self.decay_w2, w)?;
        let w = plus(b, w, &self.decay)?;
        let w = b.graph.unary(UnaryOp::Exp, w)?;
        let w = b.graph.unary(UnaryOp::Neg, w)?;
        let w = b.graph.unary(UnaryOp::Exp, w)?;
        let w = b.graph.reshape(w, heads)?;
        if self.first.is_none() {
            let kept = b.graph.mul(k, w)?;
            k = b.graph.sub(k, kept)?;
        }
        let mut out = recur(b, self.il, |b, states| {
            let Some(first) = &self.first else {
                let scale = (self.head_size as f32).powf(-0.5);
                return Ok(b.graph.gated_linear_attn([k, v, r, w], states, scale)?);
            };
            let first = b.weight(first)?;
            Ok(b.graph.rwkv_wkv6([k, v, r, first, w], states)?)
        })?;
        if let Some(norm) = self.norm.as_ref().filter(|_| self.first.is_some()) {
            out = norm.forward(b, out, self.head_size)?;
        }
        let out = b.graph.mul(out, g)?;
        self.output.forward(b, out)
    }

    /// The parts' mixes, each `[n_embd, n_tokens]`.
    fn mixes(&self, b: &mut Builder<'_>, x: TensorId, change: TensorId) -> Result<[TensorId; 5], Error> {
        let [n_embd, n_tokens, ..] = b.graph[x].ne;
        let all = mix(b, x, change, &self.lerp_x)?;
        let all = product(b, &self.w1, all)?;
        let all = b.graph.unary(UnaryOp::Tanh, all)?;
        let n_mix = self.w2.ne[0];
        let all = b.graph.reshape(all, [n_mix, 1, 5, n_tokens])?;
        let all = b.graph.permute(all, [0, 1, 3, 2])?;
        let all = b.graph.cont(all)?;
        let w2 = b.weight(&self.w2)?;
        let w2 = b.graph.reshape(w2, [n_mix, n_embd, 1, 5])?;
        let all = b.graph.mul_mat(w2, all)?;
        match &self.lerps {
            Lerps::Fused(lerps) => {
                let change = b.graph.reshape(change, [n_embd, 1, n_tokens, 1])?;
                let x = b.graph.reshape(x, [n_embd, 1, n_tokens, 1])?;
                let all = plus(b, all, lerps)?;
                let all = b.graph.mul(all, change)?;
                let all = b.graph.add(all, x)?;
                let mut part = |which| part_of(b, all, n_tokens, which);
                Ok([part(0)?, part(1)?, part(2)?, part(3)?, part(4)?])
            }
            Lerps::Apart(lerps) => {
                let mut part = |which: usize| {
                    let part = part_of(b, all, n_tokens, which)?;
                    let part = plus(b, part, &lerps[which])?;
                    let part = b.graph.mul(part, change)?;
                    Ok::<_, Error>(b.graph.add(part, x)?)
                };
                Ok([part(0)?, part(1)?, part(2)?, part(3)?, part(4)?])
            }
        }
    }

    /// Keys or values of fewer heads, for all heads.
    fn repeated(&self, b: &mut Builder<'_>, x: TensorId, heads: [usize; 4]) -> Result<TensorId, Error> {
        let [size, n_head, n_tokens, _] = heads;
        if self.n_head_kv == n_head {
            return Ok(b.graph.reshape(x, heads)?);
        }
        let x = b.graph.reshape(x, [size, 1, self.n_head_kv, n_tokens])?;
        let x = b.graph.repeat(x, [size, n_head / self.n_head_kv, self.n_head_kv, n_tokens])?;
        Ok(b.graph.reshape(x, heads)?)
    }
}
