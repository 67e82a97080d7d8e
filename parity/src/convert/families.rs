//! Small models of families other than llama's and Qwen's dense ones.

use std::fs;
use std::io;

use serde_json::json;

use super::models::{Case, Model, Shape, Weight, config};
use super::tokenizers::{self, Alphabet};

/// All of them.
pub(super) const CASES: [Case; 12] = [
    Case { folder: "family-bert-pooled", pre: Some("jina-v2-en"), base: None, write: bert_pooled },
    Case { folder: "family-bert-labels", pre: Some("jina-v2-en"), base: None, write: bert_labels },
    Case { folder: "family-gemma-2b", pre: None, base: None, write: gemma },
    Case { folder: "family-gemma2", pre: None, base: None, write: gemma2 },
    Case { folder: "family-gemma3", pre: None, base: None, write: gemma3 },
    Case { folder: "family-gemma3-json", pre: Some("gpt-2"), base: None, write: gemma3_json },
    Case { folder: "family-qwen3moe", pre: Some("qwen2"), base: None, write: qwen3moe },
    Case { folder: "family-olmoe", pre: Some("olmo"), base: None, write: olmoe },
    Case { folder: "family-olmo2", pre: Some("olmo"), base: None, write: olmo2 },
    Case { folder: "family-starcoder2", pre: Some("starcoder"), base: None, write: starcoder2 },
    Case { folder: "family-granite", pre: Some("refact"), base: None, write: granite },
    Case { folder: "family-smollm3", pre: Some("smollm"), base: None, write: smollm3 },
];

pub(super) const SHAPE: Shape =
    Shape { n_vocab: 320, n_embd: 64, n_ff: 96, n_layer: 2, n_head: 4, n_head_kv: 2, head_dim: 16 };

/// A layer's matrices in that shape: name, rows and columns.
pub(super) const LINEAR: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", SHAPE.n_embd, SHAPE.n_embd),
    ("self_attn.k_proj", 32, SHAPE.n_embd),
    ("self_attn.v_proj", 32, SHAPE.n_embd),
    ("self_attn.o_proj", SHAPE.n_embd, SHAPE.n_embd),
    ("mlp.gate_proj", SHAPE.n_ff, SHAPE.n_embd),
    ("mlp.up_proj", SHAPE.n_ff, SHAPE.n_embd),
    ("mlp.down_proj", SHAPE.n_embd, SHAPE.n_ff),
];

/// The tensors of an encoder, `prefix` before each.
fn encoder(model: &mut Model<'_>, shape: Shape, prefix: &str) {
    let n = shape.n_embd;
    for (name, rows) in [
        ("word_embeddings.weight", shape.n_vocab),
        ("position_embeddings.weight", 128),
        ("token_type_embeddings.weight", 2),
    ] {
        model.tensor(&format!("{prefix}embeddings.{name}"), Weight::F32, &[rows, n]);
    }
    model.tensor(&format!("{prefix}embeddings.position_ids"), Weight::I64, &[1, 128]);
    for part in ["gamma", "beta"] {
        model.tensor(&format!("{prefix}embeddings.LayerNorm.{part}"), Weight::F32, &[n]);
    }
    for i in 0..shape.n_layer {
        for (name, rows, columns) in [
            ("attention.self.query", n, n),
            ("attention.self.key", n, n),
            ("attention.self.value", n, n),
            ("attention.output.dense", n, n),
            ("intermediate.dense", shape.n_ff, n),
            ("output.dense", n, shape.n_ff),
        ] {
            let name = format!("{prefix}encoder.layer.{i}.{name}");
            model.tensor(&format!("{name}.weight"), Weight::F32, &[rows, columns]);
            model.tensor(&format!("{name}.bias"), Weight::F32, &[rows]);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            for part in ["weight", "bias"] {
                model.tensor(&format!("{prefix}encoder.layer.{i}.{name}.{part}"), Weight::F32, &[n]);
            }
        }
    }
    model.tensor(&format!("{prefix}pooler.dense.weight"), Weight::F32, &[n, n]);
    model.tensor(&format!("{prefix}pooler.dense.bias"), Weight::F32, &[n]);
}

fn bert_config(arch: &str, more: serde_json::Value) -> serde_json::Value {
    let mut all = json!({
        "max_position_embeddings": 128, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "hidden_act": "gelu", "num_key_value_heads": null,
    });
    if let (serde_json::Value::Object(all), serde_json::Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    let mut config = config(arch, "bert", SHAPE, all);
    if let serde_json::Value::Object(config) = &mut config {
        config.remove("num_key_value_heads");
    }
    config
}

/// An embedding model: WordPiece, pooling, norms under their old names, a pooler that is left out.
fn bert_pooled(model: &mut Model<'_>) -> io::Result<()> {
    model.json("config.json", &bert_config("BertModel", json!({})))?;
    let tokenizer = tokenizers::word_pieces(&mut model.random, SHAPE.n_vocab);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "do_lower_case": true, "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]",
                 "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]" }),
    )?;
    let modules = json!([
        { "idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer" },
        { "idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
    ]);
    model.json("modules.json", &modules)?;
    fs::create_dir_all(model.dir.join("1_Pooling"))?;
    model.json("1_Pooling/config.json", &json!({ "pooling_mode_mean_tokens": true }))?;
    encoder(model, SHAPE, "");
    model.save(1)
}

/// A classifier with labels of its own; the tokenizer's settings differ from its file's.
fn bert_labels(model: &mut Model<'_>) -> io::Result<()> {
    let labels = json!({ "id2label": { "0": "no", "1": "perhaps", "2": "yes" }, "label2id": { "no": 0, "perhaps": 1, "yes": 2 } });
    model.json("config.json", &bert_config("BertForSequenceClassification", labels))?;
    let tokenizer = tokenizers::word_pieces(&mut model.random, SHAPE.n_vocab);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "do_lower_case": false, "tokenizer_class": "BertTokenizer" }),
    )?;
    encoder(model, SHAPE, "bert.");
    model.tensor("classifier.weight", Weight::F32, &[3, SHAPE.n_embd]);
    model.tensor("classifier.bias", Weight::F32, &[3]);
    model.save(1)
}

/// SentencePiece with its settings.
pub(super) fn pieces(model: &mut Model<'_>) -> io::Result<()> {
    fs::write(model.dir.join("tokenizer.model"), tokenizers::sentencepiece(&mut model.random))?;
    model.json(
        "tokenizer_config.json",
        &json!({ "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": true,
                 "chat_template": "{{ messages }}" }),
    )
}

/// Byte-level BPE with its settings.
pub(super) fn bytes(model: &mut Model<'_>, alphabet: Alphabet, class: &str) -> io::Result<()> {
    let added = [("<|endoftext|>", true), ("<|im_end|>", true)];
    let tokenizer = tokenizers::byte_level(alphabet, &mut model.random, 44, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "tokenizer_class": class,
                 "added_tokens_decoder": tokenizers::decoder_of(&tokenizer) }),
    )
}

fn gemma(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "rms_norm_eps": 1e-6, "hidden_act": "gelu" });
    model.json("config.json", &config("GemmaForCausalLM", "gemma", SHAPE, more))?;
    pieces(model)?;
    // Norms in half precision: one is added in half precision.
    model.transformer(SHAPE, Weight::Bf16, Weight::F16, "model.", false);
    model.save(1)
}

/// Norms behind the blocks too.
fn sandwich(model: &mut Model<'_>, weight: Weight, heads: bool) {
    model.transformer(SHAPE, weight, weight, "model.", true);
    for i in 0..SHAPE.n_layer {
        for name in ["pre_feedforward_layernorm", "post_feedforward_layernorm"] {
            model.tensor(&format!("model.layers.{i}.{name}.weight"), weight, &[SHAPE.n_embd]);
        }
        for name in ["q_norm", "k_norm"].into_iter().filter(|_| heads) {
            model.tensor(&format!("model.layers.{i}.self_attn.{name}.weight"), weight, &[SHAPE.head_dim]);
        }
    }
}

fn gemma2(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "rms_norm_eps": 1e-6, "sliding_window": 64,
                       "attn_logit_softcapping": 40.0, "final_logit_softcapping": 20.0 });
    model.json("config.json", &config("Gemma2ForCausalLM", "gemma2", SHAPE, more))?;
    pieces(model)?;
    sandwich(model, Weight::Bf16, false);
    model.save(2)
}

fn gemma3(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "rms_norm_eps": 1e-6, "sliding_window": 32, "rope_theta": 1_000_000.0,
                       "rope_local_base_freq": 10000.0, "sliding_window_pattern": 6 });
    model.json("config.json", &config("Gemma3ForCausalLM", "gemma3_text", SHAPE, more))?;
    pieces(model)?;
    sandwich(model, Weight::Bf16, true);
    model.save(1)
}

fn gemma3_json(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "sliding_window": 32, "final_logit_softcapping": 30.0,
                       "rope_scaling": { "rope_type": "linear", "factor": 8.0 } });
    let shape = Shape { n_vocab: 304, ..SHAPE };
    model.json("config.json", &config("Gemma3ForCausalLM", "gemma3_text", shape, more))?;
    let added = [("<|endoftext|>", true), ("<|im_end|>", true)];
    let tokenizer = tokenizers::byte_level(Alphabet::Gpt2, &mut model.random, 46, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": tokenizers::decoder_of(&tokenizer) }),
    )?;
    sandwich(model, Weight::F32, true);
    model.save(1)
}

/// Experts one by one, and the router.
pub(super) fn experts(model: &mut Model<'_>, n_expert: usize, n_ff: usize) {
    let n = SHAPE.n_embd;
    for i in 0..SHAPE.n_layer {
        let part = format!("model.layers.{i}.mlp");
        model.tensor(&format!("{part}.gate.weight"), Weight::Bf16, &[n_expert, n]);
        for expert in 0..n_expert {
            for (name, rows, columns) in
                [("gate_proj", n_ff, n), ("up_proj", n_ff, n), ("down_proj", n, n_ff)]
            {
                let name = format!("{part}.experts.{expert}.{name}.weight");
                model.tensor(&name, Weight::Bf16, &[rows, columns]);
            }
        }
    }
}

/// Norms of heads, or of all heads together.
fn qk_norms(model: &mut Model<'_>, q: usize, k: usize) {
    for i in 0..SHAPE.n_layer {
        model.tensor(&format!("model.layers.{i}.self_attn.q_norm.weight"), Weight::Bf16, &[q]);
        model.tensor(&format!("model.layers.{i}.self_attn.k_norm.weight"), Weight::Bf16, &[k]);
    }
}

fn qwen3moe(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2,
                       "rope_theta": 1_000_000.0 });
    model.json("config.json", &config("Qwen3MoeForCausalLM", "qwen3_moe", SHAPE, more))?;
    bytes(model, Alphabet::Qwen2, "Qwen2Tokenizer")?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::Bf16, Weight::Bf16, "model.", true);
    qk_norms(model, 16, 16);
    experts(model, 4, 32);
    model.save(1)
}

fn olmoe(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "num_experts": 3, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5 });
    model.json("config.json", &config("OlmoeForCausalLM", "olmoe", SHAPE, more))?;
    bytes(model, Alphabet::Gpt2, "GPTNeoXTokenizer")?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::Bf16, Weight::Bf16, "model.", false);
    qk_norms(model, 64, 32);
    experts(model, 3, 96);
    model.save(1)
}

fn olmo2(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "rms_norm_eps": 1e-6, "rope_theta": 500_000.0 });
    model.json("config.json", &config("Olmo2ForCausalLM", "olmo2", SHAPE, more))?;
    bytes(model, Alphabet::Gpt2, "GPT2Tokenizer")?;
    let n = SHAPE.n_embd;
    model.tensor("model.embed_tokens.weight", Weight::Bf16, &[SHAPE.n_vocab, n]);
    for i in 0..SHAPE.n_layer {
        for (name, rows, columns) in LINEAR {
            model.tensor(&format!("model.layers.{i}.{name}.weight"), Weight::Bf16, &[rows, columns]);
        }
        for name in ["post_attention_layernorm", "post_feedforward_layernorm"] {
            model.tensor(&format!("model.layers.{i}.{name}.weight"), Weight::Bf16, &[n]);
        }
    }
    qk_norms(model, 64, 32);
    model.tensor("model.norm.weight", Weight::Bf16, &[n]);
    model.tensor("lm_head.weight", Weight::Bf16, &[SHAPE.n_vocab, n]);
    model.save(1)
}

fn starcoder2(model: &mut Model<'_>) -> io::Result<()> {
    let more =
        json!({ "norm_epsilon": 1e-5, "sliding_window": 64, "rope_theta": 100_000.0, "use_bias": true });
    model.json("config.json", &config("Starcoder2ForCausalLM", "starcoder2", SHAPE, more))?;
    bytes(model, Alphabet::Gpt2, "GPT2Tokenizer")?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::F32, Weight::F32, "model.", true);
    for i in 0..SHAPE.n_layer {
        for (name, rows, columns) in
            [("mlp.c_fc", SHAPE.n_ff, SHAPE.n_embd), ("mlp.c_proj", SHAPE.n_embd, SHAPE.n_ff)]
        {
            model.tensor(&format!("model.layers.{i}.{name}.weight"), Weight::F32, &[rows, columns]);
            model.tensor(&format!("model.layers.{i}.{name}.bias"), Weight::F32, &[rows]);
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            model.tensor(&format!("model.layers.{i}.{name}.bias"), Weight::F32, &[SHAPE.n_embd]);
        }
    }
    model.tensor("model.norm.bias", Weight::F32, &[SHAPE.n_embd]);
    model.save(1)
}

fn smollm3(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "rms_norm_eps": 1e-6, "rope_theta": 5e6, "use_sliding_window": false, "no_rope_layers": [1, 0] });
    model.json("config.json", &config("SmolLM3ForCausalLM", "smollm3", SHAPE, more))?;
    bytes(model, Alphabet::Llama3, "PreTrainedTokenizerFast")?;
    model.transformer(SHAPE, Weight::Bf16, Weight::Bf16, "model.", true);
    model.save(1)
}

fn granite(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "attention_multiplier": 0.125, "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
                       "logits_scaling": 8.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true });
    model.json("config.json", &config("GraniteForCausalLM", "granite", SHAPE, more))?;
    bytes(model, Alphabet::Gpt2, "GPT2Tokenizer")?;
    model.transformer(SHAPE, Weight::Bf16, Weight::Bf16, "model.", true);
    model.save(1)
}
