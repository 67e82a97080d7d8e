//! A layer: a block that mixes tokens, a feed-forward block, and the residual stream around them.

use quipu_graph::TensorId;

use super::{Block, Norm};
use crate::build::Builder;
use crate::error::Error;

/// What the feed-forward block reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residual {
    /// The residual stream with the mixer's result in it.
    Sequential,
    /// The same normed rows as the mixer.
    Parallel,
}

/// A layer. Norms before a block, behind it, or both.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Number of the layer.
    pub il: usize,
    /// Before the mixer.
    pub attn_norm: Option<Norm>,
    /// Attention, or what stands in for it.
    pub mixer: Box<dyn Block>,
    /// Behind the mixer.
    pub attn_post_norm: Option<Norm>,
    /// Where the feed-forward block reads.
    pub residual: Residual,
    /// Before the feed-forward block, if it reads the residual stream.
    pub ffn_norm: Option<Norm>,
    /// The feed-forward block.
    pub ffn: Box<dyn Block>,
    /// Behind the feed-forward block.
    pub ffn_post_norm: Option<Norm>,
}

impl Layer {
    /// A layer without norms.
    pub fn new(il: usize, mixer: impl Block + 'static, ffn: impl Block + 'static) -> Layer {
        Layer {
            il,
            attn_norm: None,
            mixer: Box::new(mixer),
            attn_post_norm: None,
            residual: Residual::Sequential,
            ffn_norm: None,
            ffn: Box::new(ffn),
            ffn_post_norm: None,
        }
    }

    /// Adds the layer to a graph; the last layer keeps only the rows whose outputs are wanted.
    pub fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let il = self.il;
        let normed = norm(b, self.attn_norm.as_ref(), x, "attn_norm", il)?;
        let mixed = self.mixer.forward(b, normed)?;
        let (mixed, x, normed) = match self.residual {
            Residual::Sequential => {
                let [mixed, x] = b.keep_outputs(il, [mixed, x])?;
                (mixed, x, None)
            }
            Residual::Parallel => {
                let [mixed, x, normed] = b.keep_outputs(il, [mixed, x, normed])?;
                (mixed, x, Some(normed))
            }
        };
        let mixed = norm(b, self.attn_post_norm.as_ref(), mixed, "attn_post_norm", il)?;
        let ffn_inp = b.graph.add(mixed, x)?;
        b.name(ffn_inp, "ffn_inp", il);
        let cur = match normed {
            Some(normed) => normed,
            None => norm(b, self.ffn_norm.as_ref(), ffn_inp, "ffn_norm", il)?,
        };
        let cur = self.ffn.forward(b, cur)?;
        b.name(cur, "ffn_out", il);
        let cur = norm(b, self.ffn_post_norm.as_ref(), cur, "ffn_post_norm", il)?;
        let out = b.graph.add(cur, ffn_inp)?;
        b.name(out, "l_out", il);
        Ok(out)
    }
}

/// `x` through a norm, if there is one.
fn norm(
    b: &mut Builder<'_>,
    norm: Option<&Norm>,
    x: TensorId,
    name: &str,
    il: usize,
) -> Result<TensorId, Error> {
    let Some(norm) = norm else { return Ok(x) };
    let normed = norm.forward(b, x)?;
    b.name(normed, name, il);
    Ok(normed)
}
