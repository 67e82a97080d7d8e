//! Toy models with weights that look like trained ones: normal with standard deviation 1 / sqrt(n_in), norms
//! near 1, biases near 0. The reference's own toys have weights of about 0.01, behind which wrong scales,
//! clamps and tables hide; and they vary no hyper-parameters.

use quipu_gguf::{GgufWriter, Value};
use quipu_quant::{DType, quantize_row};

use crate::error::Error;
use crate::random::SplitMix;

/// Architectures with toys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the variants are the architectures' names
pub enum Arch {
    Llama,
    Qwen2,
    Qwen3,
    Gpt2,
}

/// Kinds of rotary scaling a toy can ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are the kinds' names
pub enum Rope {
    Plain,
    Linear,
    Yarn,
    Llama3,
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
}

/// Layers of every toy.
pub const N_LAYER: usize = 2;
/// Vocabulary of every toy.
pub const N_VOCAB: usize = 256;
/// Context every toy claims to be trained for.
const N_CTX: usize = 512;

const fn toy(name: &'static str, arch: Arch, dims: [usize; 5], tied: bool, rope: Rope) -> Toy {
    let [n_embd, n_head, n_head_kv, head_size, n_ff] = dims;
    Toy { name, arch, n_embd, n_head, n_head_kv, head_size, n_ff, tied, rope }
}

/// All toys: head sizes 32 to 128, grouped queries 1 to 7, tied and untied, widths on and off multiples of 256,
/// every rotary scaling.
pub const TOYS: [Toy; 11] = [
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
        let fail = Error::engine::<quipu_gguf::Error>(self.name);
        let mut writer = GgufWriter::new();
        self.metadata(&mut writer);
        let tensors = self.tensors(dtype);
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

    fn arch_name(&self) -> &'static str {
        match self.arch {
            Arch::Llama => "llama",
            Arch::Qwen2 => "qwen2",
            Arch::Qwen3 => "qwen3",
            Arch::Gpt2 => "gpt2",
        }
    }

    fn metadata(&self, writer: &mut GgufWriter) {
        let arch = self.arch_name();
        let metadata = &mut writer.metadata;
        metadata.set("general.architecture", Value::from(arch));
        metadata.set("tokenizer.ggml.model", Value::from("none"));
        let mut number =
            |name: &str, value: usize| metadata.set(&format!("{arch}.{name}"), Value::U32(value as u32));
        number("vocab_size", N_VOCAB);
        number("context_length", N_CTX);
        number("embedding_length", self.n_embd);
        number("block_count", N_LAYER);
        number("feed_forward_length", self.n_ff);
        number("attention.head_count", self.n_head);
        number("attention.head_count_kv", self.n_head_kv);
        if self.arch == Arch::Gpt2 {
            metadata.set("gpt2.attention.layer_norm_epsilon", Value::F32(1e-5));
            return;
        }
        number("attention.key_length", self.head_size);
        number("attention.value_length", self.head_size);
        number("rope.dimension_count", self.head_size);
        if self.rope == Rope::Yarn {
            number("rope.scaling.original_context_length", 64);
        }
        let mut float = |name: &str, value: f32| metadata.set(&format!("{arch}.{name}"), Value::F32(value));
        float("attention.layer_norm_rms_epsilon", 1e-6);
        float("rope.freq_base", 10_000.0);
        let kind = match self.rope {
            Rope::Plain | Rope::Llama3 => return,
            Rope::Linear => "linear",
            Rope::Yarn => "yarn",
        };
        float("rope.scaling.factor", 4.0);
        metadata.set(&format!("{arch}.rope.scaling.type"), Value::from(kind));
    }

    fn tensors(&self, dtype: DType) -> Vec<Tensor> {
        let (n_embd, n_ff) = (self.n_embd, self.n_ff);
        let (n_q, n_kv) = (self.n_head * self.head_size, self.n_head_kv * self.head_size);
        let mut list = List { dtype, tensors: Vec::new() };
        list.matrix("token_embd", n_embd, N_VOCAB);
        list.norm("output_norm", n_embd, self.arch == Arch::Gpt2);
        if !self.tied {
            list.matrix("output", n_embd, N_VOCAB);
        }
        if self.arch == Arch::Gpt2 {
            list.matrix("position_embd", n_embd, N_CTX);
        }
        if self.rope == Rope::Llama3 {
            list.push("rope_freqs.weight", DType::F32, &[self.head_size / 2], Content::RopeFactors);
        }
        for il in 0..N_LAYER {
            let name = |rest: &str| format!("blk.{il}.{rest}");
            list.norm(&name("attn_norm"), n_embd, self.arch == Arch::Gpt2);
            list.norm(&name("ffn_norm"), n_embd, self.arch == Arch::Gpt2);
            if self.arch == Arch::Gpt2 {
                list.biased(&name("attn_qkv"), n_embd, n_embd + 2 * n_kv);
                list.biased(&name("attn_output"), n_embd, n_embd);
                list.biased(&name("ffn_up"), n_embd, n_ff);
                list.biased(&name("ffn_down"), n_ff, n_embd);
                continue;
            }
            for (rest, n) in [("attn_q", n_q), ("attn_k", n_kv), ("attn_v", n_kv)] {
                if self.arch == Arch::Qwen2 {
                    list.biased(&name(rest), n_embd, n);
                } else {
                    list.matrix(&name(rest), n_embd, n);
                }
            }
            if self.arch == Arch::Qwen3 {
                list.norm(&name("attn_q_norm"), self.head_size, false);
                list.norm(&name("attn_k_norm"), self.head_size, false);
            }
            list.matrix(&name("attn_output"), n_q, n_embd);
            list.matrix(&name("ffn_gate"), n_embd, n_ff);
            list.matrix(&name("ffn_up"), n_embd, n_ff);
            list.matrix(&name("ffn_down"), n_ff, n_embd);
        }
        list.tensors
    }
}

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug)]
enum Content {
    Matrix,
    Norm,
    Bias,
    RopeFactors,
}

struct Tensor {
    name: String,
    dtype: DType,
    ne: Vec<u64>,
    content: Content,
}

impl Tensor {
    fn bytes(&self, random: &mut SplitMix) -> Vec<u8> {
        let n: u64 = self.ne.iter().product();
        let scale = 1.0 / (self.ne[0] as f32).sqrt();
        let value = |i: u64, random: &mut SplitMix| match self.content {
            Content::Matrix => scale * random.normal(),
            Content::Norm => 1.0 + 0.1 * random.normal(),
            Content::Bias => 0.1 * random.normal(),
            // Ones for high frequencies, up to 8 for low ones, as llama 3's ramp has them.
            Content::RopeFactors => 1.0 + 7.0 * (i as f32 / n as f32),
        };
        let values: Vec<f32> = (0..n).map(|i| value(i, random)).collect();
        let mut out = vec![0; self.dtype.row_bytes(values.len()).unwrap_or(0)];
        // Shapes were checked by the writer; a tensor it refused is never asked for.
        let written = quantize_row(self.dtype, &values, &mut out);
        debug_assert!(written.is_ok(), "{written:?}");
        out
    }
}

struct List {
    dtype: DType,
    tensors: Vec<Tensor>,
}

impl List {
    fn push(&mut self, name: &str, dtype: DType, ne: &[usize], content: Content) {
        let ne = ne.iter().map(|n| *n as u64).collect();
        self.tensors.push(Tensor { name: name.to_owned(), dtype, ne, content });
    }

    fn matrix(&mut self, name: &str, n_in: usize, n_out: usize) {
        self.push(&format!("{name}.weight"), self.dtype, &[n_in, n_out], Content::Matrix);
    }

    fn biased(&mut self, name: &str, n_in: usize, n_out: usize) {
        self.matrix(name, n_in, n_out);
        self.push(&format!("{name}.bias"), DType::F32, &[n_out], Content::Bias);
    }

    fn norm(&mut self, name: &str, n: usize, bias: bool) {
        self.push(&format!("{name}.weight"), DType::F32, &[n], Content::Norm);
        if bias {
            self.push(&format!("{name}.bias"), DType::F32, &[n], Content::Bias);
        }
    }
}

/// Seeded tokens for a toy.
pub fn tokens(seed: u64, n: usize) -> Vec<u32> {
    let mut random = SplitMix::new(seed);
    (0..n).map(|_| random.below(N_VOCAB as u64) as u32).collect()
}
