//! Attention over what the layer remembers of earlier tokens.

use std::sync::Arc;

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{TensorId, UnaryOp};
use quipu_kv_cache::KvLayerShape;

use super::embeddings::scaled;
use super::{Bias, Block, KeyRotation, Linear, Norm, Rope, RopeFactors};
use crate::build::{AttentionInput, Builder, Heads};
use crate::error::Error;
use crate::hparams::{Hparams, LayerHparams, NormKind, Temperature};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

/// Which forms of the projections to queries, keys and values a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projections {
    /// One matrix, or else three (`create_tensor_qkv`).
    Either,
    /// One matrix.
    Fused,
    /// Three matrices.
    Separate,
}

/// Norms on queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QkNorm {
    None,
    /// Of each head, with one weight for all heads.
    Head,
    /// The same; may be absent.
    OptionalHead,
    /// Of each head, with a weight for each, and perhaps a bias.
    PerHead(Bias),
    /// Of each head, with a weight for each; may be absent.
    OptionalPerHead,
    /// Of each head, without a weight; queries with a factor for each head.
    Weightless,
    /// Of each head, without any weight.
    Bare,
    /// Of all heads together. The projections are three.
    Whole,
    /// The same with a bias; may be absent, and is where there is one projection.
    OptionalWhole,
}

/// How scores are scaled: by 1 / sqrt(head size) unless it is said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// As they are computed.
    Scores,
    /// In the queries beforehand.
    Queries,
    /// In the queries beforehand, by another factor.
    QueriesBy(f32),
    /// As they are computed, by this.
    Factor(f32),
}

/// How wide the gate on what attention gives is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateWidth {
    /// One number for each element.
    Elements,
    /// One number for each head.
    Heads,
    /// Either, as the file has it.
    Either,
}

/// A gate on what attention gives, before the projection back (`attn_gate`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GateSpec {
    pub function: UnaryOp,
    pub width: GateWidth,
    pub is_optional: bool,
}

/// Where a layer's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// A matrix.
    Projected,
    /// A matrix, and normed without a weight.
    Normed,
    /// The same, or the product that keys are made of where the file has no matrix.
    NormedOrKeys,
}

/// What an architecture's attention has. The default is what most have.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent answers of an architecture
pub(crate) struct AttentionSpec {
    pub projections: Projections,
    /// What stands before the names of its matrices.
    pub prefix: &'static str,
    /// Biases of the projections.
    pub qkv_bias: Bias,
    /// Factors beside the projections are honoured.
    pub qkv_scales: bool,
    /// Queries, keys and values are brought between this and its negative.
    pub clamp: Option<f32>,
    pub qk_norm: QkNorm,
    /// Kind and epsilon of those norms, if they are not the model's.
    pub qk_norm_kind: Option<(NormKind, f32)>,
    /// They are normed behind the rotation instead of before it.
    pub norm_rotated: bool,
    pub scale: Scale,
    /// Queries grow with their position.
    pub temperature: Option<Temperature>,
    /// A norm before the projection back (`attn_sub_norm`).
    pub sub_norm: bool,
    /// A bias on the result.
    pub out_bias: Bias,
    /// Keys and values stay for later tokens; else a ubatch attends over itself.
    pub remembers: bool,
    /// A score of each head that has no value (`attn_sinks`).
    pub sinks: Bias,
    /// A gate on what attention gives.
    pub gate: Option<GateSpec>,
    /// A factor on the result.
    pub out_scale: Option<f32>,
    pub values: Values,
    /// The layer whose keys and values are read, if it has none of its own.
    pub reads: Option<usize>,
}

impl Default for AttentionSpec {
    fn default() -> Self {
        AttentionSpec {
            projections: Projections::Either,
            prefix: "",
            qkv_bias: Bias::Optional,
            qkv_scales: true,
            clamp: None,
            qk_norm: QkNorm::None,
            qk_norm_kind: None,
            norm_rotated: false,
            scale: Scale::Scores,
            temperature: None,
            sub_norm: false,
            out_bias: Bias::Never,
            remembers: true,
            sinks: Bias::Never,
            gate: None,
            out_scale: None,
            values: Values::Projected,
            reads: None,
        }
    }
}

/// Projections, norms, rotation, attention over the layer's memory, and the projection back. Answers to `build_qkv` and `build_attn`.
#[derive(Debug)]
pub(crate) struct Attention {
    il: usize,
    shape: LayerHparams,
    qkv: Qkv,
    clamp: Option<f32>,
    qk_norm: QkNorm,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    norm_rotated: bool,
    rope: Option<Rope>,
    scale: Scale,
    logit_softcap: f32,
    temperature: Option<Temperature>,
    sub_norm: Option<Norm>,
    wo: Linear,
    remembers: bool,
    sinks: Option<Weight>,
    gate: Option<(UnaryOp, Linear)>,
    out_scale: Option<f32>,
    /// On values.
    v_norm: Option<Norm>,
    reads: Option<usize>,
}

/// The projections to queries, keys and values: one matrix or three.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
enum Qkv {
    Fused(Linear),
    /// Without a matrix for values, they are what keys are made of.
    Separate {
        q: Linear,
        k: Linear,
        v: Option<Linear>,
    },
    /// Of a layer that reads another one's keys and values.
    Queries(Linear),
}

impl Attention {
    /// The attention of layer `il`.
    pub fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        factors: &Arc<RopeFactors>,
        spec: &AttentionSpec,
    ) -> Result<Attention, Error> {
        let shape = hparams.layers[il];
        check(hparams, il)?;
        let qkv = Qkv::load(loader, hparams, il, spec)?;
        let (d, n_head, n_head_kv) = (shape.n_embd_head_k, shape.n_head, shape.n_head_kv);
        let is_fused = matches!(qkv, Qkv::Fused(_));
        let mut norm = |name: &str, n_head: usize| -> Result<Option<Norm>, Error> {
            let is_key = name == "attn_k_norm";
            let name = block(il, name);
            let norm = match spec.qk_norm {
                QkNorm::None => None,
                // Its keys are another layer's.
                _ if is_key && spec.reads.is_some() => {
                    loader.ignore(&format!("{name}.weight"));
                    None
                }
                QkNorm::Bare => Some(Norm::weightless(hparams)),
                QkNorm::Head => Some(Norm::load(loader, hparams, &name, &[d], Bias::Never)?),
                QkNorm::OptionalHead => Norm::optional(loader, hparams, &name, &[d], Bias::Never)?,
                QkNorm::PerHead(bias) => Some(Norm::load(loader, hparams, &name, &[d, n_head], bias)?),
                QkNorm::OptionalPerHead => Norm::optional(loader, hparams, &name, &[d, n_head], Bias::Never)?,
                QkNorm::Weightless if is_key => Some(Norm::weightless(hparams)),
                QkNorm::Weightless => Some(Norm::load(loader, hparams, &name, &[1, n_head], Bias::Never)?),
                QkNorm::Whole => Some(Norm::load(loader, hparams, &name, &[d * n_head], Bias::Never)?),
                QkNorm::OptionalWhole if is_fused => None,
                QkNorm::OptionalWhole => {
                    // The bias is taken even where there is no norm to add it to.
                    loader.ignore(&format!("{name}.bias"));
                    Norm::optional(loader, hparams, &name, &[d * n_head], Bias::Optional)?
                }
            };
            Ok(match spec.qk_norm_kind {
                Some((kind, eps)) => norm.map(|norm| norm.of_kind(kind, eps)),
                None => norm,
            })
        };
        let q_norm = norm("attn_q_norm", n_head)?;
        let k_norm = norm("attn_k_norm", n_head_kv)?;
        let mut sub_norm = None;
        if spec.sub_norm {
            let name = block(il, "attn_sub_norm");
            let ne = [shape.n_embd_head_v * n_head];
            sub_norm = Some(Norm::load(loader, hparams, &name, &ne, Bias::Never)?);
        }
        let wo_ne = [shape.n_embd_head_v * n_head, hparams.n_embd];
        let sinks = block(il, "attn_sinks.weight");
        let sinks = match spec.sinks {
            Bias::Never | Bias::Unused => None,
            Bias::Optional => loader.optional(&sinks, &[n_head], Elementwise)?,
            Bias::Required => Some(loader.require(&sinks, &[n_head], Elementwise)?),
        };
        let gate = match spec.gate {
            Some(gate) => load_gate(loader, hparams, il, gate)?,
            None => None,
        };
        Ok(Attention {
            il,
            shape,
            qkv,
            clamp: spec.clamp,
            qk_norm: spec.qk_norm,
            q_norm,
            k_norm,
            norm_rotated: spec.norm_rotated,
            rope: Rope::new(hparams, il, factors),
            scale: spec.scale,
            logit_softcap: hparams.attn_logit_softcap,
            temperature: spec.temperature,
            sub_norm,
            wo: Linear::load(
                loader,
                &block(il, &format!("{}attn_output", spec.prefix)),
                wo_ne,
                spec.out_bias,
            )?,
            remembers: spec.remembers,
            sinks,
            gate,
            out_scale: spec.out_scale,
            v_norm: (spec.values != Values::Projected).then(|| Norm::weightless(hparams)),
            reads: spec.reads,
        })
    }

    /// The same attention with the memory of layer `il`.
    pub fn remembering_in(self, il: usize) -> Attention {
        Attention { il, ..self }
    }

    /// Queries, keys and values of `x`, before norms of heads and rotation.
    fn heads(&self, b: &mut Builder<'_>, x: TensorId) -> Result<Heads, Error> {
        let whole = self.norms_whole();
        let heads = match &self.qkv {
            Qkv::Fused(fused) => self.fused_heads(b, fused, x)?,
            Qkv::Separate { q, k, v } => {
                let mut project = |linear: &Linear, norm: Option<&Norm>, d, n_head| {
                    let rows = linear.forward(b, x)?;
                    let mut rows = clamped(b, rows, self.clamp)?;
                    if let Some(norm) = norm.filter(|_| whole) {
                        rows = norm.forward(b, rows)?;
                    }
                    let n_tokens = b.graph[rows].ne[1];
                    Ok::<_, Error>(b.graph.reshape(rows, [d, n_head, n_tokens, 1])?)
                };
                let LayerHparams { n_head, n_head_kv, n_embd_head_k: d_k, n_embd_head_v: d_v, .. } =
                    self.shape;
                let q = project(q, self.q_norm.as_ref(), d_k, n_head)?;
                let k = project(k, self.k_norm.as_ref(), d_k, n_head_kv)?;
                let v = match v {
                    Some(v) => project(v, None, d_v, n_head_kv)?,
                    None => k,
                };
                Heads { q, k, v }
            }
            Qkv::Queries(q) => {
                let rows = q.forward(b, x)?;
                let LayerHparams { n_head, n_embd_head_k: d_k, .. } = self.shape;
                let n_tokens = b.graph[rows].ne[1];
                let q = b.graph.reshape(rows, [d_k, n_head, n_tokens, 1])?;
                Heads { q, k: q, v: q }
            }
        };
        Ok(heads)
    }

    /// Queries and keys are normed before they are seen as heads.
    fn norms_whole(&self) -> bool {
        matches!(self.qk_norm, QkNorm::Whole | QkNorm::OptionalWhole)
    }

    /// Norms of heads, where there are such.
    fn norm_heads(&self, b: &mut Builder<'_>, heads: &mut Heads) -> Result<(), Error> {
        if self.norms_whole() {
            return Ok(());
        }
        let norms =
            [(&mut heads.q, &self.q_norm, "Qcur_normed"), (&mut heads.k, &self.k_norm, "Kcur_normed")];
        for (x, norm, name) in norms {
            if let Some(norm) = norm {
                *x = norm.forward(b, *x)?;
                b.name(*x, name, self.il);
            }
        }
        Ok(())
    }

    /// The product of one matrix, seen as heads.
    fn fused_heads(&self, b: &mut Builder<'_>, fused: &Linear, x: TensorId) -> Result<Heads, Error> {
        let LayerHparams { n_head, n_head_kv, n_embd_head_k: d_k, n_embd_head_v: d_v, .. } = self.shape;
        let all = fused.forward(b, x)?;
        let all = clamped(b, all, self.clamp)?;
        b.name(all, "wqkv", self.il);
        let (row, n_tokens) = (b.graph[all].nb[1], b.graph[all].ne[1]);
        let float = size_of::<f32>();
        let mut part = |d: usize, heads: usize, first: usize| {
            b.graph.view(all, [d, heads, n_tokens, 1], [d * float, row, row * n_tokens], first * float)
        };
        Ok(Heads {
            q: part(d_k, n_head, 0)?,
            k: part(d_k, n_head_kv, d_k * n_head)?,
            v: part(d_v, n_head_kv, d_k * (n_head + n_head_kv))?,
        })
    }
}

impl Block for Attention {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let mut heads = self.heads(b, x)?;
        if !self.norm_rotated {
            self.norm_heads(b, &mut heads)?;
        }
        if let Some(norm) = self.v_norm.as_ref().filter(|_| self.reads.is_none()) {
            heads.v = norm.forward(b, heads.v)?;
        }
        if let Some(rope) = &self.rope {
            heads.q = rope.forward(b, heads.q)?;
            if self.reads.is_none() {
                heads.k = rope.forward(b, heads.k)?;
            }
        }
        if self.norm_rotated {
            self.norm_heads(b, &mut heads)?;
        }
        let by_head = 1.0 / (self.shape.n_embd_head_k as f32).sqrt();
        let (kq_scale, of_queries) = match self.scale {
            Scale::Scores => (by_head, None),
            Scale::Factor(factor) => (factor, None),
            Scale::Queries => (1.0, Some(by_head)),
            Scale::QueriesBy(factor) => (1.0, Some(factor)),
        };
        if let Some(factor) = of_queries {
            heads.q = b.graph.scale(heads.q, factor, 0.0)?;
        }
        if let Some(temperature) = self.temperature {
            let factors = b.temperature(temperature)?;
            heads.q = b.graph.mul(heads.q, factors)?;
        }
        let sinks = self.sinks.as_ref().map(|sinks| b.weight(sinks)).transpose()?;
        let (il, logit_softcap) = (self.il, self.logit_softcap);
        let input = AttentionInput { il, heads, kq_scale, logit_softcap, sinks };
        let mut out = match self.reads {
            Some(_) => b.attend_reusing(&input)?,
            None => b.attend(&input)?,
        };
        if let Some(norm) = &self.sub_norm {
            out = norm.forward(b, out)?;
        }
        if let Some((function, gate)) = &self.gate {
            out = gated(b, out, x, *function, gate)?;
        }
        let out = self.wo.forward(b, out)?;
        let out = scaled(b, out, self.out_scale)?;
        b.name(out, "attn_out", self.il);
        Ok(out)
    }

    fn memory(&self) -> LayerMemory {
        if !self.remembers {
            return LayerMemory::None;
        }
        if let Some(layer) = self.reads {
            return LayerMemory::Reuse { layer };
        }
        let shape =
            KvLayerShape { n_embd_k_gqa: self.shape.n_embd_k_gqa(), n_embd_v_gqa: self.shape.n_embd_v_gqa() };
        LayerMemory::Attention { shape, window: self.shape.window }
    }

    fn key_rotation(&self) -> Option<KeyRotation<'_>> {
        let rope = self.rope.as_ref().filter(|_| self.remembers && self.reads.is_none())?;
        Some(KeyRotation::new(rope, self.shape.n_embd_head_k, self.shape.n_head_kv))
    }
}

/// What attention gave for `x`, times a function of a product of `x`.
fn gated(
    b: &mut Builder<'_>,
    out: TensorId,
    x: TensorId,
    function: UnaryOp,
    gate: &Linear,
) -> Result<TensorId, Error> {
    let product = gate.forward(b, x)?;
    let gate = b.graph.unary(function, product)?;
    let ([n, n_tokens, ..], n_gate) = (b.graph[out].ne, b.graph[gate].ne[0]);
    if n_gate == n {
        return Ok(b.graph.mul(out, gate)?);
    }
    let heads = b.graph.reshape(out, [n / n_gate, n_gate, n_tokens, 1])?;
    let gate = b.graph.reshape(gate, [1, n_gate, n_tokens, 1])?;
    let gated = b.graph.mul(heads, gate)?;
    Ok(b.graph.reshape(gated, [n, n_tokens, 1, 1])?)
}

/// The gate of layer `il`.
fn load_gate(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    il: usize,
    spec: GateSpec,
) -> Result<Option<(UnaryOp, Linear)>, Error> {
    let name = block(il, "attn_gate");
    let LayerHparams { n_head, n_embd_head_v, .. } = hparams.layers[il];
    let by_element = match spec.width {
        GateWidth::Elements => true,
        GateWidth::Heads => false,
        GateWidth::Either => loader.shape(&format!("{name}.weight"))?.is_some_and(|ne| ne[1] != n_head),
    };
    let ne = [hparams.n_embd, if by_element { n_embd_head_v * n_head } else { n_head }];
    let gate = if spec.is_optional {
        Linear::optional(loader, &name, ne, Bias::Never)?
    } else {
        Some(Linear::load(loader, &name, ne, Bias::Never)?)
    };
    Ok(gate.map(|gate| (spec.function, gate.unscaled())))
}

/// `x` between a bound and its negative, if there is one.
fn clamped(b: &mut Builder<'_>, x: TensorId, bound: Option<f32>) -> Result<TensorId, Error> {
    Ok(match bound {
        Some(bound) => b.graph.clamp(x, -bound, bound)?,
        None => x,
    })
}

impl Qkv {
    fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        spec: &AttentionSpec,
    ) -> Result<Qkv, Error> {
        let shape = &hparams.layers[il];
        let n_embd = hparams.n_embd;
        let n_q = shape.n_embd_head_k * shape.n_head;
        let (n_k, n_v) = (shape.n_embd_k_gqa(), shape.n_embd_v_gqa());
        let scaled = |linear: Linear| if spec.qkv_scales { linear } else { linear.unscaled() };
        let name = block(il, &format!("{}attn_qkv", spec.prefix));
        let ne = [n_embd, n_q + n_k + n_v];
        let mut instead = Vec::new();
        match spec.projections {
            Projections::Fused => {
                return Linear::load(loader, &name, ne, spec.qkv_bias).map(scaled).map(Qkv::Fused);
            }
            Projections::Either => {
                if let Some(fused) = Linear::optional(loader, &name, ne, spec.qkv_bias)? {
                    return Ok(Qkv::Fused(scaled(fused)));
                }
                instead.push(format!("{name}.weight"));
            }
            Projections::Separate => {}
        }
        let mut load = |name: &str, n: usize| {
            Linear::load_or(loader, &block(il, name), [n_embd, n], spec.qkv_bias, &instead).map(scaled)
        };
        let q = load("attn_q", n_q)?;
        if spec.reads.is_some() {
            // The reference loads what the file has of these, and does not use it.
            for (name, n) in [("attn_k", n_k), ("attn_v", n_v)] {
                Linear::optional(loader, &block(il, name), [n_embd, n], spec.qkv_bias)?;
            }
            return Ok(Qkv::Queries(q));
        }
        let k = load("attn_k", n_k)?;
        if spec.values == Values::NormedOrKeys {
            let v = Linear::optional(loader, &block(il, "attn_v"), [n_embd, n_v], spec.qkv_bias)?;
            return Ok(Qkv::Separate { q, k, v: v.map(scaled) });
        }
        Ok(Qkv::Separate { q, k, v: Some(load("attn_v", n_v)?) })
    }
}

/// Whether layer `il` has heads to attend with.
fn check(hparams: &Hparams, il: usize) -> Result<(), Error> {
    let LayerHparams { n_head, n_head_kv, .. } = hparams.layers[il];
    if n_head == 0 {
        let found = format!("missing or 0 in layer {il}");
        return Err(hparams.error("attention.head_count", &found, "the number of attention heads"));
    }
    if n_head_kv == 0 || !n_head.is_multiple_of(n_head_kv) {
        let found = format!("{n_head_kv} for {n_head} heads in layer {il}");
        let expected = "a positive divisor of the head count";
        return Err(hparams.error("attention.head_count_kv", &found, expected));
    }
    Ok(())
}
