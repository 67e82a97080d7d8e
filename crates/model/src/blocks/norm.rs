//! Norms of rows.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::TensorId;

use super::linear::{Bias, load_bias};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, NormKind};
use crate::loader::{Loader, block};
use crate::weight::Weight;

/// A norm over a tensor's rows, its weight and bias. Answers to `build_norm`.
#[derive(Debug)]
pub(crate) struct Norm {
    kind: NormKind,
    eps: f32,
    /// None: rows are only normed.
    weight: Option<Weight>,
    bias: Option<Weight>,
}

impl Norm {
    /// The norm `name.weight` of shape `ne`, of the model's kind.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        name: &str,
        ne: &[usize],
        bias: Bias,
    ) -> Result<Norm, Error> {
        let norm = Norm::optional(loader, hparams, name, ne, bias)?;
        norm.ok_or_else(|| Loader::missing(&format!("{name}.weight"), ne, &[]))
    }

    /// The norm `name` of the residual stream in layer `il`.
    pub fn of_layer(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        name: &str,
        bias: Bias,
    ) -> Result<Norm, Error> {
        Norm::load(loader, hparams, &block(il, name), &[hparams.n_embd], bias)
    }

    /// As [`Norm::load`] for a norm that may be absent.
    pub fn optional(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        name: &str,
        ne: &[usize],
        bias: Bias,
    ) -> Result<Option<Norm>, Error> {
        let Some(weight) = loader.optional(&format!("{name}.weight"), ne, Elementwise)? else {
            return Ok(None);
        };
        let bias = load_bias(loader, name, ne, bias)?;
        Ok(Some(Norm { kind: hparams.norm, eps: hparams.norm_eps, weight: Some(weight), bias }))
    }

    /// The norm whose weight has that name, without `.weight` behind it.
    pub fn bare(loader: &mut Loader<'_>, hparams: &Hparams, name: &str, ne: &[usize]) -> Result<Norm, Error> {
        let weight = loader.require(name, ne, Elementwise)?;
        Ok(Norm { kind: hparams.norm, eps: hparams.norm_eps, weight: Some(weight), bias: None })
    }

    /// The model's norm without a weight.
    pub fn weightless(hparams: &Hparams) -> Norm {
        Norm { kind: hparams.norm, eps: hparams.norm_eps, weight: None, bias: None }
    }

    /// The same weights in a norm of another kind than the model's.
    pub fn of_kind(self, kind: NormKind, eps: f32) -> Norm {
        Norm { kind, eps, ..self }
    }

    /// `norm(x) * w + b`.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let normed = match self.kind {
            NormKind::Rms => b.graph.rms_norm(x, self.eps)?,
            NormKind::Layer => b.graph.norm(x, self.eps)?,
        };
        let Some(weight) = &self.weight else { return Ok(normed) };
        let weight = b.weight(weight)?;
        let scaled = b.graph.mul(normed, weight)?;
        let Some(bias) = &self.bias else { return Ok(scaled) };
        let bias = b.weight(bias)?;
        Ok(b.graph.add(scaled, bias)?)
    }
}
