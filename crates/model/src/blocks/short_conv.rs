//! Short convolutions between two gates, in place of attention. Answers to `build_shortconv_block` of `src/models/lfm2.cpp`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::TensorId;
use quipu_kv_cache::RecurrentShape;

use super::mamba::{columns, join};
use super::{Bias, Block, Linear};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// A gated convolution over the last tokens.
#[derive(Debug)]
pub(crate) struct ShortConv {
    il: usize,
    /// To what gates before it, what gates behind it, and what is convolved.
    input: Linear,
    kernel: Weight,
    output: Linear,
}

impl ShortConv {
    /// The block of layer `il`.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<ShortConv, Error> {
        let (n_embd, n_conv) = (hparams.n_embd, hparams.n_short_conv);
        let name = |name: &str| block(il, &format!("shortconv.{name}"));
        Ok(ShortConv {
            il,
            input: Linear::load(loader, &name("in_proj"), [n_embd, 3 * n_embd], Bias::Never)?.unscaled(),
            kernel: loader.require(&name("conv.weight"), &[n_conv, n_embd], Elementwise)?,
            output: Linear::load(loader, &name("out_proj"), [n_embd, n_embd], Bias::Never)?.unscaled(),
        })
    }
}

impl Block for ShortConv {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let [n_conv, n_embd, ..] = self.kernel.ne;
        let x = b.by_sequence(x)?;
        let all = self.input.forward(b, x)?;
        let before = columns(b, all, 0, n_embd)?;
        let behind = columns(b, all, n_embd, n_embd)?;
        let x = columns(b, all, 2 * n_embd, n_embd)?;
        let x = b.graph.mul(before, x)?;
        let both = join(b, self.il, [n_conv - 1, n_embd], x)?;
        let kernel = b.weight(&self.kernel)?;
        let convolved = b.graph.ssm_conv(both, kernel)?;
        let y = b.graph.mul(behind, convolved)?;
        let out = self.output.forward(b, y)?;
        b.in_a_row(out)
    }

    fn memory(&self) -> LayerMemory {
        let [n_conv, n_embd, ..] = self.kernel.ne;
        LayerMemory::Recurrent(RecurrentShape { n_embd_r: n_embd * (n_conv - 1), n_embd_s: 0 })
    }
}
