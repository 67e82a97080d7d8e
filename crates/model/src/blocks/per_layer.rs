//! What each layer gets of the tokens themselves, besides the residual stream. Answers to `build_inp_per_layer` and
//! `project_per_layer_inputs` of `gemma3n` and `gemma4`.

use quipu_backend::WeightUse::GetRows;
use quipu_graph::{DType, TensorId, UnaryOp};

use super::{Bias, Linear, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};
use crate::weight::Weight;

/// Rows for all layers.
#[derive(Debug)]
pub(crate) struct PerLayerInputs {
    /// `[n * n_layer, n_vocab]`.
    tokens: Weight,
    /// From the residual stream, `[n_embd, n * n_layer]`.
    projection: Linear,
    norm: Norm,
    n: usize,
    n_layer: usize,
}

impl PerLayerInputs {
    /// Of `n` elements for each layer.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, n: usize) -> Result<PerLayerInputs, Error> {
        let (n_embd, n_layer) = (hparams.n_embd, hparams.n_layer());
        let ne = [n * n_layer, hparams.n_vocab];
        let projection = Linear::load(loader, "per_layer_model_proj", [n_embd, n * n_layer], Bias::Never)?;
        Ok(PerLayerInputs {
            tokens: loader.require("per_layer_token_embd.weight", &ne, GetRows)?,
            projection: projection.unscaled(),
            norm: Norm::load(loader, hparams, "per_layer_proj_norm", &[n], Bias::Never)?,
            n,
            n_layer,
        })
    }

    /// The rows of all layers, f32 `[n, n_tokens, n_layer]`; `x` are the embeddings.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let (n, n_layer, n_tokens) = (self.n, self.n_layer, b.graph[x].ne[1]);
        let table = b.weight(&self.tokens)?;
        let (own, n_own) = if let Some(tokens) = b.tokens() {
            (b.graph.get_rows(table, tokens)?, n_tokens)
        } else {
            // Images have what the first token has.
            let row = b.graph[table].nb[1];
            let first = b.graph.view(table, [n * n_layer, 1, 1, 1], [row; 3], 0)?;
            let rows = b.graph.leaf("", DType::F32, [n * n_layer, 1, 1, 1])?;
            (b.graph.cpy(first, rows)?, 1)
        };
        let own = b.graph.reshape(own, [n, n_layer, n_own, 1])?;
        let own = b.graph.scale(own, (n as f32).sqrt(), 0.0)?;
        b.graph.build_forward_expand(own);
        let projected = self.projection.forward(b, x)?;
        let projected = b.graph.scale(projected, 1.0 / (b.graph[x].ne[0] as f32).sqrt(), 0.0)?;
        let projected = b.graph.reshape(projected, [n, n_layer, n_tokens, 1])?;
        let projected = self.norm.forward(b, projected)?;
        let sum = b.graph.add(projected, own)?;
        let sum = b.graph.scale(sum, 1.0 / 2f32.sqrt(), 0.0)?;
        let by_layer = b.graph.permute(sum, [0, 2, 1, 3])?;
        Ok(b.graph.cont(by_layer)?)
    }

    /// Those of layer `il`: `[n, n_tokens]`.
    pub fn of_layer(b: &mut Builder<'_>, all: TensorId, il: usize) -> Result<TensorId, Error> {
        slice(b, all, il)
    }
}

/// Part `i` along the third dimension of what lies without gaps: `[ne0, ne1]`.
pub(crate) fn slice(b: &mut Builder<'_>, x: TensorId, i: usize) -> Result<TensorId, Error> {
    let ([n0, n1, ..], nb) = (b.graph[x].ne, b.graph[x].nb);
    Ok(b.graph.view(x, [n0, n1, 1, 1], [nb[1], nb[2], nb[2]], i * nb[2])?)
}

/// What a layer does with its rows.
#[derive(Debug)]
pub(crate) struct PerLayer {
    gate: Linear,
    projection: Linear,
    post_norm: Norm,
}

impl PerLayer {
    /// That of layer `il`, with rows of `n` elements.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize, n: usize) -> Result<PerLayer, Error> {
        let n_embd = hparams.n_embd;
        let mut linear = |name: &str, ne: [usize; 2]| {
            Linear::load(loader, &block(il, name), ne, Bias::Never).map(Linear::unscaled)
        };
        Ok(PerLayer {
            gate: linear("inp_gate", [n_embd, n])?,
            projection: linear("proj", [n, n_embd])?,
            post_norm: Norm::of_layer(loader, hparams, il, "post_norm", Bias::Never)?,
        })
    }

    /// What is added to the residual stream: `x` decides how much of `rows` passes.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId, rows: TensorId) -> Result<TensorId, Error> {
        let gate = self.gate.forward(b, x)?;
        let gate = b.graph.unary(UnaryOp::Gelu, gate)?;
        let passed = b.graph.mul(gate, rows)?;
        let out = self.projection.forward(b, passed)?;
        self.post_norm.forward(b, out)
    }
}
