//! The first block of version 7's layers. Answers to `build_rwkv7_time_mix`.

use quipu_graph::{TensorId, UnaryOp};

use super::rwkv_parts::{HeadNorm, matrix, part_of, plus, product, recur, row};
use super::{Bias, Linear};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};
use crate::weight::Weight;

/// `bias + second (first x)`, of low rank.
#[derive(Debug)]
struct Low {
    bias: Weight,
    first: Weight,
    second: Weight,
}

impl Low {
    fn load(
        loader: &mut Loader<'_>,
        il: usize,
        part: &str,
        n_embd: usize,
        rank: usize,
    ) -> Result<Low, Error> {
        let name = |number| format!("time_mix_{part}{number}");
        Ok(Low {
            bias: row(loader, il, &name(0), &[n_embd])?,
            first: matrix(loader, il, &name(1), &[n_embd, rank])?,
            second: matrix(loader, il, &name(2), &[rank, n_embd])?,
        })
    }

    /// Between the two matrices there may be a function.
    fn forward(&self, b: &mut Builder<'_>, x: TensorId, between: Option<UnaryOp>) -> Result<TensorId, Error> {
        let mut x = product(b, &self.first, x)?;
        if let Some(op) = between {
            x = b.graph.unary(op, x)?;
        }
        let x = product(b, &self.second, x)?;
        plus(b, x, &self.bias)
    }
}

/// The block.
#[derive(Debug)]
pub(crate) struct TimeMix7 {
    il: usize,
    head_size: usize,
    /// `[n_embd, 1, 1, 5]`, or 6 with a gate.
    lerps: Weight,
    decay: Low,
    rate: Low,
    /// How much of the first layer's values is taken; not in the first layer.
    first_values: Option<Low>,
    gate: Option<[Weight; 2]>,
    k_k: Weight,
    k_a: Weight,
    r_k: Weight,
    key: Linear,
    value: Linear,
    receptance: Linear,
    norm: Option<HeadNorm>,
    output: Linear,
}

impl TimeMix7 {
    /// The block of layer `il`: RWKV's own, or that of transformed models, which may do without gate and norm.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        is_own: bool,
    ) -> Result<TimeMix7, Error> {
        let (n_embd, head_size) = (hparams.n_embd, hparams.rwkv.head_size);
        let [n_decay, n_rate, n_values, n_gate] = hparams.rwkv.ranks;
        let mut gate = None;
        if is_own
            || loader.has(&block(il, "time_mix_g1.weight")) && loader.has(&block(il, "time_mix_g2.weight"))
        {
            let first = matrix(loader, il, "time_mix_g1", &[n_embd, n_gate])?;
            gate = Some([first, matrix(loader, il, "time_mix_g2", &[n_gate, n_embd])?]);
        }
        let norm = HeadNorm::optional(loader, n_embd, il)?;
        if is_own && norm.is_none() {
            return Err(HeadNorm::missing(n_embd, il));
        }
        let mut first_values = None;
        if il > 0 {
            first_values = Some(Low::load(loader, il, "v", n_embd, n_values)?);
        } else {
            // Files have them in the first layer too, where there is nothing to take.
            for part in ["v0", "v1", "v2"] {
                loader.ignore(&block(il, &format!("time_mix_{part}.weight")));
            }
        }
        let mut linear = |part: &str| {
            let name = block(il, &format!("time_mix_{part}"));
            Linear::load(loader, &name, [n_embd, n_embd], Bias::Never).map(Linear::unscaled)
        };
        Ok(TimeMix7 {
            il,
            head_size,
            key: linear("key")?,
            value: linear("value")?,
            receptance: linear("receptance")?,
            output: linear("output")?,
            lerps: row(loader, il, "time_mix_lerp_fused", &[n_embd, 1, 1, 5 + usize::from(gate.is_some())])?,
            decay: Low::load(loader, il, "w", n_embd, n_decay)?,
            rate: Low::load(loader, il, "a", n_embd, n_rate)?,
            first_values,
            gate,
            k_k: row(loader, il, "time_mix_k_k", &[n_embd])?,
            k_a: row(loader, il, "time_mix_k_a", &[n_embd])?,
            r_k: row(loader, il, "time_mix_r_k", &[n_embd])?,
            norm,
        })
    }

    /// Rows `[n_embd, n_seq_tokens, n_seqs]` and those one token earlier, to `[n_embd, n_tokens]`. `first_values` are set by the first layer.
    pub fn forward(
        &self,
        b: &mut Builder<'_>,
        x: TensorId,
        before: TensorId,
        first_values: &mut Option<TensorId>,
    ) -> Result<TensorId, Error> {
        let [n_embd, n_seq_tokens, n_seqs, _] = b.graph[x].ne;
        let (n_tokens, n_head) = (n_seq_tokens * n_seqs, n_embd / self.head_size);
        let change = b.graph.sub(before, x)?;
        let change = b.graph.repeat(change, [n_embd, n_seq_tokens, n_seqs, self.lerps.ne[3]])?;
        let lerps = b.weight(&self.lerps)?;
        let all = b.graph.mul(change, lerps)?;
        let all = b.graph.add(all, x)?;
        let mut part = |which| part_of(b, all, n_tokens, which);
        let [xr, xw, xk, xv, xa] = [part(0)?, part(1)?, part(2)?, part(3)?, part(4)?];
        let r = self.receptance.forward(b, xr)?;
        let w = self.decay.forward(b, xw, Some(UnaryOp::Tanh))?;
        let w = b.graph.unary(UnaryOp::Sigmoid, w)?;
        let w = b.graph.scale(w, -0.606_531, 0.0)?;
        let w = b.graph.unary(UnaryOp::Exp, w)?;
        let k = self.key.forward(b, xk)?;
        let mut v = self.value.forward(b, xv)?;
        match (&self.first_values, *first_values) {
            (Some(low), Some(first)) => {
                let share = low.forward(b, xv, None)?;
                let share = b.graph.unary(UnaryOp::Sigmoid, share)?;
                let missing = b.graph.sub(first, v)?;
                let taken = b.graph.mul(missing, share)?;
                v = b.graph.add(v, taken)?;
            }
            _ => *first_values = Some(v),
        }
        let mut gate = None;
        if let Some([first, second]) = &self.gate {
            let xg = part_of(b, all, n_tokens, 5)?;
            let g = product(b, first, xg)?;
            let g = b.graph.unary(UnaryOp::Sigmoid, g)?;
            gate = Some(product(b, second, g)?);
        }
        let a = self.rate.forward(b, xa, None)?;
        let a = b.graph.unary(UnaryOp::Sigmoid, a)?;
        let heads = [self.head_size, n_head, n_tokens, 1];
        let k_k = b.weight(&self.k_k)?;
        let kk = b.graph.mul(k, k_k)?;
        let kk = b.graph.reshape(kk, heads)?;
        let kk = b.graph.l2_norm(kk, 1e-12)?;
        let k_a = b.weight(&self.k_a)?;
        let ka = b.graph.mul(k, k_a)?;
        let rated = b.graph.mul(a, ka)?;
        let rated = b.graph.sub(rated, ka)?;
        let k = b.graph.add(k, rated)?;
        let r = b.graph.reshape(r, heads)?;
        let w = b.graph.reshape(w, heads)?;
        let k = b.graph.reshape(k, heads)?;
        let v = b.graph.reshape(v, heads)?;
        let a = b.graph.reshape(a, heads)?;
        let mut out = recur(b, self.il, |b, states| {
            let minus = b.graph.unary(UnaryOp::Neg, kk)?;
            let rated = b.graph.mul(kk, a)?;
            Ok(b.graph.rwkv_wkv7([r, w, k, v, minus, rated], states)?)
        })?;
        if let Some(norm) = &self.norm {
            out = norm.forward(b, out, self.head_size)?;
        }
        let rk = b.graph.mul(k, r)?;
        let r_k = b.weight(&self.r_k)?;
        let r_k = b.graph.reshape(r_k, [self.head_size, n_head, 1, 1])?;
        let rk = b.graph.mul(rk, r_k)?;
        let rk = b.graph.sum_rows(rk)?;
        let own = b.graph.mul(v, rk)?;
        let own = b.graph.reshape(own, [n_embd, n_tokens, 1, 1])?;
        let mut out = b.graph.add(out, own)?;
        if let Some(gate) = gate {
            out = b.graph.mul(out, gate)?;
        }
        self.output.forward(b, out)
    }
}
