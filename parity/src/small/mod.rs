//! Small models of every architecture: four heads each, weights that hide nothing, one line of a table each.
//!
//! They prove what the larger toys of `toy` prove for the first architectures, and take a few kilobytes of recorded answers each. A part
//! can be taken out of them; a comparison that does not notice proves nothing of that part.

mod recipe;
mod table;

use std::collections::BTreeSet;

use quipu_decoder::Pooling;
use quipu_gguf::{Array, GgufWriter, Value as GgufValue};
use quipu_quant::{DType, quantize_row};

use crate::encoders::Seen;
use crate::error::Error;
use quipu_testing::{SplitMix, fnv1a};
pub use recipe::Small;
use recipe::Value;
pub use table::SMALL;

/// Vocabulary of every small model.
pub const N_VOCAB: usize = 256;
/// The types they come in.
pub const TYPES: [DType; 2] = [DType::F32, DType::Q8_0];

const N_HEAD: usize = 4;
const N_EXPERT: usize = 8;
const N_FF_SHARED: usize = 96;
const N_CTX: usize = 512;

/// A tensor to be written.
struct Tensor {
    name: String,
    ne: Vec<usize>,
    is_matrix: bool,
    content: Content,
    part: &'static str,
}

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// Normal, with this standard deviation around a centre.
    Around(f32, f32),
    /// From 1 to 8, more or less evenly in their logarithm.
    Divisors,
    /// From -4 to -1/8, more or less evenly in their logarithm.
    Decays,
    /// The same number everywhere.
    Same(f32),
}

impl Small {
    /// The model file, with matrices of type `dtype`. The same arguments give the same bytes everywhere.
    ///
    /// # Errors
    /// A table whose words contradict each other.
    pub fn gguf(&self, dtype: DType, seed: u64) -> Result<Vec<u8>, Error> {
        self.write(dtype, seed, None)
    }

    /// The same without a part.
    ///
    /// # Errors
    /// As [`Small::gguf`].
    pub fn gguf_without(&self, part: &str, dtype: DType, seed: u64) -> Result<Vec<u8>, Error> {
        self.write(dtype, seed, Some(part))
    }

    /// Whether tokens choose experts.
    pub fn has_experts(&self) -> bool {
        self.keys.iter().any(|key| key.name == "expert_count")
    }

    /// Elements of what is compared, for each row.
    pub fn width(&self) -> usize {
        match self.seen {
            Seen::Logits | Seen::LogitsAtOnce | Seen::Decoder => N_VOCAB,
            Seen::Pooled(Pooling::Rank) => self.n_labels(),
            Seen::Rows | Seen::Pooled(_) => N_HEAD * self.head_size,
        }
    }

    /// One ubatch must hold all tokens.
    pub fn is_whole(&self) -> bool {
        self.seen != Seen::Logits
    }

    fn n_labels(&self) -> usize {
        let labels = self.keys.iter().find_map(|key| match key.value {
            Value::S(labels) => Some(labels.len()),
            _ => None,
        });
        labels.unwrap_or(1)
    }

    /// What can be taken out.
    pub fn parts(&self) -> Vec<&'static str> {
        let mut parts: BTreeSet<&str> = self.tensors().iter().map(|tensor| tensor.part).collect();
        parts.remove("");
        parts.extend(self.keys.iter().filter(|key| key.neutral.is_some()).map(|key| key.name));
        if self.rotates {
            parts.extend(["rope", "rope base"]);
        }
        parts.into_iter().collect()
    }

    fn write(&self, dtype: DType, seed: u64, without: Option<&str>) -> Result<Vec<u8>, Error> {
        let fail = Error::engine::<quipu_gguf::Error>(self.name);
        let mut writer = GgufWriter::new();
        self.metadata(&mut writer, without);
        let tensors = self.tensors();
        let of = |tensor: &Tensor| if tensor.is_matrix { dtype } else { DType::F32 };
        for tensor in &tensors {
            let ne: Vec<u64> = tensor.ne.iter().map(|n| *n as u64).collect();
            writer.add_tensor(&tensor.name, of(tensor), &ne).map_err(&fail)?;
        }
        let mut out = Vec::new();
        writer
            .write_to(&mut out, |index, sink| {
                let tensor = &tensors[index];
                let mut random = SplitMix::new(seed ^ fnv1a(tensor.name.as_bytes()));
                sink.write_all(&tensor.bytes(of(tensor), without, &mut random))
            })
            .map_err(&fail)?;
        Ok(out)
    }

    fn metadata(&self, writer: &mut GgufWriter, without: Option<&str>) {
        let metadata = &mut writer.metadata;
        metadata.set("general.architecture", GgufValue::from(self.arch));
        metadata.set("tokenizer.ggml.model", GgufValue::from("none"));
        let mut set = |name: &str, value| match name.strip_prefix('!') {
            Some(name) => metadata.set(name, value),
            None => metadata.set(&format!("{}.{name}", self.arch), value),
        };
        for (name, value) in [
            ("vocab_size", N_VOCAB),
            ("context_length", N_CTX),
            ("embedding_length", N_HEAD * self.head_size),
            ("block_count", self.n_layer),
            ("feed_forward_length", self.n_ff()),
            ("attention.head_count", N_HEAD),
            ("attention.head_count_kv", self.n_head_kv),
            ("attention.key_length", self.head_size),
            ("attention.value_length", self.head_size),
            ("rope.dimension_count", self.n_rot),
        ] {
            set(name, GgufValue::U32(value as u32));
        }
        set("attention.layer_norm_rms_epsilon", GgufValue::F32(1e-6));
        set("attention.layer_norm_epsilon", GgufValue::F32(1e-5));
        set("rope.freq_base", GgufValue::F32(if without == Some("rope base") { 1e6 } else { 1e4 }));
        if without == Some("rope") {
            // Positions become so small that nothing turns.
            set("rope.scaling.factor", GgufValue::F32(1e9));
        }
        for key in self.keys {
            let value = key.neutral.filter(|_| without == Some(key.name)).unwrap_or(key.value);
            set(
                key.name,
                match value {
                    Value::U(value) => GgufValue::U32(value),
                    Value::F(value) => GgufValue::F32(value),
                    Value::B(value) => GgufValue::Bool(value),
                    Value::A(values) => GgufValue::Array(Array::U32(values.to_vec())),
                    Value::N(values) => GgufValue::Array(Array::F32(values.to_vec())),
                    Value::T(text) => GgufValue::from(text),
                    Value::S(texts) => GgufValue::Array(Array::String(texts.iter().copied().collect())),
                },
            );
        }
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for word in ["token_embd"].into_iter().chain(self.top.split(' ')) {
            self.push(word, None, &mut tensors);
        }
        for il in 0..self.n_layer {
            let special = self.special.iter().find(|(at, _)| *at == il).map(|(_, words)| *words);
            let lead = (il < self.lead.0).then_some(self.lead.1);
            let words = special.or(lead).unwrap_or(self.layer);
            for word in words.iter().flat_map(|words| words.split(' ')) {
                self.push(word, Some(il), &mut tensors);
            }
        }
        tensors
    }

    /// The tensors of a word.
    fn push(&self, word: &str, il: Option<usize>, tensors: &mut Vec<Tensor>) {
        let (word, has_bias) = word.strip_suffix('+').map_or((word, false), |word| (word, true));
        let (half, word) = word.split_once('/').unwrap_or(("", word));
        let half = if half.is_empty() { String::new() } else { format!("{half}.") };
        let (word, is_whole) = word.strip_prefix('!').map_or((word, false), |word| (word, true));
        let (base, shape) = word.split_once(':').unwrap_or((word, shape(word)));
        let ne: Vec<usize> = shape.split(',').map(|dim| self.dim(dim)).collect();
        let layer = il.map_or_else(String::new, |il| format!("{half}blk.{il}."));
        let suffix = if is_whole || base.contains('.') { "" } else { ".weight" };
        let (mut content, part) = self.content(base, &ne);
        if let ("queries" | "keys", Content::Around(_, spread), false) = (part, &mut content, half.is_empty())
        {
            // Their scores are not scaled.
            *spread *= 0.35;
        }
        let (n, n_dims) = (*ne.last().unwrap_or(&1), ne.len());
        let of_experts = ne.get(1..).unwrap_or_default().to_vec();
        // Rows of less than a block cannot be quantised.
        let has_blocks = ne[0].is_multiple_of(32);
        let is_float = [
            "norm",
            "_gate_inp",
            "conv1d",
            "shortconv.conv",
            "ssm_a",
            "ssm_d",
            "_lerp",
            "time_mix_first",
            "token_types",
            "attn_rel_b",
        ];
        let is_float = base != "ssm_dt" && is_float.iter().any(|part| base.contains(part));
        let is_matrix = ne.len() > 1 && has_blocks && !is_float;
        tensors.push(Tensor { name: format!("{layer}{base}{suffix}"), ne, is_matrix, content, part });
        if has_bias {
            let content = Content::Around(0.0, 0.2);
            let name = format!("{layer}{base}.bias");
            // One row for each expert.
            let ne = if n_dims == 3 { of_experts } else { vec![n] };
            tensors.push(Tensor { name, ne, is_matrix: false, content, part: "biases" });
        }
    }

    fn n_ff(&self) -> usize {
        6 * self.head_size
    }

    fn dim(&self, dim: &str) -> usize {
        match dim {
            "E" | "Q" => N_HEAD * self.head_size,
            "V" => N_VOCAB,
            "T" => N_CTX,
            "K" => self.n_head_kv * self.head_size,
            "P" => (N_HEAD + 2 * self.n_head_kv) * self.head_size,
            "D" => self.head_size,
            "H" => N_HEAD,
            "J" => self.n_head_kv,
            "R" => self.n_rot / 2,
            "F" => self.n_ff(),
            "2F" => 2 * self.n_ff(),
            "X" => N_EXPERT,
            "M" => self.n_ff_exp,
            "2M" => 2 * self.n_ff_exp,
            "S" => N_FF_SHARED,
            number => number.parse().unwrap_or(0),
        }
    }

    /// What a tensor is filled with, and which part it is.
    fn content(&self, base: &str, ne: &[usize]) -> (Content, &'static str) {
        let matrix = |gain: f32| Content::Around(0.0, gain / (ne[0] as f32).sqrt());
        match base {
            "token_embd" => (Content::Around(0.0, self.embd), ""),
            "attn_sinks" => (Content::Around(0.0, 1.0), "scores without values"),
            "attn_gate" => (matrix(2.0), "gate of attention"),
            "position_embd" => (Content::Around(0.0, 0.5), "positions"),
            "token_types" => (Content::Around(0.0, 0.5), "kinds of tokens"),
            "attn_rel_b" => (Content::Around(0.0, 1.0), "biases by distance"),
            "cross_attn_o" => (matrix(1.0), "attention over the encoder"),
            "cls" => (matrix(1.0), "head"),
            "dense_2" | "dense_3" => (matrix(1.0), "matrices behind pooled rows"),
            "token_embd_norm" => (Content::Around(1.0, 0.2), "norm of embeddings"),
            "output" => (matrix(4.0), ""),
            "attn_q" | "cross_attn_q" => (matrix(2.0), "queries"),
            "attn_k" | "cross_attn_k" => (matrix(2.0), "keys"),
            "attn_qkv" => (matrix(1.5), "queries, keys and values"),
            "attn_output" | "attn_o" => (matrix(1.0), "attention"),
            "attn_q_norm" | "attn_k_norm" => (Content::Around(1.0, 0.2), "norms of heads"),
            "attn_sub_norm" | "ffn_sub_norm" => (Content::Around(1.0, 0.2), "norms inside blocks"),
            "post_ffw_norm" => (Content::Around(1.0, 0.2), "norms behind blocks"),
            "rope_freqs" | "rope_factors_long" | "rope_factors_short" => {
                (Content::Divisors, "rotary factors")
            }
            "ffn_gate_inp" => (matrix(2.0), "router"),
            "ffn_gate_inp_shexp" => (matrix(2.0), "gate of the shared expert"),
            "exp_probs_b.bias" | "exp_probs_b" => (Content::Around(0.0, 0.3), "bias of the choice"),
            "ffn_down" | "channel_mix_value" => (matrix(1.0), "feed-forward network"),
            "ffn_down_exps" => (matrix(1.0), "experts"),
            "ffn_down_shexp" => (matrix(1.0), "shared expert"),
            "ffn.act.scales" => (Content::Around(1.0, 0.2), "divisors of activations"),
            "ssm_a" => (Content::Decays, "decays of states"),
            "ssm_d" => (Content::Around(1.0, 0.3), "what passes states by"),
            "ssm_dt.bias" => (Content::Around(-1.0, 1.0), "steps of states"),
            "ssm_conv1d" | "ssm_conv1d_q" | "ssm_conv1d_k" | "ssm_conv1d_v" | "shortconv.conv.weight" => {
                (Content::Around(0.0, 0.5), "convolution")
            }
            "ssm_f_b" => (matrix(1.0), "decays by token"),
            "ssm_g_b" => (matrix(2.0), "gate of recurrent layers"),
            "attn_v_b" => (matrix(1.0), "values of latent rows"),
            "ssm_out" | "shortconv.out_proj.weight" | "time_mix_output" => (matrix(1.0), "recurrent layers"),
            _ if base.contains("_lerp") => (Content::Around(0.5, 0.2), "mixing with the token before"),
            "time_mix_first" => (Content::Around(0.0, 0.5), "bonus of the token itself"),
            "time_mix_decay" | "time_mix_w0" => (Content::Around(-1.0, 1.0), "decays of states"),
            "time_mix_a0" | "time_mix_v0" => (Content::Around(0.0, 0.5), "rates of states"),
            "time_mix_k_k" | "time_mix_k_a" => (Content::Around(1.0, 0.3), "what keys are multiplied with"),
            "time_mix_r_k" => (Content::Around(0.0, 0.3), "the token's own value"),
            _ if base == "time_mix_ln" => (Content::Around(1.0, 0.2), "norms"),
            "layer_output_scale" => (Content::Around(1.0, 0.3), "embeddings added again"),
            _ if base.strip_suffix(".scale").is_some() => (Content::Around(1.0, 0.3), "factors of matrices"),
            _ if base.contains("norm") => (Content::Around(1.0, 0.2), "norms"),
            _ => (matrix(1.0), ""),
        }
    }
}

/// A tensor's shape by its name.
fn shape(base: &str) -> &'static str {
    match base {
        "token_embd" | "output" => "E,V",
        "position_embd" => "E,T",
        "rope_freqs" | "rope_factors_long" | "rope_factors_short" => "R",
        "attn_q" | "cross_attn_q" => "E,Q",
        "attn_k" | "attn_v" | "cross_attn_k" | "cross_attn_v" => "E,K",
        "attn_qkv" => "E,P",
        "attn_sinks" => "H",
        "attn_output" | "attn_o" | "cross_attn_o" => "Q,E",
        "token_types" => "E,2",
        "attn_rel_b" => "H,32",
        "cls" => "E,E",
        "attn_q_norm" | "attn_k_norm" => "D",
        "attn_sub_norm" => "Q",
        "ffn_sub_norm" => "F",
        "ffn_gate" | "ffn_up" => "E,F",
        "ffn_down" => "F,E",
        "ffn_gate_inp" => "E,X",
        "exp_probs_b.bias" => "X",
        "ffn_gate_exps" | "ffn_up_exps" => "E,M,X",
        "ffn_gate_up_exps" => "E,2M,X",
        "ffn_down_exps" => "M,E,X",
        "ffn_gate_shexp" | "ffn_up_shexp" => "E,S",
        "ffn_down_shexp" => "S,E",
        _ => "E",
    }
}

impl Tensor {
    fn bytes(&self, dtype: DType, without: Option<&str>, random: &mut SplitMix) -> Vec<u8> {
        let n: usize = self.ne.iter().product();
        let mut content = self.content;
        if without == Some(self.part) {
            // What is around one multiplies or divides; the rest is added.
            content = match content {
                // Half of it is what a gate without a say lets through; the reference divides by the score itself.
                _ if self.part == "gate of the shared expert" => Content::Same(1e-6),
                Content::Around(centre, _) if self.part != "embeddings added again" => Content::Same(centre),
                Content::Divisors => Content::Same(1.0),
                Content::Decays => Content::Same(-1.0),
                _ => Content::Same(0.0),
            };
        }
        let value = |random: &mut SplitMix| match content {
            Content::Around(centre, spread) => centre + spread * random.normal(),
            // Halving and doubling are exact everywhere, unlike exp.
            Content::Divisors => (1u32 << random.below(3)) as f32 * (1.0 + random.below(16) as f32 / 16.0),
            Content::Decays => {
                -((1u32 << random.below(5)) as f32 * (1.0 + random.below(16) as f32 / 16.0) / 8.0)
            }
            Content::Same(value) => value,
        };
        let values: Vec<f32> = (0..n).map(|_| value(random)).collect();
        let mut out = vec![0; dtype.row_bytes(n).unwrap_or(0)];
        // Shapes were checked by the writer; a tensor it refused is never asked for.
        let written = quantize_row(dtype, &values, &mut out);
        debug_assert!(written.is_ok(), "{written:?}");
        out
    }
}
