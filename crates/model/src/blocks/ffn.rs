//! Dense feed-forward networks.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{GluOp, TensorId, UnaryOp};

use super::{Bias, Block, Linear, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Xielu};
use crate::loader::{Loader, block};
use crate::weight::Weight;

/// What bends the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    Silu,
    Gelu,
    /// What is positive.
    Relu,
    /// The square of what is positive.
    ReluSquared,
    /// `SiLU` with bounds, steeper, and times one more than the other operand (`ggml_swiglu_oai`).
    SwigluOai,
    /// `SiLU` up to a bound; what it is multiplied with lies between that and its negative.
    SiluClamped(f32),
    /// Two polynomials and an exponential, with numbers of the layer (`ggml_xielu`).
    Xielu(Xielu),
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
    /// Which factors beside the matrices are honoured.
    pub scales: Scales,
    /// Its width, if it is not the layer's `n_ff`.
    pub n_ff: Option<usize>,
    /// What stands before the names of its matrices.
    pub prefix: &'static str,
    /// What follows them.
    pub suffix: &'static str,
    /// What their names in the layer begin with.
    pub stem: &'static str,
    /// Divisors of the bent rows (`ffn.act.scales`), which may be absent.
    pub act_divisors: bool,
    /// A norm before the last matrix (`ffn_sub_norm`).
    pub sub_norm: bool,
}

/// Factors beside matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scales {
    Unused,
    /// Of the last matrix alone.
    Down,
    All,
}

impl Default for FfnSpec {
    fn default() -> Self {
        FfnSpec {
            activation: Activation::Silu,
            gate: Gate::Parallel,
            bias: Bias::Never,
            scales: Scales::Unused,
            n_ff: None,
            prefix: "",
            suffix: "",
            stem: "ffn",
            act_divisors: false,
            sub_norm: false,
        }
    }
}

/// Up, bend, down. Answers to `build_ffn`.
#[derive(Debug)]
pub(crate) struct Ffn {
    activation: Activation,
    up: Linear,
    gating: Gating,
    act_divisors: Option<Weight>,
    sub_norm: Option<Norm>,
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
        let (n_embd, n_ff) = (hparams.n_embd, spec.n_ff.unwrap_or(hparams.layers[il].n_ff));
        if n_ff == 0 {
            let found = format!("missing or 0 in layer {il}");
            let expected = "the width of the feed-forward network";
            return Err(hparams.error("feed_forward_length", &found, expected));
        }
        let name = |part: &str| {
            format!("{}{}{}", spec.prefix, block(il, &format!("{}_{part}", spec.stem)), spec.suffix)
        };
        let mut load = |part: &str, ne: [usize; 2]| -> Result<Linear, Error> {
            let linear = Linear::load(loader, &name(part), ne, spec.bias)?;
            let honoured = spec.scales == Scales::All || (spec.scales == Scales::Down && part == "down");
            Ok(if honoured { linear } else { linear.unscaled() })
        };
        let gating = match spec.gate {
            Gate::None => Gating::None,
            Gate::Parallel => Gating::Parallel(load("gate", [n_embd, n_ff])?),
            Gate::Halves => Gating::Halves,
        };
        let n_up = if spec.gate == Gate::Halves { 2 * n_ff } else { n_ff };
        let up = load("up", [n_embd, n_up])?;
        let down = load("down", [n_ff, n_embd])?;
        let mut act_divisors = None;
        if spec.act_divisors {
            act_divisors = loader.optional(&block(il, "ffn.act.scales"), &[n_ff], Elementwise)?;
        }
        let mut sub_norm = None;
        if spec.sub_norm {
            sub_norm = Some(Norm::load(loader, hparams, &block(il, "ffn_sub_norm"), &[n_ff], Bias::Never)?);
        }
        Ok(Ffn { activation: spec.activation, up, gating, act_divisors, sub_norm, down })
    }
}

impl Block for Ffn {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let up = self.up.forward_in_ffn(b, x)?;
        let mut bent = match &self.gating {
            Gating::None => self.activation.bend(b, up)?,
            Gating::Parallel(gate) => {
                let gate = gate.forward_in_ffn(b, x)?;
                self.activation.gated(b, gate, up)?
            }
            Gating::Halves => {
                let op = self.activation.glu().unwrap_or(GluOp::Swiglu);
                b.graph.glu_halves(op, up, false)?
            }
        };
        if let Some(divisors) = &self.act_divisors {
            let divisors = b.weight(divisors)?;
            bent = b.graph.div(bent, divisors)?;
        }
        if let Some(norm) = &self.sub_norm {
            bent = norm.forward(b, bent)?;
            return self.down.forward(b, bent);
        }
        self.down.forward_in_ffn(b, bent)
    }
}

impl Activation {
    /// The function itself.
    pub(super) fn bend(self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let op = match self {
            Activation::Silu | Activation::SwigluOai | Activation::SiluClamped(_) => UnaryOp::Silu,
            Activation::Gelu => UnaryOp::Gelu,
            Activation::Relu | Activation::ReluSquared => UnaryOp::Relu,
            Activation::Xielu(xielu) => xielu_op(xielu),
        };
        let bent = b.graph.unary(op, x)?;
        Ok(if self == Activation::ReluSquared { b.graph.sqr(bent)? } else { bent })
    }

    /// The op that bends a gate and multiplies in one, if there is one.
    pub(super) fn glu(self) -> Option<GluOp> {
        match self {
            Activation::Silu => Some(GluOp::Swiglu),
            Activation::Gelu => Some(GluOp::Geglu),
            Activation::Relu => Some(GluOp::Reglu),
            // The numbers of the only models that have it.
            Activation::SwigluOai => Some(GluOp::SwigluOai { alpha: 1.702, limit: 7.0 }),
            Activation::ReluSquared | Activation::Xielu(_) | Activation::SiluClamped(_) => None,
        }
    }

    /// The bent gate times what it lets through.
    pub(super) fn gated(self, b: &mut Builder<'_>, gate: TensorId, up: TensorId) -> Result<TensorId, Error> {
        if let Some(op) = self.glu() {
            return Ok(b.graph.glu(op, gate, up)?);
        }
        let mut bent = self.bend(b, gate)?;
        let mut up = up;
        if let Activation::SiluClamped(limit) = self {
            bent = b.graph.clamp(bent, f32::NEG_INFINITY, limit)?;
            up = b.graph.clamp(up, -limit, limit)?;
        }
        Ok(b.graph.mul(bent, up)?)
    }
}

/// The op of a layer's xIELU, with the numbers as it takes them.
fn xielu_op(Xielu { alpha_n, alpha_p, beta, eps }: Xielu) -> UnaryOp {
    let softplus = |x: f32| if x > 20.0 { x } else { (1.0 + x.exp()).ln() };
    UnaryOp::Xielu { alpha_n: beta + softplus(alpha_n), alpha_p: softplus(alpha_p), beta, eps }
}
