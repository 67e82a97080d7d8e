//! Mixtures of experts: a router chooses some feed-forward networks for each token. Answers to `build_moe_ffn`, in its order.

use quipu_backend::WeightUse::{Elementwise, MulMat};
use quipu_graph::{SortOrder, TensorId, UnaryOp};

use super::embeddings::scaled;
use super::{Activation, Block, Ffn, FfnSpec};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Experts, Gating, Hparams};
use crate::loader::{Loader, block};
use crate::weight::Weight;

/// What an architecture's mixture has. The default is what most have, but for the width.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent answers of an architecture
pub(crate) struct MoeSpec {
    /// Width of each expert; `None`: that of the layer (`n_ff`).
    pub n_ff: Option<usize>,
    pub gating: Gating,
    /// A bias on the scores that decides the choice and nothing else: the tensor's name, and whether it must be there.
    pub choice_bias: Option<(&'static str, bool)>,
    /// What the choice is made by.
    pub choice: Choice,
    /// The router and all matrices of the experts have biases.
    pub biases: bool,
    /// Weights multiply what goes into the experts instead of what comes out.
    pub weighs_input: bool,
    /// The router reads what the layer was given.
    pub routes_layer_input: bool,
    /// The weights of a token's experts are divided by their sum.
    pub normalised: bool,
    /// A factor on them; 0 and 1 are none.
    pub scale: f32,
    pub activation: Activation,
    /// What follows the names of its matrices.
    pub suffix: &'static str,
    /// How many matrices there are, if not one for each expert.
    pub n_matrices: Option<usize>,
    /// Files may do without `ffn_gate_exps`.
    pub gate_is_optional: bool,
    /// Gate and up may be one tensor, `ffn_gate_up_exps`.
    pub may_be_merged: bool,
    /// Factors beside the experts are honoured.
    pub scales: bool,
    /// What every token goes through besides.
    pub shared: Option<Shared>,
}

/// What experts are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// What weights are made of, with the bias of the choice.
    Weights,
    /// The router's scores as they are.
    Scores,
}

/// A network that every token goes through, beside its experts.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub ffn: FfnSpec,
    /// Half the sum of both is the result.
    pub is_averaged: bool,
    /// Its result is multiplied by the sigmoid of one more score (`ffn_gate_inp_shexp`).
    pub is_gated: bool,
}

impl Shared {
    /// A SwiGLU of that width in the tensors `ffn_*_shexp`.
    pub fn of_width(n_ff: usize) -> Shared {
        let ffn = FfnSpec { n_ff: Some(n_ff), suffix: "_shexp", ..FfnSpec::default() };
        Shared { ffn, is_averaged: false, is_gated: false }
    }
}

impl Default for MoeSpec {
    fn default() -> Self {
        MoeSpec {
            n_ff: None,
            gating: Gating::Softmax,
            choice_bias: None,
            choice: Choice::Weights,
            biases: false,
            weighs_input: false,
            routes_layer_input: false,
            normalised: true,
            scale: 0.0,
            activation: Activation::Silu,
            suffix: "_exps",
            n_matrices: None,
            gate_is_optional: false,
            may_be_merged: false,
            scales: false,
            shared: None,
        }
    }
}

/// Matrices of all experts, `[n_in, n_out, n_expert]`, and one factor for each.
#[derive(Debug)]
struct ExpertMatrices {
    w: Weight,
    /// `[n_out, n_expert]`.
    bias: Option<Weight>,
    scale: Option<Weight>,
}

/// A router, its experts, and what stands beside them.
#[derive(Debug)]
pub(crate) struct Moe {
    il: usize,
    experts: Experts,
    router: Weight,
    router_bias: Option<Weight>,
    choice_bias: Option<Weight>,
    /// What the architecture has.
    spec: MoeSpec,
    up: Up,
    down: ExpertMatrices,
    shared: Option<(Ffn, Option<Weight>)>,
}

/// The experts' first matrices.
#[derive(Debug)]
enum Up {
    /// Gate and up in one.
    Merged(Box<ExpertMatrices>),
    /// Up, and perhaps a gate.
    Apart { up: Box<ExpertMatrices>, gate: Option<Box<ExpertMatrices>> },
}

impl Moe {
    /// The mixture of layer `il`.
    pub fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize, spec: &MoeSpec) -> Result<Moe, Error> {
        let (n_embd, experts) = (hparams.n_embd, hparams.experts);
        let n_ff = spec.n_ff.unwrap_or(hparams.layers[il].n_ff);
        if experts.n == 0 {
            return Err(hparams.error("expert_count", &0, "the number of experts"));
        }
        if n_ff == 0 {
            let found = format!("missing or 0 in layer {il}");
            return Err(hparams.error("expert_feed_forward_length", &found, "the width of the experts"));
        }
        check_groups(hparams)?;
        let router = loader.require(&block(il, "ffn_gate_inp.weight"), &[n_embd, experts.n], MulMat)?;
        let mut router_bias = None;
        if spec.biases {
            router_bias = Some(loader.require(&block(il, "ffn_gate_inp.bias"), &[experts.n], Elementwise)?);
        }
        let mut choice_bias = None;
        if let Some((name, is_required)) = spec.choice_bias {
            let name = block(il, name);
            choice_bias = if is_required {
                Some(loader.require(&name, &[experts.n], Elementwise)?)
            } else {
                loader.optional(&name, &[experts.n], Elementwise)?
            };
        }
        let n_matrices = spec.n_matrices.unwrap_or(experts.n);
        let mut optional = |name: &str, n_in: usize, n_out: usize| {
            let name = block(il, &format!("{name}{}", spec.suffix));
            let ne = [n_in, n_out, n_matrices];
            let Some(w) = loader.optional(&format!("{name}.weight"), &ne, MulMat)? else { return Ok(None) };
            let mut bias = None;
            if spec.biases {
                bias = Some(loader.require(&format!("{name}.bias"), &ne[1..], Elementwise)?);
            }
            let scale = loader.optional(&format!("{name}.scale"), &[n_matrices], Elementwise)?;
            // As beside other matrices: nothing on the processor reads them.
            loader.optional(&format!("{name}.input_scale"), &[n_matrices], Elementwise)?;
            Ok::<_, Error>(Some(ExpertMatrices { w, bias, scale: scale.filter(|_| spec.scales) }))
        };
        let missing = |name: &str, n_in: usize, n_out: usize| {
            let name = format!("{}{}.weight", block(il, name), spec.suffix);
            Loader::missing(&name, &[n_in, n_out, n_matrices], &[])
        };
        let merged = if spec.may_be_merged { optional("ffn_gate_up", n_embd, 2 * n_ff)? } else { None };
        let up = if let Some(merged) = merged {
            Up::Merged(Box::new(merged))
        } else {
            let up = optional("ffn_up", n_embd, n_ff)?;
            let gate = optional("ffn_gate", n_embd, n_ff)?;
            if gate.is_none() && !spec.gate_is_optional {
                return Err(missing("ffn_gate", n_embd, n_ff));
            }
            Up::Apart {
                up: Box::new(up.ok_or_else(|| missing("ffn_up", n_embd, n_ff))?),
                gate: gate.map(Box::new),
            }
        };
        let down = optional("ffn_down", n_ff, n_embd)?;
        let down = down.ok_or_else(|| missing("ffn_down", n_ff, n_embd))?;
        let mut shared = None;
        if let Some(spec) = &spec.shared {
            let mut gate = None;
            if spec.is_gated {
                gate = Some(loader.require(&block(il, "ffn_gate_inp_shexp.weight"), &[n_embd], MulMat)?);
            }
            shared = Some((Ffn::load(loader, hparams, il, &spec.ffn)?, gate));
        }
        Ok(Moe { il, experts, router, router_bias, choice_bias, spec: spec.clone(), up, down, shared })
    }

    /// The chosen experts of each token, i32 `[n_used, n_tokens]`, and what weights are made of, f32 `[n, n_tokens]`.
    pub fn choose(&self, b: &mut Builder<'_>, x: TensorId) -> Result<[TensorId; 2], Error> {
        let n_used = self.experts.n_used;
        let mut logits = b.mul_mat(&self.router, x)?;
        b.name(logits, "ffn_moe_logits", self.il);
        if let Some(bias) = &self.router_bias {
            let bias = b.weight(bias)?;
            logits = b.graph.add(logits, bias)?;
        }
        let probs = match self.spec.gating {
            Gating::Softmax => b.graph.soft_max(logits, None, 1.0, 0.0)?,
            Gating::Sigmoid => b.graph.unary(UnaryOp::Sigmoid, logits)?,
            Gating::SoftmaxOfChosen => logits,
            Gating::SqrtSoftplus => {
                let positive = b.graph.unary(UnaryOp::Softplus, logits)?;
                b.graph.sqrt(positive)?
            }
        };
        b.name(probs, "ffn_moe_probs", self.il);
        let mut choice = if self.spec.choice == Choice::Scores { logits } else { probs };
        if let Some(bias) = &self.choice_bias {
            let bias = b.weight(bias)?;
            choice = b.graph.add(choice, bias)?;
        }
        if self.experts.n_groups > 1 {
            choice = self.mask_groups(b, choice)?;
        }
        let chosen = top(b, choice, n_used)?;
        b.name(chosen, "ffn_moe_topk", self.il);
        Ok([chosen, probs])
    }

    /// The weights of chosen experts, f32 `[1, n_used, n_tokens]`.
    pub fn weights(&self, b: &mut Builder<'_>, chosen: TensorId, probs: TensorId) -> Result<TensorId, Error> {
        let Experts { n, n_used, .. } = self.experts;
        let n_tokens = b.graph[probs].ne[1];
        let probs = b.graph.reshape(probs, [1, n, n_tokens, 1])?;
        let mut weights = b.graph.get_rows(probs, chosen)?;
        if self.spec.gating == Gating::SoftmaxOfChosen {
            let rows = b.graph.reshape(weights, [n_used, n_tokens, 1, 1])?;
            let rows = b.graph.soft_max(rows, None, 1.0, 0.0)?;
            weights = b.graph.reshape(rows, [1, n_used, n_tokens, 1])?;
        }
        if self.spec.normalised {
            let rows = b.graph.reshape(weights, [n_used, n_tokens, 1, 1])?;
            let sum = b.graph.sum_rows(rows)?;
            // The smallest normal f16.
            let sum = b.graph.clamp(sum, 6.103_515_6e-5, f32::INFINITY)?;
            let rows = b.graph.div(rows, sum)?;
            weights = b.graph.reshape(rows, [1, n_used, n_tokens, 1])?;
        }
        if self.spec.scale != 0.0 && self.spec.scale != 1.0 {
            weights = b.graph.scale(weights, self.spec.scale, 0.0)?;
        }
        b.name(weights, "ffn_moe_weights", self.il);
        b.graph.build_forward_expand(weights);
        Ok(weights)
    }

    /// The scores of experts outside the best groups, far below all others. A group counts by the sum of its best two.
    fn mask_groups(&self, b: &mut Builder<'_>, choice: TensorId) -> Result<TensorId, Error> {
        let Experts { n, n_groups, n_groups_used, .. } = self.experts;
        let n_tokens = b.graph[choice].ne[1];
        let size = n / n_groups;
        let groups = b.graph.reshape(choice, [size, n_groups, n_tokens, 1])?;
        let best = top(b, groups, 2)?;
        let single = b.graph.reshape(choice, [1, size, n_groups, n_tokens])?;
        let best = b.graph.get_rows(single, best)?;
        let best = b.graph.reshape(best, [2, n_groups, n_tokens, 1])?;
        let scores = b.graph.sum_rows(best)?;
        let scores = b.graph.reshape(scores, [n_groups, n_tokens, 1, 1])?;
        // The reference copies the best groups over rows of -inf; here the others are pushed down by what is below the last that
        // is kept. Of groups with equal scores at that place more are kept than there.
        let order = b.graph.argsort(scores, SortOrder::Descending)?;
        let (nb, skipped) = (b.graph[order].nb, (n_groups_used - 1) * size_of::<i32>());
        let last = b.graph.view(order, [1, n_tokens, 1, 1], [nb[1], nb[2], nb[3]], skipped)?;
        let single = b.graph.reshape(scores, [1, n_groups, n_tokens, 1])?;
        let least = b.graph.get_rows(single, last)?;
        let least = b.graph.reshape(least, [1, n_tokens, 1, 1])?;
        let least = b.graph.repeat(least, [n_groups, n_tokens, 1, 1])?;
        let below = b.graph.sub(least, scores)?;
        let below = b.graph.unary(UnaryOp::Step, below)?;
        let below = b.graph.scale(below, -1e30, 0.0)?;
        let below = b.graph.reshape(below, [1, n_groups, n_tokens, 1])?;
        let below = b.graph.repeat(below, [size, n_groups, n_tokens, 1])?;
        let masked = b.graph.add(groups, below)?;
        Ok(b.graph.reshape(masked, [n, n_tokens, 1, 1])?)
    }

    /// The sum of the results of the experts that `routed` leads to.
    pub fn mix(&self, b: &mut Builder<'_>, x: TensorId, routed: TensorId) -> Result<TensorId, Error> {
        let [chosen, probs] = self.choose(b, routed)?;
        let weights = self.weights(b, chosen, probs)?;
        self.mix_chosen(b, x, [chosen, weights])
    }

    /// The sum of the results of these experts, with these weights.
    pub fn mix_chosen(
        &self,
        b: &mut Builder<'_>,
        x: TensorId,
        [chosen, weights]: [TensorId; 2],
    ) -> Result<TensorId, Error> {
        let [n_embd, n_tokens, ..] = b.graph[x].ne;
        let mut x = b.graph.reshape(x, [n_embd, 1, n_tokens, 1])?;
        if self.spec.weighs_input {
            let repeated = b.graph.repeat(x, [n_embd, self.experts.n_used, n_tokens, 1])?;
            x = b.graph.mul(repeated, weights)?;
        }
        let bent = match &self.up {
            Up::Merged(merged) => {
                let both = merged.product(b, x, chosen)?;
                let ([n, n_used, ..], nb) = (b.graph[both].ne, b.graph[both].nb);
                let half = |at: usize| ([n / 2, n_used, n_tokens, 1], [nb[1], nb[2], nb[3]], at);
                let (ne, strides, at) = half(0);
                let gate = b.graph.view(both, ne, strides, at)?;
                let (ne, strides, at) = half(n / 2 * size_of::<f32>());
                let up = b.graph.view(both, ne, strides, at)?;
                self.spec.activation.gated(b, gate, up)?
            }
            Up::Apart { up, gate } => {
                let up = up.product(b, x, chosen)?;
                match gate {
                    Some(gate) => {
                        let gate = gate.product(b, x, chosen)?;
                        self.spec.activation.gated(b, gate, up)?
                    }
                    None => self.spec.activation.bend(b, up)?,
                }
            }
        };
        let mut out = self.down.product(b, bent, chosen)?;
        if !self.spec.weighs_input {
            out = b.graph.mul(out, weights)?;
        }
        b.graph.build_forward_expand(out);
        let nb = b.graph[out].nb;
        let slot = |b: &mut Builder<'_>, i: usize| -> Result<TensorId, Error> {
            let view = b.graph.view(out, [n_embd, n_tokens, 1, 1], [nb[2], nb[3], nb[3]], i * nb[1])?;
            b.graph.build_forward_expand(view);
            Ok(view)
        };
        let slots = (0..self.experts.n_used).map(|i| slot(b, i)).collect::<Result<Vec<_>, _>>()?;
        let mut sum = slots[0];
        for slot in &slots[1..] {
            sum = b.graph.add(sum, *slot)?;
            b.graph.build_forward_expand(sum);
        }
        if slots.len() == 1 {
            sum = b.graph.cont(sum)?;
        }
        b.name(sum, "ffn_moe_out", self.il);
        Ok(sum)
    }
}

impl Block for Moe {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        self.forward_in_layer(b, x, x)
    }

    fn forward_in_layer(
        &self,
        b: &mut Builder<'_>,
        x: TensorId,
        layer_input: TensorId,
    ) -> Result<TensorId, Error> {
        let mixed = self.mix(b, x, if self.spec.routes_layer_input { layer_input } else { x })?;
        let Some((shared, gate)) = &self.shared else { return Ok(mixed) };
        let mut out = shared.forward(b, x)?;
        if let Some(gate) = gate {
            let gate = b.weight(gate)?;
            let score = b.graph.mul_mat(gate, x)?;
            // The reference's sigmoid here: silu(x) / x.
            let bent = b.graph.unary(UnaryOp::Silu, score)?;
            let share = b.graph.div(bent, score)?;
            out = b.graph.mul(out, share)?;
        }
        b.name(out, "ffn_shexp", self.il);
        let sum = b.graph.add(mixed, out)?;
        let is_averaged = self.spec.shared.as_ref().is_some_and(|shared| shared.is_averaged);
        scaled(b, sum, is_averaged.then_some(0.5))
    }
}

impl ExpertMatrices {
    /// Each token's rows of `x` times the experts it chose (`build_lora_mm_id`).
    fn product(&self, b: &mut Builder<'_>, x: TensorId, chosen: TensorId) -> Result<TensorId, Error> {
        let w = b.weight(&self.w)?;
        let mut out = b.graph.mul_mat_id(w, x, chosen)?;
        if let Some(scale) = &self.scale {
            let (n, n_tokens) = (scale.ne[0], b.graph[x].ne[2]);
            let scale = b.weight(scale)?;
            let scale = b.graph.reshape(scale, [1, n, 1, 1])?;
            let scale = b.graph.repeat(scale, [1, n, n_tokens, 1])?;
            let scale = b.graph.get_rows(scale, chosen)?;
            out = b.graph.mul(out, scale)?;
        }
        out = b.adapted_by_id(&self.w, x, chosen, out)?;
        let Some(bias) = &self.bias else { return Ok(out) };
        let bias = b.weight(bias)?;
        Ok(b.graph.add_id(out, bias, chosen)?)
    }
}

/// The places of the `n` largest elements of each row.
fn top(b: &mut Builder<'_>, x: TensorId, n: usize) -> Result<TensorId, Error> {
    let order = b.graph.argsort(x, SortOrder::Descending)?;
    let ([_, n1, n2, n3], nb) = (b.graph[order].ne, b.graph[order].nb);
    Ok(b.graph.view(order, [n, n1, n2, n3], [nb[1], nb[2], nb[3]], 0)?)
}

/// Groups are of one size, of two experts at least, and those that a token chooses from hold as many experts as it uses.
fn check_groups(hparams: &Hparams) -> Result<(), Error> {
    let Experts { n, n_used, n_groups, n_groups_used, .. } = hparams.experts;
    if n_groups <= 1 {
        return Ok(());
    }
    if !n.is_multiple_of(n_groups) || n / n_groups < 2 {
        let expected = format!("groups of one size, two of the {n} experts or more");
        return Err(hparams.error("expert_group_count", &n_groups, expected));
    }
    if n_groups_used == 0 || n_groups_used > n_groups || n_groups_used * (n / n_groups) < n_used {
        let expected = format!("at most {n_groups} groups that hold {n_used} experts");
        return Err(hparams.error("expert_group_used_count", &n_groups_used, expected));
    }
    Ok(())
}
