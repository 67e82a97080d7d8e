//! Mamba: a convolution over the last tokens, then a state for each channel, whose steps depend on what comes in. Answers to
//! `build_mamba_layer`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{GluOp, SsmScan, TensorId, UnaryOp};
use quipu_kv_cache::{RecurrentShape, StatePart};

use super::{Bias, Block, Linear, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Ssm};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

const FLOAT: usize = size_of::<f32>();

/// A layer of Mamba.
#[derive(Debug)]
pub(crate) struct Mamba {
    il: usize,
    ssm: Ssm,
    input: Linear,
    conv: Conv,
    /// To steps of low rank, and what states take in and how they are read.
    x: Linear,
    /// Of steps, of what is taken in, of how it is read.
    norms: Option<[Norm; 3]>,
    dt: Linear,
    a: Weight,
    d: Weight,
    output: Linear,
}

/// The convolution that state space models begin with.
#[derive(Debug)]
pub(crate) struct Conv {
    il: usize,
    /// `[d_conv, n_channel]`.
    kernel: Weight,
    bias: Option<Weight>,
}

impl Conv {
    /// `ssm_conv1d` of layer `il`.
    pub fn load(loader: &mut Loader<'_>, il: usize, ne: [usize; 2], bias: Bias) -> Result<Conv, Error> {
        let name = block(il, "ssm_conv1d");
        let kernel = loader.require(&format!("{name}.weight"), &ne, Elementwise)?;
        Ok(Conv { il, kernel, bias: super::linear::load_bias(loader, &name, &ne[1..], bias)? })
    }

    /// What is kept of the last tokens.
    pub fn n_kept(&self) -> usize {
        (self.kernel.ne[0] - 1) * self.kernel.ne[1]
    }

    /// Convolved and bent: f32 `[n_channel, n_seq_tokens, n_seqs]` to the same. Takes the last tokens from the memory and puts the new ones
    /// there.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let both = join(b, self.il, [self.kernel.ne[0] - 1, self.kernel.ne[1]], x)?;
        let kernel = b.weight(&self.kernel)?;
        let mut x = b.graph.ssm_conv(both, kernel)?;
        if let Some(bias) = &self.bias {
            let bias = b.weight(bias)?;
            x = b.graph.add(x, bias)?;
        }
        Ok(b.graph.unary(UnaryOp::Silu, x)?)
    }
}

/// The inputs that are kept of a layer, `n_kept` of each of `n_channel` channels, and behind them the ubatch's, `[n_channel, n_seq_tokens,
/// n_seqs]`: `[n_kept + n_seq_tokens, n_channel, n_seqs]`. The last ones are kept now.
pub(super) fn join(
    b: &mut Builder<'_>,
    il: usize,
    [n_kept, n_channel]: [usize; 2],
    x: TensorId,
) -> Result<TensorId, Error> {
    let [_, n_seq_tokens, n_seqs, _] = b.graph[x].ne;
    let kept = b.load_state(il, StatePart::Inputs)?;
    let kept = b.graph.reshape(kept, [n_kept, n_channel, n_seqs, 1])?;
    let turned = b.graph.transpose(x);
    let both = b.graph.concat(kept, turned, 0)?;
    let nb = b.graph[both].nb;
    let last =
        b.graph.view(both, [n_kept, n_channel, n_seqs, 1], [nb[1], nb[2], nb[3]], n_seq_tokens * nb[0])?;
    b.store_state(il, StatePart::Inputs, last)?;
    Ok(both)
}

/// Columns `first..first + ne[0]`, as they lie in rows of `x` `[.., n_seq_tokens, n_seqs]`.
pub(crate) fn columns(b: &mut Builder<'_>, x: TensorId, first: usize, n: usize) -> Result<TensorId, Error> {
    let ([_, n_seq_tokens, n_seqs, _], nb) = (b.graph[x].ne, b.graph[x].nb);
    Ok(b.graph.view(x, [n, n_seq_tokens, n_seqs, 1], [nb[1], nb[2], nb[3]], first * FLOAT)?)
}

/// The same as `n` parts of equal size: `[size, n, n_seq_tokens, n_seqs]`.
pub(crate) fn parts(
    b: &mut Builder<'_>,
    x: TensorId,
    first: usize,
    [size, n]: [usize; 2],
) -> Result<TensorId, Error> {
    let ([_, n_seq_tokens, n_seqs, _], nb) = (b.graph[x].ne, b.graph[x].nb);
    Ok(b.graph.view(x, [size, n, n_seq_tokens, n_seqs], [size * FLOAT, nb[1], nb[2]], first * FLOAT)?)
}

/// Runs states through the ubatch: `scan` has everything but the states and their numbers. The results, contiguous and of the shape of
/// `scan.x`; the new states are stored.
pub(crate) fn scan(b: &mut Builder<'_>, il: usize, ssm: &Ssm, mut scan: SsmScan) -> Result<TensorId, Error> {
    let ne = b.graph[scan.x].ne;
    let [dim, n_head, n_seq_tokens, n_seqs] = ne;
    let (n, n_states) = (b.graph[scan.x].n_elements(), ssm.d_state * ssm.d_inner * n_seqs);
    let out = b.load_state_with(il, StatePart::State, |graph, states, ids| {
        let n_rows = graph[states].ne[1];
        scan.s = graph.reshape(states, [ssm.d_state, dim, n_head, n_rows])?;
        scan.ids = ids;
        Ok(graph.ssm_scan(&scan)?)
    })?;
    let row = n_states * FLOAT;
    let states = b.graph.view(out, [n_states, 1, 1, 1], [row, row, row], n * FLOAT)?;
    b.store_state(il, StatePart::State, states)?;
    let row = dim * FLOAT;
    Ok(b.graph.view(out, ne, [row, row * n_head, row * n_head * n_seq_tokens], 0)?)
}

impl Mamba {
    /// The layer; its steps are normed by weights of their own with `has_norms`, or without weights where the model says so.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        has_norms: bool,
    ) -> Result<Mamba, Error> {
        let (ssm, n_embd) = (hparams.ssm, hparams.n_embd);
        let Ssm { d_conv, d_inner, d_state, dt_rank, .. } = ssm;
        let name = |name: &str| block(il, name);
        let mut norms = None;
        if has_norms {
            let mut norm = |part: &str, n| Norm::load(loader, hparams, &name(part), &[n], Bias::Never);
            norms = Some([
                norm("ssm_dt_norm", dt_rank)?,
                norm("ssm_b_norm", d_state)?,
                norm("ssm_c_norm", d_state)?,
            ]);
        } else if hparams.norms_ssm {
            norms = Some([(); 3].map(|()| Norm::weightless(hparams)));
        }
        let x_ne = [d_inner, dt_rank + 2 * d_state];
        Ok(Mamba {
            il,
            ssm,
            input: Linear::load(loader, &name("ssm_in"), [n_embd, 2 * d_inner], Bias::Never)?,
            conv: Conv::load(loader, il, [d_conv, d_inner], Bias::Required)?,
            x: Linear::load(loader, &name("ssm_x"), x_ne, Bias::Never)?.unscaled(),
            norms,
            dt: Linear::load(loader, &name("ssm_dt"), [dt_rank, d_inner], Bias::Required)?.unscaled(),
            a: loader.require(&name("ssm_a"), &[d_state, d_inner], Elementwise)?,
            d: loader.require(&name("ssm_d"), &[d_inner], Elementwise)?,
            output: Linear::load(loader, &name("ssm_out"), [d_inner, n_embd], Bias::Never)?,
        })
    }
}

impl Block for Mamba {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Ssm { d_inner, d_state, dt_rank, .. } = self.ssm;
        let x = b.by_sequence(x)?;
        let xz = self.input.forward(b, x)?;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[xz].ne;
        let x = columns(b, xz, 0, d_inner)?;
        let z = columns(b, xz, d_inner, d_inner)?;
        let x = self.conv.forward(b, x)?;
        let low = self.x.forward(b, x)?;
        let mut dt = columns(b, low, 0, dt_rank)?;
        let mut taken = parts(b, low, dt_rank, [d_state, 1])?;
        let mut read = parts(b, low, dt_rank + d_state, [d_state, 1])?;
        if let Some([of_dt, of_taken, of_read]) = &self.norms {
            dt = of_dt.forward(b, dt)?;
            taken = of_taken.forward(b, taken)?;
            read = of_read.forward(b, read)?;
        }
        let dt = self.dt.forward(b, dt)?;
        let heads = b.graph.reshape(x, [1, d_inner, n_seq_tokens, n_seqs])?;
        let a = b.weight(&self.a)?;
        let y = scan(b, self.il, &self.ssm, SsmScan { s: x, x: heads, dt, a, b: taken, c: read, ids: x })?;
        let y = b.graph.reshape(y, [d_inner, n_seq_tokens, n_seqs, 1])?;
        let d = b.weight(&self.d)?;
        let past = b.graph.mul(x, d)?;
        let y = b.graph.add(y, past)?;
        let z = b.graph.cont(z)?;
        let y = b.graph.glu(GluOp::Swiglu, z, y)?;
        let out = self.output.forward(b, y)?;
        b.in_a_row(out)
    }

    fn memory(&self) -> LayerMemory {
        let n_embd_s = self.ssm.d_state * self.ssm.d_inner;
        LayerMemory::Recurrent(RecurrentShape { n_embd_r: self.conv.n_kept(), n_embd_s })
    }
}
