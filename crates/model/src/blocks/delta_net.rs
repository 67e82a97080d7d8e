//! The gated delta net: a convolution over queries, keys and values, then a square state for each head that learns what it answers wrongly.
//! Answers to `build_layer_attn_linear` and to `src/models/delta-net-base.cpp`, by the fused op.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{TensorId, UnaryOp};
use quipu_kv_cache::{RecurrentShape, StatePart};

use super::mamba::{join, parts};
use super::{Bias, Block, Linear, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Ssm};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

const FLOAT: usize = size_of::<f32>();

/// Which of the two families' files and graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeltaNetKind {
    /// Rates and steps of each key head come together; each key head serves neighbouring value heads; factors are left out.
    Qwen3Next,
    /// Rates and steps apart; key heads take turns.
    Qwen35,
}

/// Projections to rates and steps.
#[derive(Debug)]
enum Rates {
    Together(Box<Linear>),
    Apart { beta: Box<Linear>, alpha: Box<Linear> },
}

/// A layer of linear attention.
#[derive(Debug)]
pub(crate) struct DeltaNet {
    il: usize,
    ssm: Ssm,
    eps: f32,
    kind: DeltaNetKind,
    qkv: Linear,
    gate: Linear,
    rates: Rates,
    kernel: Weight,
    dt_bias: Weight,
    a: Weight,
    norm: Norm,
    output: Linear,
}

impl DeltaNet {
    /// The block of layer `il`.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        kind: DeltaNetKind,
    ) -> Result<DeltaNet, Error> {
        let (ssm, n_embd) = (hparams.ssm, hparams.n_embd);
        let Ssm { d_conv, d_inner, d_state, dt_rank: n_head, .. } = ssm;
        let name = |name: &str| block(il, name);
        let mut linear = |part: &str, n_in, n_out| {
            let linear = Linear::load(loader, &name(part), [n_in, n_out], Bias::Never)?;
            Ok::<_, Error>(if kind == DeltaNetKind::Qwen35 { linear } else { linear.unscaled() })
        };
        let qkv = linear("attn_qkv", n_embd, ssm.n_conv())?;
        let gate = linear("attn_gate", n_embd, d_inner)?;
        let rates = match kind {
            DeltaNetKind::Qwen3Next => Rates::Together(Box::new(linear("ssm_ba", n_embd, 2 * n_head)?)),
            DeltaNetKind::Qwen35 => Rates::Apart {
                beta: Box::new(linear("ssm_beta", n_embd, n_head)?),
                alpha: Box::new(linear("ssm_alpha", n_embd, n_head)?),
            },
        };
        let output = linear("ssm_out", d_inner, n_embd)?;
        // The older form of the first two; where both are there it is left out.
        for part in ["ssm_in.weight", "ssm_in.scale", "ssm_in.input_scale"] {
            loader.ignore(&name(part));
        }
        Ok(DeltaNet {
            il,
            ssm,
            eps: hparams.norm_eps,
            kind,
            qkv,
            gate,
            rates,
            kernel: loader.require(&name("ssm_conv1d.weight"), &[d_conv, ssm.n_conv()], Elementwise)?,
            dt_bias: loader.require(&name("ssm_dt.bias"), &[n_head], Elementwise)?,
            a: loader.require(&name("ssm_a"), &[n_head], Elementwise)?,
            norm: Norm::load(loader, hparams, &name("ssm_norm"), &[d_state], Bias::Never)?,
            output,
        })
    }

    /// Rates `[1, n_head, n_seq_tokens, n_seqs]`, and steps `[n_head, n_seq_tokens, n_seqs]` without their bias.
    fn rates(&self, b: &mut Builder<'_>, x: TensorId) -> Result<[TensorId; 2], Error> {
        let Ssm { dt_rank: n_head, n_group, .. } = self.ssm;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[x].ne;
        let (beta, alpha) = match &self.rates {
            Rates::Apart { beta, alpha } => (beta.forward(b, x)?, alpha.forward(b, x)?),
            Rates::Together(both) => {
                let n = n_head / n_group;
                let both = both.forward(b, x)?;
                let both = b.graph.reshape(both, [2 * n, n_group, n_seq_tokens, n_seqs])?;
                let nb = b.graph[both].nb;
                let half = [n, n_group, n_seq_tokens, n_seqs];
                let beta = b.graph.view(both, half, [nb[1], nb[2], nb[3]], 0)?;
                let alpha = b.graph.view(both, half, [nb[1], nb[2], nb[3]], n * FLOAT)?;
                (b.graph.cont(beta)?, b.graph.cont(alpha)?)
            }
        };
        let beta = b.graph.reshape(beta, [1, n_head, n_seq_tokens, n_seqs])?;
        let beta = b.graph.unary(UnaryOp::Sigmoid, beta)?;
        Ok([beta, b.graph.reshape(alpha, [n_head, n_seq_tokens, n_seqs, 1])?])
    }

    /// Queries or keys of length 1, for all value heads where neighbours share them; where heads take turns, the op repeats them.
    fn unit(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let x = b.graph.l2_norm(x, self.eps)?;
        let [size, n, n_seq_tokens, n_seqs] = b.graph[x].ne;
        let n_head = self.ssm.dt_rank;
        if self.kind == DeltaNetKind::Qwen35 || n == n_head {
            return Ok(x);
        }
        let x = b.graph.reshape(x, [size, 1, n, n_seq_tokens * n_seqs])?;
        let x = b.graph.repeat(x, [size, n_head / n, n, n_seq_tokens * n_seqs])?;
        Ok(b.graph.reshape(x, [size, n_head, n_seq_tokens, n_seqs])?)
    }
}

/// What heads read from their states, `[size, n_head, n_seq_tokens, n_seqs]`, once these have learnt; `[q, k, v, decays, beta]` have four
/// dimensions.
pub(super) fn learn(
    b: &mut Builder<'_>,
    il: usize,
    ssm: &Ssm,
    inputs: [TensorId; 5],
) -> Result<TensorId, Error> {
    let Ssm { d_inner, d_state: size, dt_rank: n_head, .. } = *ssm;
    let [_, _, n_seq_tokens, n_seqs] = b.graph[inputs[2]].ne;
    let state = b.load_state(il, StatePart::State)?;
    let state = b.graph.reshape(state, [size, size, n_head, n_seqs])?;
    let out = b.graph.gated_delta_net(inputs, state, 1)?;
    let (n_tokens, n_states) = (n_seq_tokens * n_seqs, size * size * n_head * n_seqs);
    let row = n_states * FLOAT;
    let new = b.graph.view(out, [n_states, 1, 1, 1], [row, row, row], d_inner * n_tokens * FLOAT)?;
    b.store_state(il, StatePart::State, new)?;
    let row = size * FLOAT;
    let heads = [size, n_head, n_seq_tokens, n_seqs];
    Ok(b.graph.view(out, heads, [row, row * n_head, row * n_head * n_seq_tokens], 0)?)
}

/// What heads have read, under a norm and times the gate behind its function, through the last matrix: a row for each token.
pub(super) fn gated(
    b: &mut Builder<'_>,
    y: TensorId,
    norm: &Norm,
    (gate, function): (TensorId, UnaryOp),
    output: &Linear,
) -> Result<TensorId, Error> {
    let heads = b.graph[y].ne;
    let y = norm.forward(b, y)?;
    let gate = b.graph.reshape(gate, heads)?;
    let gate = b.graph.unary(function, gate)?;
    let y = b.graph.mul(y, gate)?;
    let [size, n_head, n_seq_tokens, n_seqs] = heads;
    let y = b.graph.reshape(y, [size * n_head, n_seq_tokens, n_seqs, 1])?;
    let out = output.forward(b, y)?;
    b.in_a_row(out)
}

/// The last inputs of the convolution, and a square state for each head.
pub(super) fn memory(ssm: &Ssm) -> LayerMemory {
    let n_embd_r = (ssm.d_conv - 1) * ssm.n_conv();
    LayerMemory::Recurrent(RecurrentShape { n_embd_r, n_embd_s: ssm.d_state * ssm.d_inner })
}

impl Block for DeltaNet {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Ssm { d_conv, d_state: size, dt_rank: n_head, n_group, .. } = self.ssm;
        let x = b.by_sequence(x)?;
        let qkv = self.qkv.forward(b, x)?;
        let z = self.gate.forward(b, x)?;
        let [beta, alpha] = self.rates(b, x)?;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[x].ne;
        let dt_bias = b.weight(&self.dt_bias)?;
        let steps = b.graph.add(alpha, dt_bias)?;
        let steps = b.graph.unary(UnaryOp::Softplus, steps)?;
        let a = b.weight(&self.a)?;
        let decays = b.graph.mul(steps, a)?;
        let decays = b.graph.reshape(decays, [1, n_head, n_seq_tokens, n_seqs])?;
        let both = join(b, self.il, [d_conv - 1, self.ssm.n_conv()], qkv)?;
        let kernel = b.weight(&self.kernel)?;
        let convolved = b.graph.ssm_conv(both, kernel)?;
        let convolved = b.graph.unary(UnaryOp::Silu, convolved)?;
        let q = parts(b, convolved, 0, [size, n_group])?;
        let k = parts(b, convolved, size * n_group, [size, n_group])?;
        let v = parts(b, convolved, 2 * size * n_group, [size, n_head])?;
        let (q, k) = (self.unit(b, q)?, self.unit(b, k)?);
        let y = learn(b, self.il, &self.ssm, [q, k, v, decays, beta])?;
        let out = gated(b, y, &self.norm, (z, UnaryOp::Silu), &self.output)?;
        b.name(out, "linear_attn_out", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        memory(&self.ssm)
    }
}
