//! What files say of mixtures of experts.

use super::{Hparams, Keys, MAX_LENGTH};
use crate::error::Error;

/// Most experts of a mixture (`LLAMA_MAX_EXPERTS`).
const MAX_EXPERTS: usize = 512;

/// How the router's scores become weights (`llama_expert_gating_func_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gating {
    /// Softmax over all experts.
    #[default]
    Softmax,
    /// Each score by itself.
    Sigmoid,
    /// Softmax over the experts that were chosen.
    SoftmaxOfChosen,
    /// The root of each score's softplus.
    SqrtSoftplus,
}

impl Gating {
    /// What `expert_gating_func` says; `otherwise` if it is absent or 0. Without either the reference stops when it builds a graph.
    pub(crate) fn read(keys: &Keys<'_>, otherwise: Option<Gating>) -> Result<Gating, Error> {
        const NAME: &str = "expert_gating_func";
        const KNOWN: &str = "1 (softmax), 2 (sigmoid), 3 (softmax of the chosen) or 4 (root of softplus)";
        match keys.optional_u32(NAME)?.unwrap_or(0) {
            0 => otherwise.ok_or_else(|| keys.error(NAME, &"missing", KNOWN)),
            1 => Ok(Gating::Softmax),
            2 => Ok(Gating::Sigmoid),
            3 => Ok(Gating::SoftmaxOfChosen),
            4 => Ok(Gating::SqrtSoftplus),
            other => Err(keys.error(NAME, &other, KNOWN)),
        }
    }
}

/// Smaller experts, each of which belongs to experts of neighbouring numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chunks {
    /// Their width.
    pub n_ff: usize,
    /// How many experts each belongs to; 0: there are no such.
    pub n_experts: usize,
    /// Factor on their result.
    pub scale: f32,
}

/// Mixtures of experts: what all architectures read alike, and what some read. No experts: a dense model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Experts {
    /// Experts of each mixture (`n_expert`).
    pub n: usize,
    /// How many of them a token uses (`n_expert_used`).
    pub n_used: usize,
    /// Groups that they are divided in; at most 1: they are not.
    pub n_groups: usize,
    /// How many groups a token chooses from.
    pub n_groups_used: usize,
    /// Width of each expert, where it is not the layer's.
    pub n_ff: usize,
    /// Width of the network beside the experts; 0: there is none.
    pub n_ff_shared: usize,
    /// Layers at the beginning that have none.
    pub n_dense_lead: usize,
    /// Behind them, each such number of layers ends with one that has experts; 0: all have.
    pub period: usize,
    /// How scores become weights.
    pub gating: Gating,
    /// Weights of a token's experts are divided by their sum.
    pub normalised: bool,
    /// Factor on the weights; 0 and 1 are none.
    pub scale: f32,
    /// Smaller experts behind them.
    pub chunks: Chunks,
}

impl Experts {
    /// Reads what architectures share.
    pub(super) fn read(keys: &Keys<'_>) -> Result<Experts, Error> {
        let number = |name: &str| Ok::<usize, Error>(keys.optional_dim(name)?.unwrap_or(0));
        let experts = Experts {
            n: number("expert_count")?,
            n_used: number("expert_used_count")?,
            n_groups: number("expert_group_count")?,
            n_groups_used: number("expert_group_used_count")?,
            ..Experts::default()
        };
        if experts.n > MAX_EXPERTS {
            return Err(keys.error("expert_count", &experts.n, format!("at most {MAX_EXPERTS}")));
        }
        if experts.n_used > experts.n || (experts.n > 0 && experts.n_used == 0) {
            let expected = format!("a number from 1 to expert_count, {}", experts.n);
            return Err(keys.error("expert_used_count", &experts.n_used, expected));
        }
        if experts.n == 0 && experts.n_groups > 0 {
            return Err(keys.error("expert_group_count", &experts.n_groups, "0 in a model without experts"));
        }
        Ok(experts)
    }
}

impl Hparams {
    /// Width of the first layer's feed-forward network.
    pub(crate) fn n_ff(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.n_ff)
    }

    /// That width divided among the experts that a token uses.
    pub(crate) fn n_ff_by_use(&self) -> usize {
        self.n_ff() / self.experts.n_used.max(1)
    }

    /// Refuses models without experts, where an architecture always has some.
    pub(crate) fn has_experts(self) -> Result<Hparams, Error> {
        if self.experts.n == 0 {
            return Err(self.error("expert_count", &0, "the number of experts"));
        }
        Ok(self)
    }

    /// Leaves out the layers at the end that only serve to draft tokens (`nextn_predict_layers`).
    pub(crate) fn without_draft_layers(mut self, keys: &Keys<'_>) -> Result<Hparams, Error> {
        const NAME: &str = "nextn_predict_layers";
        let n = keys.optional_dim(NAME)?.unwrap_or(0);
        if n >= self.layers.len() {
            let expected = format!("fewer than the {} layers", self.layers.len());
            return Err(self.error(NAME, &n, expected));
        }
        self.layers.truncate(self.layers.len() - n);
        Ok(self)
    }
}

impl Keys<'_> {
    /// The width of experts or of what stands beside them; `None` if it is absent or 0.
    pub fn width(&self, name: &str) -> Result<Option<usize>, Error> {
        Ok(self.optional_dim(name)?.filter(|n| *n > 0))
    }

    /// As [`Keys::width`] for a width that must be there.
    pub fn required_width(&self, name: &str) -> Result<usize, Error> {
        self.dim(name, MAX_LENGTH)
    }
}
