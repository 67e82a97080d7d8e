//! Dense feed-forward networks.

use quipu_graph::{GluOp, TensorId, UnaryOp};

use super::{Bias, Block, Linear};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};

/// What bends the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    Gelu,
}

/// What the bent rows are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    None,
    /// The rows of a second matrix, `ffn_up`; `ffn_gate` is bent (`LLM_FFN_PAR`).
    Parallel,
    /// The second half of the rows of `ffn_up`; the first half is bent.
    Halves,
}

/// What an architecture's network has. The default is SwiGLU.
#[derive(Clone, Debug)]
pub(crate) struct FfnSpec {
    pub activation: Activation,
    pub gate: Gate,
    /// Biases of all its matrices.
    pub bias: Bias,
    /// Factors beside the matrices are honoured.
    pub scales: bool,
}

impl Default for FfnSpec {
    fn default() -> Self {
        FfnSpec { activation: Activation::Silu, gate: Gate::Parallel, bias: Bias::Never, scales: false }
    }
}

/// Up, bend, down. Answers to `build_ffn`.
#[derive(Debug)]
pub(crate) struct Ffn {
    activation: Activation,
    up: Linear,
    gating: Gating,
    down: Linear,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
enum Gating {
    None,
    Parallel(Linear),
    Halves,
}

impl Ffn {
    /// The network of layer `il`.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize, spec: &FfnSpec) -> Result<Ffn, Error> {
        let (n_embd, n_ff) = (hparams.n_embd, hparams.layers[il].n_ff);
        if n_ff == 0 {
            let found = format!("missing or 0 in layer {il}");
            let expected = "the width of the feed-forward network";
            return Err(hparams.error("feed_forward_length", &found, expected));
        }
        let mut load = |name: &str, ne: [usize; 2]| -> Result<Linear, Error> {
            let linear = Linear::load(loader, &block(il, name), ne, spec.bias)?;
            Ok(if spec.scales { linear } else { linear.unscaled() })
        };
        let gating = match spec.gate {
            Gate::None => Gating::None,
            Gate::Parallel => Gating::Parallel(load("ffn_gate", [n_embd, n_ff])?),
            Gate::Halves => Gating::Halves,
        };
        let n_up = if spec.gate == Gate::Halves { 2 * n_ff } else { n_ff };
        let up = load("ffn_up", [n_embd, n_up])?;
        let down = load("ffn_down", [n_ff, n_embd])?;
        Ok(Ffn { activation: spec.activation, up, gating, down })
    }
}

impl Block for Ffn {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let up = self.up.forward_in_ffn(b, x)?;
        let bent = match &self.gating {
            Gating::None => b.graph.unary(self.activation.unary(), up)?,
            Gating::Parallel(gate) => {
                let gate = gate.forward_in_ffn(b, x)?;
                b.graph.glu(self.activation.glu(), gate, up)?
            }
            Gating::Halves => b.graph.glu_halves(self.activation.glu(), up, false)?,
        };
        self.down.forward_in_ffn(b, bent)
    }
}

impl Activation {
    fn unary(self) -> UnaryOp {
        match self {
            Activation::Silu => UnaryOp::Silu,
            Activation::Gelu => UnaryOp::Gelu,
        }
    }

    fn glu(self) -> GluOp {
        match self {
            Activation::Silu => GluOp::Swiglu,
            Activation::Gelu => GluOp::Geglu,
        }
    }
}
