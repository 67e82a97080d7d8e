//! A dense network beside experts.

use quipu_graph::TensorId;

use super::{Block, Ffn, FfnSpec, Moe, MoeSpec};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};

/// Experts, and perhaps a dense network: their sum by the root of two.
#[derive(Debug)]
pub(crate) struct Beside {
    dense: Option<Ffn>,
    moe: Moe,
}

impl Beside {
    /// The networks of layer `il`; the dense one if the file has it.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        dense: &FfnSpec,
        moe: &MoeSpec,
    ) -> Result<Beside, Error> {
        let mut network = None;
        if ["ffn_gate", "ffn_up", "ffn_down"]
            .iter()
            .any(|part| loader.has(&block(il, &format!("{part}.weight"))))
        {
            network = Some(Ffn::load(loader, hparams, il, dense)?);
        }
        Ok(Beside { dense: network, moe: Moe::load(loader, hparams, il, moe)? })
    }
}

impl Block for Beside {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let mixed = self.moe.forward(b, x)?;
        let Some(dense) = &self.dense else { return Ok(mixed) };
        let out = dense.forward(b, x)?;
        let sum = b.graph.add(out, mixed)?;
        Ok(b.graph.scale(sum, std::f32::consts::FRAC_1_SQRT_2, 0.0)?)
    }
}
