//! A matrix with what may follow it.

use quipu_backend::WeightUse::{Elementwise, MulMat};
use quipu_graph::TensorId;

use crate::build::Builder;
use crate::error::Error;
use crate::loader::Loader;
use crate::weight::Weight;

/// Whether a bias is taken from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Never,
    Optional,
    Required,
    /// Taken if there is one, and not used: files may carry biases that the reference's graph leaves out.
    Unused,
}

/// A matrix with what may follow it: a bias, and one factor for the whole product (which files quantised to types with narrow scales
/// carry).
#[derive(Debug)]
pub(crate) struct Linear {
    w: Weight,
    b: Option<Weight>,
    scale: Option<Weight>,
}

impl Linear {
    /// The matrix `name.weight` of shape `[n_in, n_out]` with its bias and factor.
    pub fn load(loader: &mut Loader<'_>, name: &str, ne: [usize; 2], bias: Bias) -> Result<Linear, Error> {
        Linear::load_or(loader, name, ne, bias, &[])
    }

    /// As [`Linear::load`]; an error names the tensors `instead` that would have done too.
    pub fn load_or(
        loader: &mut Loader<'_>,
        name: &str,
        ne: [usize; 2],
        bias: Bias,
        instead: &[String],
    ) -> Result<Linear, Error> {
        let linear = Linear::optional(loader, name, ne, bias)?;
        linear.ok_or_else(|| Loader::missing(&format!("{name}.weight"), &ne, instead))
    }

    /// As [`Linear::load`] for a matrix that may be absent.
    pub fn optional(
        loader: &mut Loader<'_>,
        name: &str,
        ne: [usize; 2],
        bias: Bias,
    ) -> Result<Option<Linear>, Error> {
        let Some(w) = loader.optional(&format!("{name}.weight"), &ne, MulMat)? else { return Ok(None) };
        let b = load_bias(loader, name, &ne[1..], bias)?;
        let scale = loader.optional(&format!("{name}.scale"), &[1], Elementwise)?;
        // Factors on activations serve backends that compute in narrow floats; on the CPU nothing reads them.
        loader.optional(&format!("{name}.input_scale"), &[1], Elementwise)?;
        Ok(Some(Linear { w, b, scale }))
    }

    /// Another use of a matrix that the file has for something else, with the bias `name.bias`.
    pub fn shared(
        loader: &mut Loader<'_>,
        weight: &str,
        name: &str,
        ne: [usize; 2],
        bias: Bias,
    ) -> Result<Linear, Error> {
        let w = loader.require(weight, &ne, MulMat)?;
        let b = load_bias(loader, name, &ne[1..], bias)?;
        Ok(Linear { w, b, scale: None })
    }

    /// Without its factor: in some places the reference loads factors and does not apply them.
    pub fn unscaled(self) -> Linear {
        Linear { scale: None, ..self }
    }

    /// `scale * (w x) + b`, the order outside feed-forward networks.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let w = b.weight(&self.w)?;
        let product = b.graph.mul_mat(w, x)?;
        let scaled = self.apply_scale(b, product)?;
        let adapted = b.adapted(&self.w, x, scaled)?;
        self.add_bias(b, adapted)
    }

    /// `scale * (w x + b)`, the order inside feed-forward networks (`build_ffn`).
    pub fn forward_in_ffn(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let product = b.mul_mat(&self.w, x)?;
        let shifted = self.add_bias(b, product)?;
        self.apply_scale(b, shifted)
    }

    fn apply_scale(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Some(scale) = &self.scale else { return Ok(x) };
        let scale = b.weight(scale)?;
        Ok(b.graph.mul(x, scale)?)
    }

    fn add_bias(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Some(bias) = &self.b else { return Ok(x) };
        let bias = b.weight(bias)?;
        Ok(b.graph.add(x, bias)?)
    }
}

/// The bias `name.bias` of shape `ne`.
pub(super) fn load_bias(
    loader: &mut Loader<'_>,
    name: &str,
    ne: &[usize],
    bias: Bias,
) -> Result<Option<Weight>, Error> {
    let name = format!("{name}.bias");
    Ok(match bias {
        Bias::Never => None,
        Bias::Optional => loader.optional(&name, ne, Elementwise)?,
        Bias::Required => Some(loader.require(&name, ne, Elementwise)?),
        Bias::Unused => {
            loader.optional(&name, ne, Elementwise)?;
            None
        }
    })
}
