//! What stands behind the final rows of a text: how a reranker makes scores of them, and matrices behind pooled rows.

use quipu_backend::WeightUse::{Elementwise, MulMat};
use quipu_graph::{Graph, TensorId, UnaryOp};

use super::linear::{Bias, load_bias};
use super::{KeyRotation, Network};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::hparams::Hparams;
use crate::loader::Loader;
use crate::memory::LayerMemory;
use crate::pooling::Pooling;
use crate::weight::Weight;

/// What an architecture's head is. The default is BERT's.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent answers of an architecture
pub(crate) struct HeadSpec {
    /// Which row of a text is scored.
    pub rank_by: Pooling,
    /// Width of what `cls` makes of it; `None`: that of the rows; 0: the architecture has no such matrix.
    pub n_dense: Option<usize>,
    /// `cls` has a bias, if the file has one.
    pub dense_bias: bool,
    /// What bends its result.
    pub activation: UnaryOp,
    /// A norm follows, if the file has one.
    pub may_norm: bool,
    /// Scores follow by `cls.output`, if the file has it.
    pub has_output: bool,
    /// Scores become probabilities.
    pub soft_max: bool,
}

impl Default for HeadSpec {
    fn default() -> Self {
        HeadSpec {
            rank_by: Pooling::Cls,
            n_dense: None,
            dense_bias: true,
            activation: UnaryOp::Tanh,
            may_norm: false,
            has_output: true,
            soft_max: false,
        }
    }
}

/// A matrix with what may be added. Nothing else stands beside it, unlike [`super::Linear`].
#[derive(Debug)]
struct Affine {
    w: Weight,
    b: Option<Weight>,
}

/// The classification head of rerankers and classifiers, and the matrices behind pooled rows. Answers to the second half of
/// `build_pooling` and to `build_dense_out`.
#[derive(Debug)]
pub(crate) struct Head {
    rank_by: Pooling,
    dense: Option<Affine>,
    activation: UnaryOp,
    norm: Option<Weight>,
    norm_eps: f32,
    output: Option<Affine>,
    soft_max: bool,
    /// Behind pooled rows of any kind (`dense_2`, `dense_3`).
    modules: Vec<Affine>,
}

impl Head {
    /// The head that the file has; any part may be absent.
    ///
    /// # Errors
    /// Tensors of another shape.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, spec: &HeadSpec) -> Result<Head, Error> {
        let n_embd = hparams.n_embd;
        let mut affine = |name: &str, ne: [usize; 2], bias: Bias| -> Result<Option<Affine>, Error> {
            let Some(w) = loader.optional(&format!("{name}.weight"), &ne, MulMat)? else { return Ok(None) };
            Ok(Some(Affine { w, b: load_bias(loader, name, &ne[1..], bias)? }))
        };
        let bias = if spec.dense_bias { Bias::Optional } else { Bias::Never };
        let dense = match spec.n_dense.unwrap_or(n_embd) {
            0 => None,
            n => affine("cls", [n_embd, n], bias)?,
        };
        let n_labels = hparams.encoder.n_labels;
        let output =
            if spec.has_output { affine("cls.output", [n_embd, n_labels], Bias::Optional)? } else { None };
        let mut modules = Vec::new();
        for (name, [n_in, n_out]) in ["dense_2", "dense_3"].into_iter().zip(hparams.encoder.dense) {
            if n_in > 0 && n_out > 0 {
                modules.extend(affine(name, [n_in, n_out], Bias::Never)?);
            }
        }
        let mut norm = None;
        if spec.may_norm {
            norm = loader.optional("cls.norm.weight", &[n_embd], Elementwise)?;
        }
        Ok(Head {
            rank_by: spec.rank_by,
            dense,
            activation: spec.activation,
            norm,
            norm_eps: hparams.norm_eps,
            output,
            soft_max: spec.soft_max,
            modules,
        })
    }

    /// Which row of a text is scored.
    pub fn rank_by(&self) -> Pooling {
        self.rank_by
    }

    /// Scores of a text; `None` if there is nothing that makes any.
    pub fn n_scores(&self) -> Option<usize> {
        let last = self.output.as_ref().or(self.dense.as_ref())?;
        Some(last.w.ne[1])
    }

    /// Scores of rows `[n_embd, n]`: f32 `[n_scores, n]`.
    pub fn scores(&self, graph: &mut Graph, rows: TensorId) -> Result<TensorId, Error> {
        let mut x = rows;
        if let Some(dense) = &self.dense {
            x = dense.forward(graph, x)?;
            x = graph.unary(self.activation, x)?;
            if let Some(norm) = &self.norm {
                x = graph.norm(x, self.norm_eps)?;
                let weight = leaf(graph, norm)?;
                x = graph.mul(x, weight)?;
            }
        }
        if let Some(output) = &self.output {
            x = output.forward(graph, x)?;
        }
        Ok(if self.soft_max { graph.soft_max(x, None, 1.0, 0.0)? } else { x })
    }

    /// Pooled rows through the matrices behind them; `None` if there are none.
    pub fn project(&self, graph: &mut Graph, rows: TensorId) -> Result<Option<TensorId>, Error> {
        let mut x = rows;
        for module in &self.modules {
            x = module.forward(graph, x)?;
        }
        Ok((x != rows).then_some(x))
    }
}

impl Affine {
    fn forward(&self, graph: &mut Graph, x: TensorId) -> Result<TensorId, Error> {
        let w = leaf(graph, &self.w)?;
        let product = graph.mul_mat(w, x)?;
        let Some(b) = &self.b else { return Ok(product) };
        let b = leaf(graph, b)?;
        Ok(graph.add(product, b)?)
    }
}

fn leaf(graph: &mut Graph, w: &Weight) -> Result<TensorId, Error> {
    Ok(graph.external(&w.name, w.dtype, w.ne, w.storage)?)
}

/// A network with a head behind it.
#[derive(Debug)]
pub(crate) struct Headed {
    network: Box<dyn Network>,
    head: Head,
}

impl Headed {
    /// `network` with the head of its file.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        spec: &HeadSpec,
        network: Box<dyn Network>,
    ) -> Result<Box<dyn Network>, Error> {
        let head = Head::load(loader, hparams, spec)?;
        Ok(Box::new(Headed { network, head }))
    }
}

impl Network for Headed {
    fn forward(&self, b: Builder<'_>) -> Result<BuiltGraph, Error> {
        self.network.forward(b)
    }

    fn memory(&self) -> Vec<LayerMemory> {
        self.network.memory()
    }

    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>> {
        self.network.key_rotation(il)
    }

    fn head(&self) -> Option<&Head> {
        Some(&self.head)
    }
}
