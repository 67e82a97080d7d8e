//! Both ends of the residual stream: embeddings in, logits out.

use quipu_backend::WeightUse::{Elementwise, GetRows};
use quipu_graph::{TensorId, UnaryOp};

use super::{Bias, Linear, Norm};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::Loader;
use crate::weight::Weight;

const TOKENS: &str = "token_embd.weight";

/// Token embeddings and what is done to them before the first layer.
#[derive(Debug)]
pub(crate) struct Embeddings {
    tokens: Weight,
    /// Kinds of tokens, `[n_embd, n_token_types]`; every token is of the first.
    types: Option<Weight>,
    /// Learned positions, `[n_embd, n_ctx_train]`.
    positions: Option<Weight>,
    scale: Option<f32>,
    /// Rows that come as embeddings are not scaled.
    tokens_only: bool,
    norm: Option<Norm>,
}

impl Embeddings {
    /// The table of tokens.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Embeddings, Error> {
        let tokens = loader.require(TOKENS, &[hparams.n_embd, hparams.n_vocab], GetRows)?;
        Ok(Embeddings::of(tokens))
    }

    fn of(tokens: Weight) -> Embeddings {
        Embeddings { tokens, types: None, positions: None, scale: None, tokens_only: false, norm: None }
    }

    /// With what is added to every token for being of the first kind, if the file has such a table.
    ///
    /// # Errors
    /// A file that does not say how many kinds there are.
    pub fn with_types(self, loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Embeddings, Error> {
        let n_types = hparams.encoder.n_token_types;
        if n_types == 0 {
            let key = "tokenizer.ggml.token_type_count".to_owned();
            let expected = "the number of kinds of tokens".to_owned();
            return Err(Error::Hparam { key, found: "missing or 0".to_owned(), expected });
        }
        let types = loader.optional("token_types.weight", &[hparams.n_embd, n_types], Elementwise)?;
        Ok(Embeddings { types, ..self })
    }

    /// The table of tokens, or else the output matrix in its place.
    pub fn or_output(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Embeddings, Error> {
        let ne = [hparams.n_embd, hparams.n_vocab];
        let tokens = match loader.optional(TOKENS, &ne, GetRows)? {
            Some(tokens) => tokens,
            None => loader.require("output.weight", &ne, GetRows)?,
        };
        Ok(Embeddings::of(tokens))
    }

    /// With a table of positions, if the file has one.
    pub fn with_optional_positions(
        self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
    ) -> Result<Embeddings, Error> {
        let ne = [hparams.n_embd, hparams.n_ctx_train];
        Ok(Embeddings { positions: loader.optional("position_embd.weight", &ne, GetRows)?, ..self })
    }

    /// With a norm on every row.
    pub fn normed(self, norm: Norm) -> Embeddings {
        Embeddings { norm: Some(norm), ..self }
    }

    /// With a table of positions, whose rows are added.
    pub fn with_positions(self, loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Embeddings, Error> {
        let ne = [hparams.n_embd, hparams.n_ctx_train];
        Ok(Embeddings { positions: Some(loader.require("position_embd.weight", &ne, GetRows)?), ..self })
    }

    /// With a factor on every row, also on rows that come as embeddings.
    pub fn scaled(self, scale: f32) -> Embeddings {
        Embeddings { scale: Some(scale), ..self }
    }

    /// With a factor on the rows of tokens.
    pub fn tokens_scaled(self, scale: f32) -> Embeddings {
        Embeddings { scale: Some(scale), tokens_only: true, ..self }
    }

    /// The rows of a ubatch: f32 `[n_embd, n_tokens]` (`build_inp_embd`).
    pub fn forward(&self, b: &mut Builder<'_>) -> Result<TensorId, Error> {
        let mut x = b.input_embeddings(&self.tokens)?;
        let skips = self.tokens_only && b.is_from_embeddings();
        if let Some(scale) = self.scale.filter(|_| !skips) {
            x = b.graph.scale(x, scale, 0.0)?;
            b.graph.set_name(x, "inp_scaled");
        }
        if let Some(types) = &self.types {
            let table = b.weight(types)?;
            let ([n_embd, ..], nb) = (b.graph[table].ne, b.graph[table].nb);
            let first = b.graph.view(table, [n_embd, 1, 1, 1], [nb[1], nb[1], nb[1]], 0)?;
            x = b.graph.add(x, first)?;
        }
        if let Some(positions) = &self.positions {
            let table = b.weight(positions)?;
            let rows = b.graph.get_rows(table, b.positions())?;
            b.graph.set_name(rows, "pos_embd");
            x = b.graph.add(x, rows)?;
            b.graph.set_name(x, "inpL");
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(b, x)?;
            b.graph.set_name(x, "inp_norm");
        }
        Ok(x)
    }
}

/// Whether the token embeddings serve as output matrix too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tied {
    /// Never: the file has an output matrix.
    Never,
    /// If the file has no output matrix (`TENSOR_DUPLICATED`).
    Otherwise,
    /// Always; an output matrix is not looked for.
    Always,
}

/// What an architecture has behind its last layer. The default is what most have.
#[derive(Clone, Debug)]
pub(crate) struct OutputSpec {
    /// Name of the final norm.
    pub norm: &'static str,
    /// The final norm has a weight.
    pub norm_weight: bool,
    /// A bias of the final norm.
    pub norm_bias: Bias,
    pub tied: Tied,
    /// A bias on the logits.
    pub bias: Bias,
    /// Tokens at the end of the vocabulary that have logits, if not all have: the others cannot be chosen.
    pub n_vocab: Option<usize>,
    /// A factor on the final rows, before the matrix.
    pub row_scale: Option<f32>,
    /// A factor on the logits.
    pub logit_scale: Option<f32>,
}

impl Default for OutputSpec {
    fn default() -> Self {
        OutputSpec {
            norm: "output_norm",
            norm_weight: true,
            norm_bias: Bias::Never,
            tied: Tied::Otherwise,
            bias: Bias::Never,
            n_vocab: None,
            row_scale: None,
            logit_scale: None,
        }
    }
}

/// The final norm and the output matrix.
#[derive(Debug)]
pub(crate) struct Output {
    norm: Norm,
    row_scale: Option<f32>,
    matrix: Linear,
    /// Tokens at the beginning of the vocabulary that have no logits.
    n_silent: usize,
    /// Bound that logits are bent to; 0: none.
    logit_softcap: f32,
    logit_scale: Option<f32>,
}

impl Output {
    /// The final norm, and the matrix of the file or a second use of the token embeddings.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, spec: &OutputSpec) -> Result<Output, Error> {
        let norm = if spec.norm_weight {
            Norm::load(loader, hparams, spec.norm, &[hparams.n_embd], spec.norm_bias)?
        } else {
            Norm::weightless(hparams)
        };
        let n_vocab = spec.n_vocab.unwrap_or(hparams.n_vocab);
        let ne = [hparams.n_embd, n_vocab];
        let own = match spec.tied {
            Tied::Never => Some(Linear::load(loader, "output", ne, spec.bias)?),
            Tied::Otherwise => Linear::optional(loader, "output", ne, spec.bias)?,
            Tied::Always => None,
        };
        let matrix = match own {
            Some(matrix) => matrix,
            None => Linear::shared(loader, TOKENS, "output", ne, spec.bias)?,
        };
        let OutputSpec { row_scale, logit_scale, .. } = *spec;
        let n_silent = hparams.n_vocab - n_vocab;
        Ok(Output {
            norm,
            row_scale,
            matrix,
            n_silent,
            logit_scale,
            logit_softcap: hparams.final_logit_softcap,
        })
    }

    /// The final rows, f32 `[n_embd, n_outputs]`, and their logits, f32 `[n_vocab, n_outputs]`.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<(TensorId, TensorId), Error> {
        let embd = self.norm.forward(b, x)?;
        let rows = scaled(b, embd, self.row_scale)?;
        let logits = self.matrix.forward(b, rows)?;
        let mut logits = scaled(b, logits, self.logit_scale)?;
        if self.logit_softcap != 0.0 {
            logits = b.graph.scale(logits, 1.0 / self.logit_softcap, 0.0)?;
            logits = b.graph.unary(UnaryOp::Tanh, logits)?;
            logits = b.graph.scale(logits, self.logit_softcap, 0.0)?;
        }
        if self.n_silent > 0 {
            let n_outputs = b.graph[logits].ne[1];
            let nb = b.graph[embd].nb;
            // Any finite number will do.
            let any = b.graph.view(embd, [1, n_outputs, 1, 1], [nb[1], nb[2], nb[3]], 0)?;
            let never = b.graph.scale(any, 0.0, f32::NEG_INFINITY)?;
            let never = b.graph.repeat(never, [self.n_silent, n_outputs, 1, 1])?;
            logits = b.graph.concat(never, logits, 0)?;
        }
        Ok((embd, logits))
    }
}

/// `x` times a factor, if there is one.
pub(super) fn scaled(b: &mut Builder<'_>, x: TensorId, scale: Option<f32>) -> Result<TensorId, Error> {
    Ok(match scale {
        Some(scale) => b.graph.scale(x, scale, 0.0)?,
        None => x,
    })
}
