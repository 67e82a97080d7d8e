//! Toy models with weights that look like trained ones: normal with standard deviation 1 / sqrt(n_in), norms
//! near 1, biases near 0. The reference's own toys have weights of about 0.01, behind which wrong scales,
//! clamps and tables hide; and they vary no hyper-parameters.

mod recipe;
mod tensors;

use quipu_gguf::{GgufWriter, Value};
use quipu_quant::DType;
use quipu_testing::SplitMix;

use crate::error::Error;
use recipe::{Ffn, Norms, QkNorm};
use tensors::{Content, List};

/// Architectures with toys, and forms of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the variants are the architectures' names
pub enum Arch {
    Llama,
    Qwen2,
    Qwen3,
    Gpt2,
    Phi3,
    /// Without the fused projection.
    Phi3Separate,
    Gemma,
    Gemma2,
    Gemma3,
    Stablelm,
    /// Both blocks read the same rows, and heads have norms.
    StablelmParallel,
    Olmo2,
    Starcoder2,
}

/// A part that can be taken out of a toy, to see whether a comparison notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Rotary positions: nothing is rotated.
    Rope,
    /// Norms of the residual stream, their weights.
    Norms,
    /// Norms of queries and keys, their weights.
    QkNorms,
    /// All biases.
    Biases,
    /// Queries, with keys and values where they are one matrix.
    Attention,
    /// The result of the feed-forward networks.
    Ffn,
    /// Rotary factors.
    Factors,
    /// Windows: all layers see everything.
    Window,
    /// The rotary base of layers with windows: it is that of the others.
    WindowBase,
    /// The bound of scores.
    ScoreCap,
    /// The bound of logits.
    LogitCap,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 11] = [
        Part::Rope,
        Part::Norms,
        Part::QkNorms,
        Part::Biases,
        Part::Attention,
        Part::Ffn,
        Part::Factors,
        Part::Window,
        Part::WindowBase,
        Part::ScoreCap,
        Part::LogitCap,
    ];
}

/// Kinds of rotary scaling a toy can ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are the kinds' names
pub enum Rope {
    Plain,
    Linear,
    Yarn,
    Llama3,
    /// Factors by context length, of which the long ones hold here.
    Long,
    /// The same, and the short ones hold.
    Short,
}

/// The shape of a toy.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are the reference's hyper-parameters
pub struct Toy {
    pub name: &'static str,
    pub arch: Arch,
    pub n_embd: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_size: usize,
    pub n_ff: usize,
    pub tied: bool,
    pub rope: Rope,
    /// Elements of a head that are rotated.
    pub n_rot: usize,
    pub n_layer: usize,
    /// Positions that the layers with windows see; 0: there are no windows.
    pub n_swa: usize,
}

/// Vocabulary of every toy.
pub const N_VOCAB: usize = 256;
/// Context every toy claims to be trained for.
const N_CTX: usize = 512;

const fn toy(name: &'static str, arch: Arch, dims: [usize; 5], tied: bool, rope: Rope) -> Toy {
    let [n_embd, n_head, n_head_kv, head_size, n_ff] = dims;
    let (n_rot, n_layer, n_swa) = (head_size, 2, 0);
    Toy { name, arch, n_embd, n_head, n_head_kv, head_size, n_ff, tied, rope, n_rot, n_layer, n_swa }
}

impl Toy {
    /// With heads that are rotated in part.
    const fn rotating(self, n_rot: usize) -> Toy {
        Toy { n_rot, ..self }
    }

    /// With windows in every other of four layers.
    const fn windowed(self, n_swa: usize) -> Toy {
        Toy { n_swa, n_layer: 4, ..self }
    }
}

/// All toys: head sizes 32 to 128, grouped queries 1 to 7, tied and untied, widths on and off multiples of 256,
/// whole and partial rotation, every rotary scaling, windows.
pub const TOYS: [Toy; 25] = [
    toy("llama-plain", Arch::Llama, [256, 4, 2, 64, 512], false, Rope::Plain),
    toy("llama-linear", Arch::Llama, [320, 5, 1, 64, 416], true, Rope::Linear),
    toy("llama-yarn", Arch::Llama, [256, 2, 2, 128, 768], false, Rope::Yarn),
    toy("llama-3", Arch::Llama, [256, 8, 4, 32, 512], true, Rope::Llama3),
    toy("qwen2-plain", Arch::Qwen2, [256, 4, 2, 64, 512], false, Rope::Plain),
    toy("qwen2-yarn", Arch::Qwen2, [224, 7, 1, 32, 352], true, Rope::Yarn),
    toy("qwen3-plain", Arch::Qwen3, [256, 4, 2, 128, 512], false, Rope::Plain),
    toy("qwen3-80", Arch::Qwen3, [192, 4, 4, 80, 320], true, Rope::Linear),
    toy("gpt2-plain", Arch::Gpt2, [256, 4, 4, 64, 1024], false, Rope::Plain),
    toy("gpt2-tied", Arch::Gpt2, [192, 3, 3, 64, 768], true, Rope::Plain),
    toy("gpt2-wide", Arch::Gpt2, [512, 4, 4, 128, 512], false, Rope::Plain),
    toy("phi3-gqa", Arch::Phi3, [256, 4, 2, 64, 384], false, Rope::Plain),
    toy("phi3-long", Arch::Phi3Separate, [256, 4, 1, 64, 256], true, Rope::Long).rotating(48),
    toy("phi3-short", Arch::Phi3, [192, 6, 2, 32, 320], true, Rope::Short),
    toy("gemma-gqa", Arch::Gemma, [256, 4, 2, 96, 512], true, Rope::Plain),
    toy("gemma-mqa", Arch::Gemma, [192, 3, 1, 128, 320], true, Rope::Linear).rotating(64),
    toy("stablelm-gqa", Arch::Stablelm, [256, 4, 2, 64, 512], false, Rope::Plain).rotating(16),
    toy("stablelm-parallel", Arch::StablelmParallel, [256, 8, 4, 32, 512], false, Rope::Plain).rotating(8),
    toy("olmo2-gqa", Arch::Olmo2, [256, 4, 2, 64, 512], false, Rope::Plain),
    toy("olmo2-yarn", Arch::Olmo2, [192, 6, 3, 32, 320], false, Rope::Yarn),
    toy("starcoder2-gqa", Arch::Starcoder2, [256, 4, 2, 64, 1024], false, Rope::Plain),
    toy("starcoder2-mqa", Arch::Starcoder2, [192, 3, 1, 64, 768], true, Rope::Linear),
    toy("gemma2-windows", Arch::Gemma2, [256, 4, 2, 64, 512], true, Rope::Linear).windowed(8),
    toy("gemma3-windows", Arch::Gemma3, [192, 3, 1, 96, 320], false, Rope::Linear).windowed(12),
    toy("olmo2-windows", Arch::Olmo2, [256, 4, 2, 64, 512], false, Rope::Yarn).windowed(8),
];

/// The types toys come in.
pub const TYPES: [DType; 10] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q5_0,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::MXFP4,
];

impl Toy {
    /// Whether every part of it matters: weights of scores and logits are large, norms and biases far from neutral.
    pub fn is_sharp(&self) -> bool {
        self.arch.recipe().sharp
    }

    /// Whether it is a model of that architecture.
    pub fn is_of(&self, architecture: &str) -> bool {
        self.arch.recipe().name == architecture
    }

    /// Whether all its rows are whole blocks of `dtype`.
    pub fn fits(&self, dtype: DType) -> bool {
        let rows = [self.n_embd, self.n_head * self.head_size, self.n_ff];
        rows.iter().all(|n| n % dtype.block_len() == 0)
    }

    /// The model file, with matrices of type `dtype`. The same arguments give the same bytes everywhere.
    ///
    /// # Errors
    /// A type whose blocks do not divide the rows.
    pub fn gguf(&self, dtype: DType, seed: u64) -> Result<Vec<u8>, Error> {
        self.write(self.tensors(dtype), seed, None)
    }

    /// The same model without a part; `None` if it has no such part.
    ///
    /// # Errors
    /// As [`Toy::gguf`].
    pub fn gguf_without(&self, part: Part, dtype: DType, seed: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut list = self.tensors(dtype);
        let number = self.number_of(part);
        if !list.knock_out(part) && number.is_none() {
            return Ok(None);
        }
        self.write(list, seed, number).map(Some)
    }

    /// The number that takes a part out, if the toy has such a part.
    fn number_of(&self, part: Part) -> Option<(&'static str, Value)> {
        let has_caps = self.arch == Arch::Gemma2;
        match part {
            // Positions become so small that nothing turns.
            Part::Rope if !self.arch.recipe().learned => Some(("rope.scaling.factor", Value::F32(1e9))),
            Part::Window if self.n_swa > 0 => Some(("attention.sliding_window", Value::U32(N_CTX as u32))),
            Part::WindowBase if self.has_window_base() => Some(("rope.freq_base_swa", Value::F32(10_000.0))),
            Part::ScoreCap if has_caps => Some(("attn_logit_softcapping", Value::F32(1e4))),
            Part::LogitCap if has_caps => Some(("final_logit_softcapping", Value::F32(1e4))),
            _ => None,
        }
    }

    fn has_window_base(&self) -> bool {
        matches!(self.arch, Arch::Gemma2 | Arch::Gemma3)
    }

    fn write(&self, list: List, seed: u64, change: Option<(&str, Value)>) -> Result<Vec<u8>, Error> {
        let fail = Error::engine::<quipu_gguf::Error>(self.name);
        let mut writer = GgufWriter::new();
        self.metadata(&mut writer);
        if let Some((name, value)) = change {
            writer.metadata.set(&format!("{}.{name}", self.arch.recipe().name), value);
        }
        let tensors = list.tensors;
        for tensor in &tensors {
            writer.add_tensor(&tensor.name, tensor.dtype, &tensor.ne).map_err(&fail)?;
        }
        let mut out = Vec::new();
        writer
            .write_to(&mut out, |index, sink| {
                let mut random = SplitMix::new(seed ^ (index as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
                sink.write_all(&tensors[index].bytes(&mut random))
            })
            .map_err(&fail)?;
        Ok(out)
    }

    fn metadata(&self, writer: &mut GgufWriter) {
        let recipe = self.arch.recipe();
        let arch = recipe.name;
        let metadata = &mut writer.metadata;
        metadata.set("general.architecture", Value::from(arch));
        metadata.set("tokenizer.ggml.model", Value::from("none"));
        let mut number =
            |name: &str, value: usize| metadata.set(&format!("{arch}.{name}"), Value::U32(value as u32));
        number("vocab_size", N_VOCAB);
        number("context_length", N_CTX);
        number("embedding_length", self.n_embd);
        number("block_count", self.n_layer);
        number("feed_forward_length", self.n_ff);
        number("attention.head_count", self.n_head);
        number("attention.head_count_kv", self.n_head_kv);
        let (eps_key, eps) = match recipe.norms {
            Norms::Layer => ("attention.layer_norm_epsilon", 1e-5),
            Norms::Rms | Norms::Behind | Norms::Both => ("attention.layer_norm_rms_epsilon", 1e-6),
        };
        if recipe.learned {
            metadata.set(&format!("{arch}.{eps_key}"), Value::F32(eps));
            return;
        }
        number("attention.key_length", self.head_size);
        number("attention.value_length", self.head_size);
        number("rope.dimension_count", self.n_rot);
        if matches!(self.rope, Rope::Yarn | Rope::Long) {
            number("rope.scaling.original_context_length", 64);
        }
        if self.n_swa > 0 {
            number("attention.sliding_window", self.n_swa);
            number("attention.sliding_window_pattern", 2);
        }
        let mut float = |name: &str, value: f32| metadata.set(&format!("{arch}.{name}"), Value::F32(value));
        float(eps_key, eps);
        if self.has_window_base() {
            float("rope.freq_base_swa", 300.0);
        }
        if self.arch == Arch::Gemma2 {
            float("attn_logit_softcapping", 1.5);
            float("final_logit_softcapping", 2.5);
        }
        float("rope.freq_base", 10_000.0);
        let (kind, factor) = match self.rope {
            Rope::Plain | Rope::Llama3 => return,
            Rope::Linear => ("linear", Some(4.0)),
            Rope::Yarn => ("yarn", Some(4.0)),
            Rope::Long | Rope::Short => ("longrope", None),
        };
        match factor {
            Some(factor) => float("rope.scaling.factor", factor),
            None => float("rope.scaling.attn_factor", 1.19),
        }
        metadata.set(&format!("{arch}.rope.scaling.type"), Value::from(kind));
    }

    fn tensors(&self, dtype: DType) -> List {
        let recipe = self.arch.recipe();
        let (n_embd, n_ff) = (self.n_embd, self.n_ff);
        let (n_q, n_kv) = (self.n_head * self.head_size, self.n_head_kv * self.head_size);
        let is_layer_norm = recipe.norms == Norms::Layer;
        // How much larger than 1 / sqrt(n_in) the weights are of what decides scores and logits.
        let [spread, q_gain, out_gain] = if recipe.sharp { [0.2, 2.0, 4.0] } else { [0.1, 1.0, 1.0] };
        let fused_gain = if recipe.sharp { 1.5 } else { 1.0 };
        let mut embd_gain = if recipe.sharp { (n_embd as f32).sqrt() } else { 1.0 };
        if recipe.scales_embeddings {
            embd_gain = 1.0;
        }
        let mut list = List { dtype, norm: spread, bias: spread, tensors: Vec::new() };
        list.matrix("token_embd", n_embd, N_VOCAB, embd_gain, None);
        list.norm("output_norm", &[n_embd], is_layer_norm, Part::Norms);
        if !self.tied {
            list.matrix("output", n_embd, N_VOCAB, out_gain, None);
        }
        if recipe.learned {
            list.matrix("position_embd", n_embd, N_CTX, 1.0, None);
        }
        let mut factors = |name: &str, content| {
            list.push(name, DType::F32, &[self.n_rot / 2], content, Some(Part::Factors));
        };
        match self.rope {
            Rope::Llama3 => factors("rope_freqs.weight", Content::RopeFactors),
            Rope::Long | Rope::Short => {
                factors("rope_factors_long.weight", Content::LongFactors);
                factors("rope_factors_short.weight", Content::LongFactors);
            }
            Rope::Plain | Rope::Linear | Rope::Yarn => {}
        }
        for il in 0..self.n_layer {
            let name = |rest: &str| format!("blk.{il}.{rest}");
            let norms: &[&str] = match recipe.norms {
                Norms::Behind => &["post_attention_norm", "post_ffw_norm"],
                Norms::Both => &["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"],
                _ if self.arch.is_parallel() => &["attn_norm"],
                _ => &["attn_norm", "ffn_norm"],
            };
            for norm in norms {
                list.norm(&name(norm), &[n_embd], is_layer_norm, Part::Norms);
            }
            let fused = [("attn_qkv", n_embd, n_q + 2 * n_kv, fused_gain, Some(Part::Attention))];
            let separate = [
                ("attn_q", n_embd, n_q, q_gain, Some(Part::Attention)),
                ("attn_k", n_embd, n_kv, q_gain, None),
                ("attn_v", n_embd, n_kv, 1.0, None),
            ];
            let linear = |(rest, n_in, n_out, gain, part), bias: bool, list: &mut List| {
                let rest: &str = rest;
                list.matrix(&name(rest), n_in, n_out, gain, part);
                if bias {
                    list.bias(&name(rest), n_out);
                }
            };
            let projections: &[_] = if recipe.fused { &fused } else { &separate };
            for projection in projections {
                linear(*projection, recipe.qkv_bias, &mut list);
            }
            let [q, k]: [Vec<usize>; 2] = match recipe.qk_norm {
                QkNorm::None => [vec![], vec![]],
                QkNorm::Head => [vec![self.head_size], vec![self.head_size]],
                QkNorm::PerHead => [vec![self.head_size, self.n_head], vec![self.head_size, self.n_head_kv]],
                QkNorm::Whole => [vec![n_q], vec![n_kv]],
            };
            if recipe.qk_norm != QkNorm::None {
                list.norm(&name("attn_q_norm"), &q, false, Part::QkNorms);
                list.norm(&name("attn_k_norm"), &k, false, Part::QkNorms);
            }
            linear(("attn_output", n_q, n_embd, 1.0, None), recipe.out_bias, &mut list);
            if recipe.ffn == Ffn::Gated {
                linear(("ffn_gate", n_embd, n_ff, 1.0, None), recipe.ffn_bias, &mut list);
            }
            let n_up = if recipe.ffn == Ffn::Halves { 2 * n_ff } else { n_ff };
            linear(("ffn_up", n_embd, n_up, 1.0, None), recipe.ffn_bias, &mut list);
            linear(("ffn_down", n_ff, n_embd, 1.0, Some(Part::Ffn)), recipe.ffn_bias, &mut list);
        }
        list
    }
}

/// Seeded tokens for a toy.
pub fn tokens(seed: u64, n: usize) -> Vec<u32> {
    let mut random = SplitMix::new(seed);
    (0..n).map(|_| random.below(N_VOCAB as u64) as u32).collect()
}
