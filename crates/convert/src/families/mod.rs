//! Model families, one file each: which tensors they have under which names, and their defaults. Data only; what of a family is not
//! a table stands in `params`, `parts` and `vocab`.

pub(super) mod bert;
pub(super) mod deepseek2;
pub(super) mod dense;
pub(super) mod falcon;
pub(super) mod gemma;
pub(super) mod glm4;
pub(super) mod gpt2;
pub(super) mod gpt_oss;
pub(super) mod llama;
pub(super) mod mamba;
pub(super) mod phi3;
pub(super) mod qwen_moe;
pub(super) mod stablelm;

use serde_json::Value as Json;

/// What transformers takes for what the `config.json` of a model of this kind leaves out; `None` for kinds that no file here is about.
pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let all = [
        bert::defaults,
        deepseek2::defaults,
        dense::defaults,
        falcon::defaults,
        gemma::defaults,
        glm4::defaults,
        gpt2::defaults,
        gpt_oss::defaults,
        llama::defaults,
        phi3::defaults,
        qwen_moe::defaults,
        stablelm::defaults,
    ];
    all.iter().find_map(|defaults| defaults(model_type))
}

/// Names in a checkpoint and GGUF's.
pub(super) type Rows = &'static [(&'static str, &'static str)];

/// Outside of layers: embedding, last norm, head.
const WHOLE: Rows =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// The four projections of attention.
const ATTENTION: Rows = &[
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
];

/// Norms of each head's queries and keys.
const HEAD_NORMS: Rows = &[("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm")];

/// The gated feed-forward.
const MLP: Rows = &[("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down")];

/// Norms before attention and before the feed-forward.
const PRE_NORMS: Rows = &[("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

/// Norms on both sides of attention and of the feed-forward.
const SANDWICH_NORMS: Rows = &[
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// Names of a family's tensors, each without `.weight` or `.bias`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// What a checkpoint may leave out in front of every name; empty for most.
    pub lacks: &'static str,
    /// Outside of layers: the checkpoint's name and GGUF's.
    pub whole: Rows,
    /// What stands before the number of a layer.
    pub layers: &'static str,
    /// The checkpoint's name behind that number and GGUF's behind `blk.N.`.
    pub layer: &'static [Rows],
}

impl Names {
    /// The names of a decoder under `model.`, as most are.
    const fn decoder(layer: &'static [Rows]) -> Names {
        Names { lacks: "", whole: WHOLE, layers: "model.layers.", layer }
    }

    /// GGUF's name of a tensor of a model with `n_layer` layers.
    pub(super) fn gguf_name(&self, name: &str, n_layer: usize) -> Option<String> {
        let found = self.full_gguf_name(name, n_layer);
        if found.is_some() || self.lacks.is_empty() {
            return found;
        }
        self.full_gguf_name(&format!("{}{name}", self.lacks), n_layer)
    }

    fn full_gguf_name(&self, name: &str, n_layer: usize) -> Option<String> {
        ["", ".weight", ".bias"].iter().find_map(|suffix| {
            let mapped = self.stem(name.strip_suffix(suffix)?, n_layer)?;
            Some(format!("{mapped}{suffix}"))
        })
    }

    fn stem(&self, stem: &str, n_layer: usize) -> Option<String> {
        let of = |rows: Rows, stem: &str| rows.iter().find(|(from, _)| *from == stem).map(|(_, to)| *to);
        if let Some(whole) = of(self.whole, stem) {
            return Some(whole.to_owned());
        }
        let (layer, part) = stem.strip_prefix(self.layers)?.split_once('.')?;
        // A number in another spelling is another name.
        let layer = layer.parse::<usize>().ok().filter(|n| *n < n_layer && n.to_string() == layer)?;
        let part = self.layer.iter().find_map(|rows| of(rows, part))?;
        Some(format!("blk.{layer}.{part}"))
    }
}

/// Tensors of a layer that are stored one by one and become a stack: experts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stacked {
    /// What stands in the name of each of them.
    pub marker: &'static str,
    /// Keys of the configuration that say how many there are, in the order in which they are looked for.
    pub counts: &'static [&'static str],
    /// Behind the layer's number: the name before the tensor's own number and the one behind it, and GGUF's name of the stack; in
    /// the order of the stacks in the file.
    pub stacks: &'static [(&'static str, &'static str, &'static str)],
}

/// Experts of a feed-forward under `mlp.experts`.
const MLP_EXPERTS: &[(&str, &str, &str)] = &[
    ("mlp.experts", "down_proj.weight", "ffn_down_exps.weight"),
    ("mlp.experts", "gate_proj.weight", "ffn_gate_exps.weight"),
    ("mlp.experts", "up_proj.weight", "ffn_up_exps.weight"),
];
