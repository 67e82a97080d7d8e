//! Mamba 2: as Mamba, with heads of channels that decay alike, and everything from one projection. Answers to `build_mamba2_layer`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{GluOp, SsmScan, TensorId};
use quipu_kv_cache::RecurrentShape;

use super::mamba::{Conv, columns, parts, scan};
use super::{Bias, Block, Linear, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Ssm};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// A layer of Mamba 2.
#[derive(Debug)]
pub(crate) struct Mamba2 {
    il: usize,
    ssm: Ssm,
    /// To gates, channels, what states take in and how they are read, and steps.
    input: Linear,
    conv: Conv,
    dt_bias: Weight,
    a: Weight,
    d: Weight,
    /// Of each group.
    norm: Option<Norm>,
    output: Linear,
}

impl Mamba2 {
    /// The layer. Its norm may be absent, where `norm_is_optional`.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        norm_is_optional: bool,
    ) -> Result<Mamba2, Error> {
        let (ssm, n_embd) = (hparams.ssm, hparams.n_embd);
        let Ssm { d_conv, d_inner, dt_rank: n_head, n_group, .. } = ssm;
        let name = |name: &str| block(il, name);
        let norm_ne = [d_inner / n_group, n_group];
        let norm = Norm::optional(loader, hparams, &name("ssm_norm"), &norm_ne, Bias::Never)?;
        if norm.is_none() && !norm_is_optional {
            return Err(Loader::missing(&name("ssm_norm.weight"), &norm_ne, &[]));
        }
        let input_ne = [n_embd, d_inner + ssm.n_conv() + n_head];
        Ok(Mamba2 {
            il,
            ssm,
            input: Linear::load(loader, &name("ssm_in"), input_ne, Bias::Never)?,
            conv: Conv::load(loader, il, [d_conv, ssm.n_conv()], Bias::Optional)?,
            dt_bias: loader.require(&name("ssm_dt.bias"), &[n_head], Elementwise)?,
            a: loader.require(&name("ssm_a"), &[1, n_head], Elementwise)?,
            d: loader.require(&name("ssm_d"), &[1, n_head], Elementwise)?,
            norm,
            output: Linear::load(loader, &name("ssm_out"), [d_inner, n_embd], Bias::Never)?,
        })
    }

    /// What it keeps of a sequence.
    pub fn state(&self) -> RecurrentShape {
        RecurrentShape { n_embd_r: self.conv.n_kept(), n_embd_s: self.ssm.d_state * self.ssm.d_inner }
    }
}

impl Block for Mamba2 {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Ssm { d_inner, d_state, dt_rank: n_head, n_group, .. } = self.ssm;
        let (head_size, n_conv) = (self.ssm.head_size(), self.ssm.n_conv());
        let x = b.by_sequence(x)?;
        let all = self.input.forward(b, x)?;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[all].ne;
        let z = parts(b, all, 0, [head_size, n_head])?;
        let x = columns(b, all, d_inner, n_conv)?;
        let dt = columns(b, all, d_inner + n_conv, n_head)?;
        let convolved = self.conv.forward(b, x)?;
        let x = parts(b, convolved, 0, [head_size, n_head])?;
        let taken = parts(b, convolved, d_inner, [d_state, n_group])?;
        let read = parts(b, convolved, d_inner + n_group * d_state, [d_state, n_group])?;
        let dt = b.graph.cont(dt)?;
        let dt_bias = b.weight(&self.dt_bias)?;
        let dt = b.graph.add(dt, dt_bias)?;
        let a = b.weight(&self.a)?;
        let y = scan(b, self.il, &self.ssm, SsmScan { s: x, x, dt, a, b: taken, c: read, ids: x })?;
        let d = b.weight(&self.d)?;
        let past = b.graph.mul(x, d)?;
        let y = b.graph.add(y, past)?;
        let z = b.graph.cont(z)?;
        let mut y = b.graph.glu(GluOp::Swiglu, z, y)?;
        if let Some(norm) = &self.norm {
            y = b.graph.reshape(y, [d_inner / n_group, n_group, n_seq_tokens, n_seqs])?;
            y = norm.forward(b, y)?;
        }
        let y = b.graph.reshape(y, [d_inner, n_seq_tokens, n_seqs, 1])?;
        let out = self.output.forward(b, y)?;
        let out = b.in_a_row(out)?;
        b.name(out, "mamba_out", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        LayerMemory::Recurrent(self.state())
    }
}
