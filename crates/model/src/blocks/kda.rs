//! Kimi's delta attention: a delta net whose states decay element by element. Queries, keys and values are projected and convolved
//! apart; decays and the gate on the result come through narrow matrices. Answers to the recurrent half of `src/models/kimi-linear.cpp`,
//! by the fused op.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{TensorId, UnaryOp};

use super::mamba::join;
use super::{Bias, Block, Linear, Norm, delta_net};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Ssm};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// A layer of linear attention. Its heads are those of [`Ssm`]: as many for queries and keys as for values, one size for all.
#[derive(Debug)]
pub(crate) struct Kda {
    il: usize,
    ssm: Ssm,
    eps: f32,
    /// To queries, keys and values, and the kernels these are convolved with.
    inputs: [(Linear, Weight); 3],
    /// To decays, one matrix behind the other.
    decays: [Linear; 2],
    dt_bias: Weight,
    a: Weight,
    beta: Linear,
    /// To the gate, one matrix behind the other.
    gate: [Linear; 2],
    norm: Norm,
    output: Linear,
}

impl Kda {
    /// The block of layer `il`.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<Kda, Error> {
        let (ssm, n_embd) = (hparams.ssm, hparams.n_embd);
        let Ssm { d_conv, d_inner, d_state: size, dt_rank: n_head, .. } = ssm;
        let name = |name: &str| block(il, name);
        // Nothing of what may stand beside the matrices is used.
        let linear = |loader: &mut Loader<'_>, part: &str, ne, bias| {
            Linear::load(loader, &name(part), ne, bias).map(Linear::unscaled)
        };
        let input = |loader: &mut Loader<'_>, letter: &str| {
            let matrix = linear(loader, &format!("attn_{letter}"), [n_embd, d_inner], Bias::Unused)?;
            let kernel = name(&format!("ssm_conv1d_{letter}.weight"));
            Ok::<_, Error>((matrix, loader.require(&kernel, &[d_conv, 1, d_inner], Elementwise)?))
        };
        let through = |loader: &mut Loader<'_>, letter: &str| {
            let first = linear(loader, &format!("ssm_{letter}_a"), [n_embd, size], Bias::Never)?;
            let second = linear(loader, &format!("ssm_{letter}_b"), [size, d_inner], Bias::Never)?;
            Ok::<_, Error>([first, second])
        };
        Ok(Kda {
            il,
            ssm,
            eps: hparams.norm_eps,
            inputs: [input(loader, "q")?, input(loader, "k")?, input(loader, "v")?],
            decays: through(loader, "f")?,
            dt_bias: loader.require(&name("ssm_dt.bias"), &[d_inner], Elementwise)?,
            a: loader.require(&name("ssm_a"), &[1, n_head], Elementwise)?,
            beta: linear(loader, "ssm_beta", [n_embd, n_head], Bias::Never)?,
            gate: through(loader, "g")?,
            norm: Norm::load(loader, hparams, &name("ssm_norm"), &[size], Bias::Never)?,
            output: linear(loader, "attn_output", [d_inner, n_embd], Bias::Never)?,
        })
    }

    /// Queries, keys and values behind their convolutions, each `[size, n_head, n_seq_tokens, n_seqs]`.
    fn convolved(&self, b: &mut Builder<'_>, x: TensorId) -> Result<[TensorId; 3], Error> {
        let Ssm { d_conv, d_inner, d_state: size, dt_rank: n_head, .. } = self.ssm;
        let [(q, _), (k, _), (v, _)] = &self.inputs;
        let (q, k, v) = (q.forward(b, x)?, k.forward(b, x)?, v.forward(b, x)?);
        let [_, n_seq_tokens, n_seqs, _] = b.graph[q].ne;
        let all = b.graph.concat(q, k, 0)?;
        let all = b.graph.concat(all, v, 0)?;
        let both = join(b, self.il, [d_conv - 1, self.ssm.n_conv()], all)?;
        let ([n_columns, ..], nb) = (b.graph[both].ne, b.graph[both].nb);
        let mut parts = [q, k, v];
        for (i, (part, (_, kernel))) in parts.iter_mut().zip(&self.inputs).enumerate() {
            let ne = [n_columns, d_inner, n_seqs, 1];
            let columns = b.graph.view(both, ne, [nb[1], nb[2], nb[3]], i * d_inner * nb[1])?;
            let kernel = b.weight(kernel)?;
            let kernel = b.graph.reshape(kernel, [d_conv, d_inner, 1, 1])?;
            let convolved = b.graph.ssm_conv(columns, kernel)?;
            let convolved = b.graph.unary(UnaryOp::Silu, convolved)?;
            *part = b.graph.reshape(convolved, [size, n_head, n_seq_tokens, n_seqs])?;
        }
        Ok(parts)
    }

    /// Decays of each element of a key, in their logarithm: `[size, n_head, n_seq_tokens, n_seqs]`.
    fn decays(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Ssm { d_state: size, dt_rank: n_head, .. } = self.ssm;
        let steps = through(b, &self.decays, x)?;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[steps].ne;
        let dt_bias = b.weight(&self.dt_bias)?;
        let steps = b.graph.add(steps, dt_bias)?;
        let steps = b.graph.unary(UnaryOp::Softplus, steps)?;
        let steps = b.graph.reshape(steps, [size, n_head, n_seq_tokens, n_seqs])?;
        let a = b.weight(&self.a)?;
        Ok(b.graph.mul(steps, a)?)
    }
}

/// `x` through one matrix behind the other.
fn through(b: &mut Builder<'_>, [first, second]: &[Linear; 2], x: TensorId) -> Result<TensorId, Error> {
    let narrow = first.forward(b, x)?;
    second.forward(b, narrow)
}

impl Block for Kda {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let n_head = self.ssm.dt_rank;
        let x = b.by_sequence(x)?;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[x].ne;
        let [q, k, v] = self.convolved(b, x)?;
        let decays = self.decays(b, x)?;
        let beta = self.beta.forward(b, x)?;
        let beta = b.graph.reshape(beta, [1, n_head, n_seq_tokens, n_seqs])?;
        let beta = b.graph.unary(UnaryOp::Sigmoid, beta)?;
        let q = b.graph.l2_norm(q, self.eps)?;
        let k = b.graph.l2_norm(k, self.eps)?;
        let y = delta_net::learn(b, self.il, &self.ssm, [q, k, v, decays, beta])?;
        let gate = through(b, &self.gate, x)?;
        let out = delta_net::gated(b, y, &self.norm, (gate, UnaryOp::Sigmoid), &self.output)?;
        b.name(out, "kda_out", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        delta_net::memory(&self.ssm)
    }
}
