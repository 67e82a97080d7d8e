//! Small Hugging Face model directories, the same bytes from the same seed on every platform.
//!
//! Each case is there for what it exercises: ways to a vocabulary, rotary scalings, weight types, shards, cards.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use quipu_testing::SplitMix;
use serde_json::{Value as Json, json};

use super::tokenizers::{self, Alphabet};

/// A generated model.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Name of its folder, which the conversion takes for the model's name.
    pub folder: &'static str,
    /// Name to be given to its pre-tokenizer, whose vocabulary no one knows.
    pub pre: Option<&'static str>,
    /// Folder of the model that it is an adapter of.
    pub base: Option<&'static str>,
    pub(super) write: fn(&mut Model<'_>) -> io::Result<()>,
}

/// Those of llama's kin and of Qwen's dense models; `families` has the others.
pub const CASES: [Case; 12] = [
    Case { folder: "acme-Tiny-0.1M-chat-v0.1", pre: None, base: None, write: llama_sentencepiece },
    Case { folder: "llama3-shards", pre: Some("llama-bpe"), base: None, write: llama3_shards },
    Case { folder: "qwen2-biased", pre: Some("qwen2"), base: None, write: qwen2_biased },
    Case { folder: "Qwen3-Toy-Instruct-2507", pre: Some("qwen2"), base: None, write: qwen3_normed },
    Case { folder: "llama-from-json", pre: None, base: None, write: llama_from_json },
    Case { folder: "mistral_small_7b", pre: None, base: None, write: mistral_added },
    Case { folder: "mixtral-3x", pre: None, base: None, write: mixtral_experts },
    Case { folder: "odd-widths", pre: Some("gpt-2"), base: None, write: odd_widths },
    Case { folder: "qwen2-embedding", pre: Some("qwen2"), base: None, write: qwen2_pooled },
    Case { folder: "plain-config", pre: None, base: None, write: plain_config },
    Case { folder: "llama3.2-128k", pre: Some("llama-bpe"), base: None, write: llama3_wide_heads },
    Case { folder: "qwen3-sharded-longrope", pre: Some("qwen2"), base: None, write: qwen3_longrope },
];

impl Case {
    /// Writes the model into a folder of its name in `root`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        let dir = root.join(self.folder);
        fs::create_dir_all(&dir)?;
        let seed = quipu_testing::fnv1a(self.folder.as_bytes());
        (self.write)(&mut Model { dir: &dir, random: SplitMix::new(seed), tensors: Vec::new() })
    }
}

/// Types of generated weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    F32,
    F16,
    Bf16,
    F64,
    I64,
    /// Bytes of any value.
    U8,
    /// Floats of 8 bits, without NaN.
    F8,
}

struct Tensor {
    name: String,
    weight: Weight,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A model being written.
pub(super) struct Model<'a> {
    pub dir: &'a Path,
    pub random: SplitMix,
    tensors: Vec<Tensor>,
}

/// Sizes of a transformer.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub n_vocab: usize,
    pub n_embd: usize,
    pub n_ff: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
}

impl Model<'_> {
    pub(super) fn json(&self, name: &str, value: &Json) -> io::Result<()> {
        self.text(name, &format!("{value:#}"))
    }

    fn text(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.dir.join(name), text)
    }

    /// Adds a tensor of random values.
    pub(super) fn tensor(&mut self, name: &str, weight: Weight, shape: &[usize]) {
        let n: usize = shape.iter().product();
        let mut bytes = Vec::new();
        if matches!(weight, Weight::U8 | Weight::F8) {
            for _ in 0..n {
                let byte = self.random.below(256) as u8;
                // All ones but the sign are NaN.
                bytes.push(if weight == Weight::F8 && byte & 0x7f == 0x7f { byte & 0xf0 } else { byte });
            }
            self.tensors.push(Tensor { name: name.to_owned(), weight, shape: shape.to_vec(), bytes });
            return;
        }
        for _ in 0..n {
            let x = self.random.normal() * 0.5;
            // The upper half of an f32 is a bf16, and a few of its bits an f16.
            match weight {
                Weight::F32 => bytes.extend(x.to_le_bytes()),
                Weight::Bf16 => bytes.extend(((x.to_bits() >> 16) as u16).to_le_bytes()),
                Weight::F16 => bytes.extend(truncated_f16(x).to_le_bytes()),
                Weight::F64 => bytes.extend((f64::from(x) * 1.000_000_01).to_le_bytes()),
                Weight::I64 => bytes.extend(((x * 1e4) as i64).to_le_bytes()),
                Weight::U8 | Weight::F8 => {}
            }
        }
        self.tensors.push(Tensor { name: name.to_owned(), weight, shape: shape.to_vec(), bytes });
    }

    /// Adds a tensor of these values.
    pub(super) fn values(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.push(Tensor {
            name: name.to_owned(),
            weight: Weight::F32,
            shape: shape.to_vec(),
            bytes,
        });
    }

    /// Adds a copy of a tensor under another name.
    pub(super) fn copy(&mut self, name: &str, of: &str) {
        if let Some(tensor) = self.tensors.iter().find(|tensor| tensor.name == of) {
            let (weight, shape, bytes) = (tensor.weight, tensor.shape.clone(), tensor.bytes.clone());
            self.tensors.push(Tensor { name: name.to_owned(), weight, shape, bytes });
        }
    }

    /// Writes the bits of a tensor that was added.
    fn poke(&mut self, name: &str, bits: &[u32]) {
        if let Some(tensor) = self.tensors.iter_mut().find(|tensor| tensor.name == name) {
            for (place, value) in tensor.bytes.chunks_exact_mut(4).zip(bits) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// The tensors every family has; `prefix` stands before all but the head.
    pub(super) fn transformer(
        &mut self,
        shape: Shape,
        weight: Weight,
        norm: Weight,
        prefix: &str,
        tied: bool,
    ) {
        let Shape { n_vocab, n_embd, n_ff, n_layer, n_head, n_head_kv, head_dim } = shape;
        self.tensor(&format!("{prefix}embed_tokens.weight"), weight, &[n_vocab, n_embd]);
        for i in 0..n_layer {
            let layer = |part: &str| format!("{prefix}layers.{i}.{part}.weight");
            self.tensor(&layer("input_layernorm"), norm, &[n_embd]);
            self.tensor(&layer("self_attn.q_proj"), weight, &[n_head * head_dim, n_embd]);
            self.tensor(&layer("self_attn.k_proj"), weight, &[n_head_kv * head_dim, n_embd]);
            self.tensor(&layer("self_attn.v_proj"), weight, &[n_head_kv * head_dim, n_embd]);
            self.tensor(&layer("self_attn.o_proj"), weight, &[n_embd, n_head * head_dim]);
            self.tensor(&layer("post_attention_layernorm"), norm, &[n_embd]);
            if n_ff > 0 {
                self.tensor(&layer("mlp.gate_proj"), weight, &[n_ff, n_embd]);
                self.tensor(&layer("mlp.up_proj"), weight, &[n_ff, n_embd]);
                self.tensor(&layer("mlp.down_proj"), weight, &[n_embd, n_ff]);
            }
        }
        self.tensor(&format!("{prefix}norm.weight"), norm, &[n_embd]);
        if !tied {
            self.tensor("lm_head.weight", weight, &[n_vocab, n_embd]);
        }
    }

    /// Biases of the projections to queries, keys and values.
    pub(super) fn biases(&mut self, shape: Shape, weight: Weight, prefix: &str) {
        for i in 0..shape.n_layer {
            for (part, n_head) in [("q", shape.n_head), ("k", shape.n_head_kv), ("v", shape.n_head_kv)] {
                let name = format!("{prefix}layers.{i}.self_attn.{part}_proj.bias");
                self.tensor(&name, weight, &[n_head * shape.head_dim]);
            }
        }
    }

    /// Writes all tensors into one file of this name.
    pub(super) fn save_as(&mut self, name: &str) -> io::Result<()> {
        let tensors = std::mem::take(&mut self.tensors);
        fs::write(self.dir.join(name), safetensors(&tensors.iter().collect::<Vec<_>>()))
    }

    /// Writes `model.safetensors`, or several shards and their index.
    pub(super) fn save(&mut self, n_shards: usize) -> io::Result<()> {
        let tensors = std::mem::take(&mut self.tensors);
        if n_shards == 1 {
            let all: Vec<&Tensor> = tensors.iter().collect();
            return fs::write(self.dir.join("model.safetensors"), safetensors(&all));
        }
        let mut weight_map = BTreeMap::new();
        for shard in 0..n_shards {
            let name = format!("model-{:05}-of-{n_shards:05}.safetensors", shard + 1);
            let part: Vec<&Tensor> = tensors.iter().skip(shard).step_by(n_shards).collect();
            weight_map.extend(part.iter().map(|tensor| (tensor.name.clone(), name.clone())));
            fs::write(self.dir.join(&name), safetensors(&part))?;
        }
        let n_bytes: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        let index = json!({ "metadata": { "total_size": n_bytes }, "weight_map": weight_map });
        self.json("model.safetensors.index.json", &index)
    }
}

/// f32 to f16 bits by cutting, for values of moderate size.
fn truncated_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = (bits >> 23 & 0xff) as i32 - 112;
    if exponent <= 0 { sign } else { sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}

/// A safetensors file: the header's length, the header, the data.
fn safetensors(tensors: &[&Tensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in tensors {
        let dtype = match tensor.weight {
            Weight::F32 => "F32",
            Weight::F16 => "F16",
            Weight::Bf16 => "BF16",
            Weight::F64 => "F64",
            Weight::I64 => "I64",
            Weight::U8 => "U8",
            Weight::F8 => "F8_E4M3",
        };
        let end = offset + tensor.bytes.len();
        let entry = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let header = Json::Object(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    for tensor in tensors {
        out.extend_from_slice(&tensor.bytes);
    }
    out
}

/// `config.json` of a shape.
pub(super) fn config(arch: &str, model_type: &str, shape: Shape, more: Json) -> Json {
    let mut config = json!({
        "architectures": [arch],
        "model_type": model_type,
        "hidden_size": shape.n_embd,
        "intermediate_size": shape.n_ff,
        "num_hidden_layers": shape.n_layer,
        "num_attention_heads": shape.n_head,
        "num_key_value_heads": shape.n_head_kv,
        "max_position_embeddings": 2048,
        "vocab_size": shape.n_vocab,
    });
    if let (Json::Object(config), Json::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    config
}

/// SentencePiece, F32, everything a card can say, padding tokens, a template.
fn llama_sentencepiece(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 320, n_embd: 64, n_ff: 96, n_layer: 2, n_head: 4, n_head_kv: 2, head_dim: 16 };
    let more = json!({
        "rms_norm_eps": 1e-5, "rope_theta": 10000, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 400,
        "torch_dtype": "float32", "tie_word_embeddings": false,
    });
    model.json("config.json", &config("LlamaForCausalLM", "llama", shape, more))?;
    model.json(
        "generation_config.json",
        &json!({ "top_k": 40, "top_p": 0.95, "temperature": 0.7, "min_p": 0, "do_sample": true, "eos_token_id": 2 }),
    )?;
    model.text("README.md", CARD)?;
    fs::write(model.dir.join("tokenizer.model"), tokenizers::sentencepiece(&mut model.random))?;
    model.json(
        "tokenizer_config.json",
        &json!({
            "add_bos_token": true, "add_eos_token": false, "add_prefix_space": true, "legacy": false,
            "bos_token": { "__type": "AddedToken", "content": "<s>" }, "eos_token": "</s>", "unk_token": "<unk>",
            "pad_token": null, "tokenizer_class": "LlamaTokenizer",
            "chat_template": "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}",
            "added_tokens_decoder": {
                "0": { "content": "<unk>", "special": true },
                "1": { "content": "<s>", "special": true },
                "2": { "content": "</s>", "special": true },
                "300": { "content": "<|im_end|>", "special": false },
                "301": { "content": "\u{2581}\u{2581}user", "special": false },
                "999": { "content": "<beyond>", "special": false },
            },
        }),
    )?;
    model.transformer(shape, Weight::F32, Weight::F32, "model.", false);
    let specials = [
        0x7fc0_2000,
        0xff80_0001,
        0x7f80_0000,
        0xff80_0000,
        0x3f80_1000,
        0x3f80_3000,
        0x0000_0001,
        0x3880_0fff,
        0x3300_0000,
        0x3300_0001,
        0x477f_efff,
        0x477f_f000,
        0x8000_0000,
        0x3f80_8000,
        0x3f81_8000,
        0x7f7f_ffff,
    ];
    model.poke("model.norm.weight", &specials);
    model.save(1)
}

const CARD: &str = "---\nlicense: other\nlicense_name: acme-license\nlicense_link: https://example.org/license\n\
language:\n- en\n- no\n- de\ntags:\n- text-generation\n- tiny\npipeline_tag: text-generation\nbase_model:\n\
- acme/Base-2B-v3\n- https://huggingface.co/acme/Other-1B\n- https://example.org/third\ndatasets:\n\
- acme/stories-v2\n- https://huggingface.co/datasets/acme/poems\nmodel_creator: Acme People\ndescription: >-\n  \
A small model\n  for tests.\nlibrary_name: transformers\nnumber: 012\nwidget: [{text: 'Hello'}]\n---\n\n# A title\n";

/// BF16 in two shards, byte-level BPE with a template that sets the start token, llama 3's factors.
fn llama3_shards(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 330, n_embd: 64, n_ff: 128, n_layer: 2, n_head: 4, n_head_kv: 2, head_dim: 32 };
    let more = json!({
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "head_dim": 32, "max_position_embeddings": 131_072,
        "attention_bias": false, "bos_token_id": 310, "eos_token_id": [311, 312], "tie_word_embeddings": true,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
    });
    model.json("config.json", &config("LlamaForCausalLM", "llama", shape, more))?;
    let added = [("<|begin_of_text|>", true), ("<|eot_id|>", true), ("<|pad|>", true), ("<tool>", false)];
    let mut tokenizer = tokenizers::byte_level(Alphabet::Llama3, &mut model.random, 54, &added, true);
    tokenizer["model"]["ignore_merges"] = json!(true);
    tokenizer["post_processor"] = json!({
        "type": "Sequence",
        "processors": [
            { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
            {
                "type": "TemplateProcessing",
                "single": [
                    { "SpecialToken": { "id": "<|begin_of_text|>", "type_id": 0 } },
                    { "Sequence": { "id": "A", "type_id": 0 } },
                ],
                "pair": [
                    { "SpecialToken": { "id": "<|begin_of_text|>", "type_id": 0 } },
                    { "Sequence": { "id": "A", "type_id": 0 } },
                    { "SpecialToken": { "id": "<|begin_of_text|>", "type_id": 1 } },
                    { "Sequence": { "id": "B", "type_id": 1 } },
                ],
                "special_tokens": {
                    "<|begin_of_text|>": { "id": "<|begin_of_text|>", "ids": [310], "tokens": ["<|begin_of_text|>"] },
                },
            },
        ],
    });
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({
            "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|pad|>",
            "clean_up_tokenization_spaces": true, "tokenizer_class": "PreTrainedTokenizerFast",
            "added_tokens_decoder": tokenizers::decoder_of(&tokenizer),
        }),
    )?;
    model.text(
        "chat_template.jinja",
        "{{ bos_token }}{% for m in messages %}\r\n{{ m.content }}{% endfor %}\n",
    )?;
    model.transformer(shape, Weight::Bf16, Weight::Bf16, "model.", true);
    model.save(2)
}

/// F16 with biases, YaRN, no head, a tokenizer whose class brings its own special tokens.
fn qwen2_biased(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 320, n_embd: 64, n_ff: 96, n_layer: 2, n_head: 4, n_head_kv: 2, head_dim: 16 };
    let more = json!({
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "tie_word_embeddings": true, "use_sliding_window": false,
        "_name_or_path": "Acme/Qwen2-Toy-4k-Chat", "bos_token_id": 305, "eos_token_id": 306,
        "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "beta_fast": 24, "beta_slow": 1.5,
            "attention_factor": 0.9,
        },
    });
    model.json("config.json", &config("Qwen2ForCausalLM", "qwen2", shape, more))?;
    model.json(
        "generation_config.json",
        &json!({ "top_k": 20, "top_p": 0.8, "temperature": 1, "repetition_penalty": 1.1 }),
    )?;
    let added = [("<|endoftext|>", true), ("<|im_start|>", true), ("<|im_end|>", true)];
    let tokenizer = tokenizers::byte_level(Alphabet::Qwen2, &mut model.random, 48, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({
            "add_prefix_space": false, "bos_token": null, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|vision|>"], "errors": "replace",
            "unk_token": null, "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": false,
            "added_tokens_decoder": tokenizers::decoder_of(&tokenizer),
            "chat_template": [
                { "name": "default", "template": "{{ messages }}" },
                { "name": "tool use", "template": "{{ tools }}" },
            ],
        }),
    )?;
    model.transformer(shape, Weight::F16, Weight::F16, "model.", true);
    model.biases(shape, Weight::F16, "model.");
    model.save(1)
}

/// BF16 with norms of queries and keys, heads wider than the embedding's share, a head of its own.
fn qwen3_normed(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 340, n_embd: 64, n_ff: 96, n_layer: 2, n_head: 4, n_head_kv: 1, head_dim: 32 };
    let more = json!({ "head_dim": 32, "rms_norm_eps": 1e-6, "rope_theta": 5e6, "attention_bias": false,
                       "max_position_embeddings": 40960, "rope_scaling": null });
    model.json("config.json", &config("Qwen3ForCausalLM", "qwen3", shape, more))?;
    model.json(
        "generation_config.json",
        &json!({ "top_k": 20, "top_p": 0.95, "temperature": 0.6, "do_sample": true }),
    )?;
    let added = [
        ("<|endoftext|>", true),
        ("<|im_start|>", true),
        ("<|im_end|>", true),
        ("<think>", false),
        ("</think>", false),
        ("<|fim_prefix|>", false),
        ("two words\u{2581}here", false),
    ];
    let tokenizer = tokenizers::byte_level(Alphabet::Qwen2, &mut model.random, 60, &added, true);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({
            "add_bos_token": false, "add_prefix_space": false, "bos_token": null, "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>", "unk_token": null, "tokenizer_class": "Qwen2Tokenizer",
            "added_tokens_decoder": tokenizers::decoder_of(&tokenizer), "chat_template": "{{ messages[0].content }}",
        }),
    )?;
    model.text(
        "README.md",
        "---\nlicense: apache-2.0\nlicense_link: https://example.org/LICENSE\nbase_model: Acme/Qwen3-Toy-Base\n\
         tags: qwen\n---\n",
    )?;
    model.transformer(shape, Weight::Bf16, Weight::Bf16, "model.", false);
    for i in 0..shape.n_layer {
        for part in ["q_norm", "k_norm"] {
            model.tensor(
                &format!("model.layers.{i}.self_attn.{part}.weight"),
                Weight::Bf16,
                &[shape.head_dim],
            );
        }
    }
    model.save(1)
}

/// A SentencePiece vocabulary that survives only as `tokenizer.json`.
fn llama_from_json(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 303, n_embd: 32, n_ff: 64, n_layer: 1, n_head: 2, n_head_kv: 2, head_dim: 16 };
    let more = json!({ "rms_norm_eps": 1e-5, "rope_scaling": { "type": "linear", "factor": 2.5 } });
    model.json("config.json", &config("LlamaForCausalLM", "llama", shape, more))?;
    let tokenizer = tokenizers::byte_fallback(&mut model.random);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({
            "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>",
            "tokenizer_class": "LlamaTokenizer", "model_max_length": 2048, "sp_model_kwargs": {},
        }),
    )?;
    model.json(
        "special_tokens_map.json",
        &json!({ "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>" }),
    )?;
    model.transformer(shape, Weight::F16, Weight::F32, "model.", false);
    model.save(1)
}

/// Mistral's defaults, tokens added by an older kind of file, several heads of keys by default.
fn mistral_added(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 290, n_embd: 64, n_ff: 64, n_layer: 1, n_head: 8, n_head_kv: 8, head_dim: 8 };
    let more =
        json!({ "head_dim": null, "rope_theta": 1e6, "sliding_window": null, "num_key_value_heads": null });
    model.json("config.json", &config("MistralForCausalLM", "mistral", shape, more))?;
    fs::write(model.dir.join("tokenizer.model"), tokenizers::sentencepiece(&mut model.random))?;
    model.json("added_tokens.json", &json!({ "<extra>": 285, "<more>": 286, "<far>": 4000 }))?;
    model.json(
        "tokenizer_config.json",
        &json!({ "bos_token": "<s>", "eos_token": "</s>", "add_eos_token": true }),
    )?;
    model.transformer(shape, Weight::Bf16, Weight::F32, "model.", false);
    model.save(1)
}

/// Three experts in each layer.
fn mixtral_experts(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 290, n_embd: 32, n_ff: 0, n_layer: 2, n_head: 2, n_head_kv: 1, head_dim: 16 };
    let n_ff = 64;
    let more = json!({ "num_local_experts": 3, "num_experts_per_tok": 2, "intermediate_size": n_ff, "rope_theta": 1e6 });
    model.json("config.json", &config("MixtralForCausalLM", "mixtral", shape, more))?;
    fs::write(model.dir.join("tokenizer.model"), tokenizers::sentencepiece(&mut model.random))?;
    model.transformer(shape, Weight::Bf16, Weight::Bf16, "model.", false);
    for i in 0..shape.n_layer {
        let part = format!("model.layers.{i}.block_sparse_moe");
        model.tensor(&format!("{part}.gate.weight"), Weight::Bf16, &[3, shape.n_embd]);
        for expert in 0..3 {
            for (name, rows, columns) in
                [("w1", n_ff, shape.n_embd), ("w2", shape.n_embd, n_ff), ("w3", n_ff, shape.n_embd)]
            {
                let name = format!("{part}.experts.{expert}.{name}.weight");
                model.tensor(&name, Weight::Bf16, &[rows, columns]);
            }
        }
    }
    model.save(2)
}

/// Rows that are no whole blocks, weights of many types, biases, buffers to be left out, names without prefix.
fn odd_widths(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 300, n_embd: 48, n_ff: 64, n_layer: 1, n_head: 4, n_head_kv: 2, head_dim: 12 };
    let more = json!({ "rms_norm_eps": 1e-5, "rope_scaling": { "rope_type": "dynamic", "factor": 2.0 },
                       "attention_bias": true, "is_causal": false });
    model.json("config.json", &config("LlamaModel", "llama", shape, more))?;
    let added = [("<|endoftext|>", true)];
    let tokenizer = tokenizers::byte_level(Alphabet::Gpt2, &mut model.random, 40, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>" }),
    )?;
    model.transformer(shape, Weight::F16, Weight::F64, "", true);
    model.biases(shape, Weight::F32, "");
    model.tensor("layers.0.self_attn.rotary_emb.inv_freq", Weight::F32, &[6]);
    model.tensor("layers.0.self_attn.o_proj.bias", Weight::I64, &[shape.n_embd]);
    model.tensor("vision_tower.patch.weight", Weight::F32, &[4, 4]);
    model.save(1)
}

/// An embedding model with its pooling.
fn qwen2_pooled(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 305, n_embd: 32, n_ff: 64, n_layer: 1, n_head: 2, n_head_kv: 2, head_dim: 16 };
    model.json("config.json", &config("Qwen2Model", "qwen2", shape, json!({ "is_causal": false })))?;
    let modules = json!([
        { "idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer" },
        { "idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
    ]);
    model.json("modules.json", &modules)?;
    fs::create_dir_all(model.dir.join("1_Pooling"))?;
    model.json(
        "1_Pooling/config.json",
        &json!({ "pooling_mode_cls_token": false, "pooling_mode_lasttoken": true }),
    )?;
    let added = [("<|endoftext|>", true)];
    let mut tokenizer = tokenizers::byte_level(Alphabet::Qwen2, &mut model.random, 42, &added, true);
    tokenizer["normalizer"] =
        json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, { "type": "Lowercase" }] });
    model.json("tokenizer.json", &tokenizer)?;
    model.transformer(shape, Weight::F32, Weight::F32, "", true);
    model.biases(shape, Weight::F32, "");
    model.save(1)
}

/// A configuration that transformers refuses, so that its plain keys count.
fn plain_config(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 290, n_embd: 64, n_ff: 64, n_layer: 1, n_head: 2, n_head_kv: 2, head_dim: 32 };
    let more = json!({ "rope_theta": 20000.0, "rope_scaling": { "rope_type": "llama3", "factor": 4 },
                       "norm_eps": 1e-4, "_name_or_path": "/home/someone/model" });
    model.json("config.json", &config("LlamaForCausalLM", "llama", shape, more))?;
    fs::write(model.dir.join("tokenizer.model"), tokenizers::sentencepiece(&mut model.random))?;
    model.text("README.md", "# Only text, no front matter\n")?;
    model.transformer(shape, Weight::F32, Weight::F32, "model.", false);
    model.save(1)
}

/// Wide heads for many rotary factors.
fn llama3_wide_heads(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 320, n_embd: 32, n_ff: 32, n_layer: 1, n_head: 1, n_head_kv: 1, head_dim: 128 };
    let more = json!({
        "head_dim": 128, "rope_theta": 500_000.0, "max_position_embeddings": 131_072,
        "rope_parameters": {
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
    });
    model.json("config.json", &config("LlamaForCausalLM", "llama", shape, more))?;
    let added = [("<s>", true), ("</s>", true), ("<unk>", true)];
    let tokenizer = tokenizers::byte_level(Alphabet::Llama3, &mut model.random, 50, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "tokenizer_class": "LlamaTokenizerFast", "add_eos_token": true }),
    )?;
    model.json("chat_template.json", &json!({ "chat_template": "{{ messages }}" }))?;
    model.transformer(shape, Weight::Bf16, Weight::F32, "model.", false);
    model.save(1)
}

/// Long-context scaling that only leaves its name, in three shards.
fn qwen3_longrope(model: &mut Model<'_>) -> io::Result<()> {
    let shape =
        Shape { n_vocab: 310, n_embd: 32, n_ff: 32, n_layer: 1, n_head: 2, n_head_kv: 1, head_dim: 16 };
    let more = json!({ "head_dim": 16, "tie_word_embeddings": true,
                       "rope_scaling": { "rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0] } });
    model.json("config.json", &config("Qwen3ForCausalLM", "qwen3", shape, more))?;
    let added = [("<|endoftext|>", true), ("<|im_end|>", true)];
    let tokenizer = tokenizers::byte_level(Alphabet::Qwen2, &mut model.random, 44, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json("tokenizer_config.json", &json!({ "eos_token": "<|im_end|>", "mask_token": "<mask>" }))?;
    model.transformer(shape, Weight::F16, Weight::F32, "model.", true);
    model.tensor("model.layers.0.self_attn.q_norm.weight", Weight::F32, &[16]);
    model.tensor("model.layers.0.self_attn.k_norm.weight", Weight::F32, &[16]);
    model.save(3)
}
