//! Shapes of real models.

use quipu_gguf::{Metadata, Value};

use super::mix::FileType;

/// The numbers that make a model's shape.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub name: &'static str,
    pub arch: &'static str,
    pub n_embd: u64,
    pub n_layer: u64,
    pub n_head: u64,
    pub n_head_kv: u64,
    /// Elements of an attention head.
    pub head_size: u64,
    pub n_ff: u64,
    pub n_vocab: u64,
    pub n_ctx: u32,
    pub rope_base: f32,
    pub norm_eps: f32,
    pub qkv_bias: bool,
    pub llama3_rope: bool,
    /// The output matrix is the token embeddings.
    pub tied: bool,
    pub layers: Layers,
}

/// How a layer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layers {
    /// Separate projections and a gated feed-forward network.
    Dense,
    /// Fused projections, gate and up in one matrix.
    Phi3,
    /// Sinks, biases, and experts instead of one feed-forward network.
    GptOss { n_expert: u64, n_expert_used: u64 },
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "llama-3.2-1b",
        arch: "llama",
        n_embd: 2048,
        n_layer: 16,
        n_head: 32,
        n_head_kv: 8,
        head_size: 64,
        n_ff: 8192,
        n_vocab: 128_256,
        n_ctx: 131_072,
        rope_base: 500_000.0,
        norm_eps: 1e-5,
        qkv_bias: false,
        llama3_rope: true,
        tied: true,
        layers: Layers::Dense,
    },
    Shape {
        name: "qwen2.5-0.5b",
        arch: "qwen2",
        n_embd: 896,
        n_layer: 24,
        n_head: 14,
        n_head_kv: 2,
        head_size: 64,
        n_ff: 4864,
        n_vocab: 151_936,
        n_ctx: 32_768,
        rope_base: 1_000_000.0,
        norm_eps: 1e-6,
        qkv_bias: true,
        llama3_rope: false,
        tied: true,
        layers: Layers::Dense,
    },
    Shape {
        name: "phi-3-mini",
        arch: "phi3",
        n_embd: 3072,
        n_layer: 32,
        n_head: 32,
        n_head_kv: 32,
        head_size: 96,
        n_ff: 8192,
        n_vocab: 32_064,
        n_ctx: 4096,
        rope_base: 10_000.0,
        norm_eps: 1e-5,
        qkv_bias: false,
        llama3_rope: false,
        tied: false,
        layers: Layers::Phi3,
    },
    Shape {
        name: "gpt-oss-20b",
        arch: "gpt-oss",
        n_embd: 2880,
        n_layer: 24,
        n_head: 64,
        n_head_kv: 8,
        head_size: 64,
        n_ff: 2880,
        n_vocab: 201_088,
        n_ctx: 131_072,
        rope_base: 150_000.0,
        norm_eps: 1e-5,
        qkv_bias: true,
        llama3_rope: false,
        tied: false,
        layers: Layers::GptOss { n_expert: 32, n_expert_used: 4 },
    },
];

impl Shape {
    /// The shape of that name; `-4l` at the end cuts it to 4 layers.
    pub fn find(name: &str) -> Result<Shape, String> {
        let (base, n_layer) = match name.strip_suffix("-4l") {
            Some(base) => (base, Some(4)),
            None => (name, None),
        };
        let known = || SHAPES.map(|shape| shape.name).join(", ");
        let shape = SHAPES.into_iter().find(|shape| shape.name == base);
        let mut shape =
            shape.ok_or_else(|| format!("shape '{name}' is unknown, expected one of: {}", known()))?;
        shape.n_layer = n_layer.unwrap_or(shape.n_layer);
        Ok(shape)
    }

    /// Llama 3's divisors of the rotary frequencies: long wavelengths are stretched by 32, short ones kept,
    /// those between interpolated.
    pub fn rope_factors(&self) -> Option<Vec<f32>> {
        if !self.llama3_rope {
            return None;
        }
        let (factor, low, high, n_ctx_orig) = (32.0, 1.0, 4.0, 8192.0);
        let half = self.head_size / 2;
        let divisor = |i: u64| {
            let freq = f64::from(self.rope_base).powf(-(i as f64) / half as f64);
            let wavelength = 2.0 * std::f64::consts::PI / freq;
            if wavelength < n_ctx_orig / high {
                1.0
            } else if wavelength > n_ctx_orig / low {
                factor
            } else {
                let smooth = (n_ctx_orig / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        Some((0..half).map(|i| divisor(i) as f32).collect())
    }

    /// The keys llama.cpp and Quipu read.
    pub fn metadata(&self, metadata: &mut Metadata, file_type: FileType) {
        let arch = self.arch;
        let mut u32_key = |name: &str, value: u64| metadata.set(name, Value::U32(value as u32));
        u32_key(&format!("{arch}.block_count"), self.n_layer);
        u32_key(&format!("{arch}.context_length"), u64::from(self.n_ctx));
        u32_key(&format!("{arch}.embedding_length"), self.n_embd);
        u32_key(&format!("{arch}.feed_forward_length"), self.n_ff);
        u32_key(&format!("{arch}.attention.head_count"), self.n_head);
        u32_key(&format!("{arch}.attention.head_count_kv"), self.n_head_kv);
        u32_key(&format!("{arch}.rope.dimension_count"), self.head_size);
        u32_key(&format!("{arch}.vocab_size"), self.n_vocab);
        u32_key(&format!("{arch}.attention.key_length"), self.head_size);
        u32_key(&format!("{arch}.attention.value_length"), self.head_size);
        if let Layers::GptOss { n_expert, n_expert_used } = self.layers {
            u32_key("gpt-oss.expert_count", n_expert);
            u32_key("gpt-oss.expert_used_count", n_expert_used);
            u32_key("gpt-oss.expert_feed_forward_length", self.n_ff);
            u32_key("gpt-oss.attention.sliding_window", 128);
            u32_key("gpt-oss.rope.scaling.original_context_length", 4096);
        }
        u32_key("general.file_type", u64::from(file_type.id()));
        u32_key("general.quantization_version", 2);
        let eps = format!("{arch}.attention.layer_norm_rms_epsilon");
        metadata.set(&eps, Value::F32(self.norm_eps));
        metadata.set(&format!("{arch}.rope.freq_base"), Value::F32(self.rope_base));
        if matches!(self.layers, Layers::GptOss { .. }) {
            metadata.set("gpt-oss.rope.scaling.type", Value::from("yarn"));
            metadata.set("gpt-oss.rope.scaling.factor", Value::F32(32.0));
        }
        metadata.set("general.architecture", Value::from(arch));
        metadata.set("general.name", Value::from(format!("synthetic {}", self.name).as_str()));
        metadata.set("tokenizer.ggml.model", Value::from("none"));
    }
}
