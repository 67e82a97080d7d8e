//! Small models of families whose tensors are fused, split, turned round, stacked or quantised.

use std::fs;
use std::io;

use serde_json::json;

use super::families::{LINEAR, SHAPE, bytes, experts};
use super::models::{Case, Model, Shape, Weight, config};
use super::tokenizers::{self, Alphabet};

/// All of them.
pub(super) const CASES: [Case; 16] = [
    Case { folder: "family-qwen2moe", pre: Some("qwen2"), base: None, write: qwen2moe },
    Case { folder: "family-qwen2moe-stacked", pre: Some("qwen2"), base: None, write: qwen2moe_stacked },
    Case { folder: "family-phi3", pre: None, base: None, write: phi3 },
    Case { folder: "family-phi4", pre: Some("dbrx"), base: None, write: phi4 },
    Case { folder: "family-gpt-oss", pre: Some("gpt-4o"), base: None, write: gpt_oss_mxfp4 },
    Case { folder: "family-gpt-oss-bf16", pre: Some("gpt-4o"), base: None, write: gpt_oss_bf16 },
    Case { folder: "family-mamba", pre: Some("olmo"), base: None, write: mamba },
    Case { folder: "family-mamba2", pre: Some("olmo"), base: None, write: mamba2 },
    Case { folder: "family-gpt2", pre: Some("gpt-2"), base: None, write: gpt2 },
    Case { folder: "family-stablelm", pre: Some("stablelm2"), base: None, write: stablelm },
    Case { folder: "family-falcon", pre: Some("falcon"), base: None, write: falcon },
    Case { folder: "family-deepseek2", pre: Some("deepseek-llm"), base: None, write: deepseek2 },
    Case { folder: "family-deepseek3-fp8", pre: Some("deepseek-v3"), base: None, write: deepseek3_fp8 },
    Case { folder: "family-glm4", pre: Some("glm4"), base: None, write: glm4 },
    Case { folder: "family-qwen3-fp8", pre: Some("qwen2"), base: None, write: qwen3_fp8 },
    Case { folder: "family-llama-fp8-channels", pre: Some("llama-bpe"), base: None, write: llama_channels },
];

fn qwen2moe_config() -> serde_json::Value {
    let more = json!({ "moe_intermediate_size": 32, "shared_expert_intermediate_size": 96, "num_experts": 4,
                       "num_experts_per_tok": 2, "rope_theta": 1_000_000.0 });
    config("Qwen2MoeForCausalLM", "qwen2_moe", SHAPE, more)
}

fn shared_expert(model: &mut Model<'_>) {
    let (n, n_ff) = (SHAPE.n_embd, SHAPE.n_ff);
    for i in 0..SHAPE.n_layer {
        let part = format!("model.layers.{i}.mlp");
        model.tensor(&format!("{part}.shared_expert_gate.weight"), Weight::Bf16, &[1, n]);
        for (name, rows, columns) in [("gate_proj", n_ff, n), ("up_proj", n_ff, n), ("down_proj", n, n_ff)] {
            model.tensor(&format!("{part}.shared_expert.{name}.weight"), Weight::Bf16, &[rows, columns]);
        }
    }
}

fn qwen2moe(model: &mut Model<'_>) -> io::Result<()> {
    model.json("config.json", &qwen2moe_config())?;
    bytes(model, Alphabet::Qwen2, "Qwen2Tokenizer")?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::Bf16, Weight::Bf16, "model.", false);
    model.biases(SHAPE, Weight::Bf16, "model.");
    shared_expert(model);
    experts(model, 4, 32);
    model.save(1)
}

/// Experts that are stored as stacks, in two shards.
fn qwen2moe_stacked(model: &mut Model<'_>) -> io::Result<()> {
    model.json("config.json", &qwen2moe_config())?;
    bytes(model, Alphabet::Qwen2, "Qwen2Tokenizer")?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::Bf16, Weight::Bf16, "model.", false);
    model.biases(SHAPE, Weight::Bf16, "model.");
    shared_expert(model);
    let n = SHAPE.n_embd;
    for i in 0..SHAPE.n_layer {
        let part = format!("model.layers.{i}.mlp");
        model.tensor(&format!("{part}.gate.weight"), Weight::Bf16, &[4, n]);
        model.tensor(&format!("{part}.experts.gate_up_proj"), Weight::Bf16, &[4, 64, n]);
        model.tensor(&format!("{part}.experts.down_proj"), Weight::Bf16, &[4, n, 32]);
    }
    model.save(2)
}

fn phi(model: &mut Model<'_>, shape: Shape) {
    let n = shape.n_embd;
    model.tensor("model.embed_tokens.weight", Weight::Bf16, &[shape.n_vocab, n]);
    let n_kv = shape.n_head_kv * shape.head_dim;
    for i in 0..shape.n_layer {
        let layer = |part: &str| format!("model.layers.{i}.{part}.weight");
        model.tensor(&layer("input_layernorm"), Weight::Bf16, &[n]);
        model.tensor(&layer("self_attn.qkv_proj"), Weight::Bf16, &[n + 2 * n_kv, n]);
        model.tensor(&layer("self_attn.o_proj"), Weight::Bf16, &[n, n]);
        model.tensor(&layer("post_attention_layernorm"), Weight::Bf16, &[n]);
        model.tensor(&layer("mlp.gate_up_proj"), Weight::Bf16, &[2 * shape.n_ff, n]);
        model.tensor(&layer("mlp.down_proj"), Weight::Bf16, &[n, shape.n_ff]);
    }
    model.tensor("model.norm.weight", Weight::Bf16, &[n]);
    model.tensor("lm_head.weight", Weight::Bf16, &[shape.n_vocab, n]);
}

/// SentencePiece with added tokens in three files, factors for long texts.
fn phi3(model: &mut Model<'_>) -> io::Result<()> {
    let factors = |from: f64| (0..8).map(|i| from + f64::from(i) * 0.37).collect::<Vec<f64>>();
    let more = json!({ "max_position_embeddings": 8192, "original_max_position_embeddings": 2048,
                       "rms_norm_eps": 1e-5, "sliding_window": 512,
                       "rope_scaling": { "type": "su", "short_factor": factors(1.0), "long_factor": factors(1.3) } });
    model.json("config.json", &config("Phi3ForCausalLM", "phi3", SHAPE, more))?;
    fs::write(model.dir.join("tokenizer.model"), tokenizers::sentencepiece(&mut model.random))?;
    model.json("added_tokens.json", &json!({ "<|end|>": 290, "<|user|>": 291 }))?;
    model.json(
        "tokenizer_config.json",
        &json!({ "bos_token": "<s>", "eos_token": "<|end|>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer",
                 "added_tokens_decoder": { "290": { "content": "<|end|>", "special": true },
                                           "292": { "content": "\u{2581}thing", "special": false } } }),
    )?;
    let tokenizer = json!({ "version": "1.0", "added_tokens": [
        { "id": 293, "content": "<|system|>", "special": true }, { "id": 294, "content": "plain", "special": false },
    ] });
    model.json("tokenizer.json", &tokenizer)?;
    phi(model, SHAPE);
    model.save(2)
}

/// No window, a share of the dimensions rotated, GPT-2's kind of vocabulary.
fn phi4(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "rms_norm_eps": 1e-5, "rope_theta": 250_000, "partial_rotary_factor": 0.75,
                       "original_max_position_embeddings": 2048, "sliding_window": null, "rope_scaling": null });
    model.json("config.json", &config("Phi3ForCausalLM", "phi3", SHAPE, more))?;
    bytes(model, Alphabet::Gpt2, "GPT2Tokenizer")?;
    phi(model, SHAPE);
    model.save(1)
}

/// Everything of gpt-oss but the experts' matrices.
fn gpt_oss(model: &mut Model<'_>, more: &serde_json::Value) -> io::Result<()> {
    let mut all = json!({ "head_dim": 16, "intermediate_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2,
                          "sliding_window": 128, "rms_norm_eps": 1e-5, "rope_theta": 150_000,
                          "layer_types": ["sliding_attention", "full_attention"] });
    if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    model.json("config.json", &config("GptOssForCausalLM", "gpt_oss", SHAPE, all))?;
    bytes(model, Alphabet::Llama3, "PreTrainedTokenizerFast")?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::Bf16, Weight::Bf16, "model.", false);
    model.biases(SHAPE, Weight::Bf16, "model.");
    let n = SHAPE.n_embd;
    for i in 0..SHAPE.n_layer {
        let layer = |part: &str| format!("model.layers.{i}.{part}");
        model.tensor(&layer("self_attn.o_proj.bias"), Weight::Bf16, &[n]);
        model.tensor(&layer("self_attn.sinks"), Weight::Bf16, &[4]);
        model.tensor(&layer("mlp.router.weight"), Weight::Bf16, &[4, n]);
        model.tensor(&layer("mlp.router.bias"), Weight::Bf16, &[4]);
        model.tensor(&layer("mlp.experts.gate_up_proj_bias"), Weight::Bf16, &[4, 64]);
        model.tensor(&layer("mlp.experts.down_proj_bias"), Weight::Bf16, &[4, n]);
    }
    Ok(())
}

fn gpt_oss_mxfp4(model: &mut Model<'_>) -> io::Result<()> {
    gpt_oss(model, &json!({ "quantization_config": { "quant_method": "mxfp4" } }))?;
    for i in 0..SHAPE.n_layer {
        let experts = format!("model.layers.{i}.mlp.experts");
        model.tensor(&format!("{experts}.gate_up_proj_blocks"), Weight::U8, &[4, 64, 2, 16]);
        model.tensor(&format!("{experts}.gate_up_proj_scales"), Weight::U8, &[4, 64, 2]);
        model.tensor(&format!("{experts}.down_proj_blocks"), Weight::U8, &[4, SHAPE.n_embd, 1, 16]);
        model.tensor(&format!("{experts}.down_proj_scales"), Weight::U8, &[4, SHAPE.n_embd, 1]);
    }
    model.save(1)
}

fn gpt_oss_bf16(model: &mut Model<'_>) -> io::Result<()> {
    gpt_oss(model, &json!({}))?;
    let n = SHAPE.n_embd;
    for i in 0..SHAPE.n_layer {
        let experts = format!("model.layers.{i}.mlp.experts");
        model.tensor(&format!("{experts}.gate_up_proj"), Weight::Bf16, &[4, n, 64]);
        model.tensor(&format!("{experts}.down_proj"), Weight::Bf16, &[4, 32, n]);
    }
    model.save(2)
}

/// `ln(1)` to `ln(n_state)` for each of `n` channels, as states begin.
fn decays(n: usize, n_state: usize) -> Vec<f32> {
    (0..n * n_state).map(|i| ((i % n_state + 1) as f64).ln() as f32).collect()
}

/// A vocabulary that is rounded up, a head that repeats the embedding.
fn mamba(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 64,
                       "intermediate_size": 128, "num_hidden_layers": 2, "state_size": 16, "conv_kernel": 4,
                       "time_step_rank": 4, "layer_norm_epsilon": 1e-5, "vocab_size": 309 });
    model.json("config.json", &more)?;
    bytes(model, Alphabet::Gpt2, "GPTNeoXTokenizer")?;
    model.tensor("backbone.embeddings.weight", Weight::F32, &[312, 64]);
    for i in 0..2 {
        let mixer = |part: &str| format!("backbone.layers.{i}.mixer.{part}");
        model.tensor(&format!("backbone.layers.{i}.norm.weight"), Weight::F32, &[64]);
        model.values(&mixer("A_log"), &[128, 16], &decays(128, 16));
        model.tensor(&mixer("D"), Weight::F32, &[128]);
        model.tensor(&mixer("conv1d.weight"), Weight::F32, &[128, 1, 4]);
        model.tensor(&mixer("conv1d.bias"), Weight::F32, &[128]);
        model.tensor(&mixer("in_proj.weight"), Weight::F32, &[256, 64]);
        model.tensor(&mixer("x_proj.weight"), Weight::F32, &[36, 128]);
        model.tensor(&mixer("dt_proj.weight"), Weight::F32, &[128, 4]);
        model.tensor(&mixer("dt_proj.bias"), Weight::F32, &[128]);
        model.tensor(&mixer("out_proj.weight"), Weight::F32, &[64, 128]);
    }
    model.tensor("backbone.norm_f.weight", Weight::F32, &[64]);
    model.copy("lm_head.weight", "backbone.embeddings.weight");
    model.save(1)
}

fn mamba2(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 64,
                       "expand": 2, "head_dim": 32, "n_groups": 2, "num_hidden_layers": 2, "state_size": 16,
                       "conv_kernel": 4, "rms_norm_eps": 1e-5, "vocab_size": 310 });
    model.json("config.json", &more)?;
    bytes(model, Alphabet::Gpt2, "GPTNeoXTokenizer")?;
    model.tensor("backbone.embeddings.weight", Weight::Bf16, &[320, 64]);
    for i in 0..2 {
        let mixer = |part: &str| format!("backbone.layers.{i}.mixer.{part}");
        model.tensor(&format!("backbone.layers.{i}.norm.weight"), Weight::Bf16, &[64]);
        model.values(&mixer("A_log"), &[4], &decays(1, 4));
        model.tensor(&mixer("D"), Weight::Bf16, &[4]);
        model.tensor(&mixer("dt_bias"), Weight::Bf16, &[4]);
        model.tensor(&mixer("conv1d.weight"), Weight::Bf16, &[192, 1, 4]);
        model.tensor(&mixer("conv1d.bias"), Weight::Bf16, &[192]);
        model.tensor(&mixer("in_proj.weight"), Weight::Bf16, &[324, 64]);
        model.tensor(&mixer("norm.weight"), Weight::Bf16, &[128]);
        model.tensor(&mixer("out_proj.weight"), Weight::Bf16, &[64, 128]);
    }
    model.tensor("backbone.norm_f.weight", Weight::Bf16, &[64]);
    model.save(1)
}

fn gpt2(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 64, "n_layer": 2,
                       "n_head": 4, "n_ctx": 128, "n_positions": 128, "layer_norm_epsilon": 1e-5, "vocab_size": 320,
                       "bos_token_id": 300, "eos_token_id": 300 });
    model.json("config.json", &more)?;
    bytes(model, Alphabet::Gpt2, "GPT2Tokenizer")?;
    model.tensor("wte.weight", Weight::F32, &[320, 64]);
    model.tensor("wpe.weight", Weight::F32, &[128, 64]);
    for i in 0..2 {
        for (name, inputs, outputs) in [
            ("attn.c_attn", 64, 192),
            ("attn.c_proj", 64, 64),
            ("mlp.c_fc", 64, 256),
            ("mlp.c_proj", 256, 64),
        ] {
            model.tensor(&format!("h.{i}.{name}.weight"), Weight::F32, &[inputs, outputs]);
            model.tensor(&format!("h.{i}.{name}.bias"), Weight::F32, &[outputs]);
        }
        layer_norms(model, &format!("h.{i}"), &["ln_1", "ln_2"], Weight::F32);
    }
    layer_norms(model, "", &["ln_f"], Weight::F32);
    model.save(1)
}

/// Norms with biases.
fn layer_norms(model: &mut Model<'_>, prefix: &str, names: &[&str], weight: Weight) {
    for name in names {
        let name = if prefix.is_empty() { (*name).to_owned() } else { format!("{prefix}.{name}") };
        for part in ["weight", "bias"] {
            model.tensor(&format!("{name}.{part}"), weight, &[SHAPE.n_embd]);
        }
    }
}

fn stablelm(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "qk_layernorm": false,
                       "use_parallel_residual": true, "rope_theta": 10000 });
    model.json("config.json", &config("StableLmForCausalLM", "stablelm", SHAPE, more))?;
    bytes(model, Alphabet::Gpt2, "GPT2Tokenizer")?;
    model.transformer(SHAPE, Weight::F16, Weight::F16, "model.", false);
    for i in 0..SHAPE.n_layer {
        model.tensor(&format!("model.layers.{i}.input_layernorm.bias"), Weight::F16, &[SHAPE.n_embd]);
    }
    model.tensor("model.norm.bias", Weight::F16, &[SHAPE.n_embd]);
    model.save(1)
}

fn falcon(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 64,
                       "num_hidden_layers": 2, "num_attention_heads": 4, "num_kv_heads": 2,
                       "new_decoder_architecture": true, "layer_norm_epsilon": 1e-5, "vocab_size": 320 });
    model.json("config.json", &more)?;
    bytes(model, Alphabet::Gpt2, "PreTrainedTokenizerFast")?;
    model.tensor("transformer.word_embeddings.weight", Weight::Bf16, &[320, 64]);
    for i in 0..2 {
        let layer = format!("transformer.h.{i}");
        layer_norms(model, &layer, &["ln_attn", "ln_mlp"], Weight::Bf16);
        for (name, rows, columns) in [
            ("self_attention.query_key_value", 128, 64),
            ("self_attention.dense", 64, 64),
            ("mlp.dense_h_to_4h", 256, 64),
            ("mlp.dense_4h_to_h", 64, 256),
        ] {
            model.tensor(&format!("{layer}.{name}.weight"), Weight::Bf16, &[rows, columns]);
        }
    }
    layer_norms(model, "transformer", &["ln_f"], Weight::Bf16);
    model.tensor("lm_head.weight", Weight::Bf16, &[320, 64]);
    model.save(1)
}

/// Sizes of latent attention: ranks, dimensions of a head.
const LATENT: (usize, usize, usize, usize, usize) = (48, 32, 16, 8, 24);

/// A weight; with `fp8` in 8 bits with a scale for each 16 by 16.
fn quantised(model: &mut Model<'_>, name: &str, shape: [usize; 2], fp8: bool) {
    if !fp8 {
        model.tensor(&format!("{name}.weight"), Weight::Bf16, &shape);
        return;
    }
    model.tensor(&format!("{name}.weight"), Weight::F8, &shape);
    let scales = shape.map(|n| n.div_ceil(16));
    model.tensor(&format!("{name}.weight_scale_inv"), Weight::F32, &scales);
}

/// A dense layer and one with experts; with `fp8` as V3 is published.
fn deepseek(model: &mut Model<'_>, fp8: bool) {
    let n = SHAPE.n_embd;
    let (q_rank, kv_rank, n_key, n_rotated, n_value) = LATENT;
    model.tensor("model.embed_tokens.weight", Weight::Bf16, &[SHAPE.n_vocab, n]);
    for i in 0..3 {
        // The last is behind the model, and is left out.
        let layer = |part: &str| format!("model.layers.{i}.{part}");
        for name in ["input_layernorm", "post_attention_layernorm"] {
            model.tensor(&layer(&format!("{name}.weight")), Weight::Bf16, &[n]);
        }
        let n_q = 4 * (n_key + n_rotated);
        if fp8 {
            quantised(model, &layer("self_attn.q_a_proj"), [q_rank, n], fp8);
            model.tensor(&layer("self_attn.q_a_layernorm.weight"), Weight::Bf16, &[q_rank]);
            quantised(model, &layer("self_attn.q_b_proj"), [n_q, q_rank], fp8);
        } else {
            quantised(model, &layer("self_attn.q_proj"), [n_q, n], fp8);
        }
        quantised(model, &layer("self_attn.kv_a_proj_with_mqa"), [kv_rank + n_rotated, n], fp8);
        model.tensor(&layer("self_attn.kv_a_layernorm.weight"), Weight::Bf16, &[kv_rank]);
        quantised(model, &layer("self_attn.kv_b_proj"), [4 * (n_key + n_value), kv_rank], fp8);
        quantised(model, &layer("self_attn.o_proj"), [n, 4 * n_value], fp8);
        let mut mlp = |part: &str, n_ff: usize| {
            for (name, shape) in [("gate_proj", [n_ff, n]), ("up_proj", [n_ff, n]), ("down_proj", [n, n_ff])]
            {
                quantised(model, &format!("{}.{name}", layer(part)), shape, fp8);
            }
        };
        if i == 0 {
            mlp("mlp", 96);
            continue;
        }
        for expert in 0..3 {
            mlp(&format!("mlp.experts.{expert}"), 32);
        }
        mlp("mlp.shared_experts", 64);
        model.tensor(&layer("mlp.gate.weight"), Weight::Bf16, &[3, n]);
        if fp8 {
            model.tensor(&layer("mlp.gate.e_score_correction_bias"), Weight::F32, &[3]);
        }
    }
    model.tensor("model.norm.weight", Weight::Bf16, &[n]);
    model.tensor("lm_head.weight", Weight::Bf16, &[SHAPE.n_vocab, n]);
}

fn deepseek_config(arch: &str, model_type: &str, more: &serde_json::Value) -> serde_json::Value {
    let (_, kv_rank, n_key, n_rotated, n_value) = LATENT;
    let mut all = json!({
        "num_key_value_heads": 4, "kv_lora_rank": kv_rank, "qk_nope_head_dim": n_key, "qk_rope_head_dim": n_rotated,
        "v_head_dim": n_value, "n_routed_experts": 3, "n_shared_experts": 2, "num_experts_per_tok": 2,
        "first_k_dense_replace": 1, "moe_intermediate_size": 32, "rms_norm_eps": 1e-6,
        "rope_scaling": { "type": "yarn", "factor": 40, "original_max_position_embeddings": 1024, "beta_fast": 32,
                          "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707 },
    });
    if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    config(arch, model_type, SHAPE, all)
}

fn deepseek2(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "q_lora_rank": null, "routed_scaling_factor": 1.0, "norm_topk_prob": false });
    model.json("config.json", &deepseek_config("DeepseekV2ForCausalLM", "deepseek_v2", &more))?;
    bytes(model, Alphabet::Gpt2, "LlamaTokenizerFast")?;
    deepseek(model, false);
    model.save(1)
}

fn deepseek3_fp8(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({
        "q_lora_rank": LATENT.0, "routed_scaling_factor": 2.5, "norm_topk_prob": true, "scoring_func": "sigmoid",
        "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 1,
        "quantization_config": { "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                 "weight_block_size": [16, 16] },
    });
    model.json("config.json", &deepseek_config("DeepseekV3ForCausalLM", "deepseek_v3", &more))?;
    bytes(model, Alphabet::Gpt2, "LlamaTokenizerFast")?;
    deepseek(model, true);
    model.save(3)
}

fn glm4(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "partial_rotary_factor": 0.5, "attention_bias": true, "rms_norm_eps": 1e-5,
                       "pad_token_id": 300, "eos_token_id": [300, 302] });
    model.json("config.json", &config("Glm4ForCausalLM", "glm4", SHAPE, more))?;
    let added = [("<|endoftext|>", true), ("[gMASK]", true), ("<|user|>", true)];
    let tokenizer = tokenizers::byte_level(Alphabet::Llama3, &mut model.random, 44, &added, false);
    model.json("tokenizer.json", &tokenizer)?;
    model.json(
        "tokenizer_config.json",
        &json!({ "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast",
                 "added_tokens_decoder": tokenizers::decoder_of(&tokenizer) }),
    )?;
    model.transformer(Shape { n_ff: 0, ..SHAPE }, Weight::Bf16, Weight::Bf16, "model.", false);
    model.biases(SHAPE, Weight::Bf16, "model.");
    for i in 0..SHAPE.n_layer {
        let layer = |part: &str| format!("model.layers.{i}.{part}.weight");
        model.tensor(&layer("post_self_attn_layernorm"), Weight::Bf16, &[SHAPE.n_embd]);
        model.tensor(&layer("post_mlp_layernorm"), Weight::Bf16, &[SHAPE.n_embd]);
        model.tensor(&layer("mlp.gate_up_proj"), Weight::Bf16, &[2 * SHAPE.n_ff, SHAPE.n_embd]);
        model.tensor(&layer("mlp.down_proj"), Weight::Bf16, &[SHAPE.n_embd, SHAPE.n_ff]);
    }
    model.save(1)
}

/// Attention and feed-forward in 8 bits; `scale` is the end of a scale's name and its shape for a weight's.
fn eight_bits(model: &mut Model<'_>, scale: &str, shape_of: fn([usize; 2]) -> Vec<usize>) {
    let n = SHAPE.n_embd;
    model.tensor("model.embed_tokens.weight", Weight::Bf16, &[SHAPE.n_vocab, n]);
    for i in 0..SHAPE.n_layer {
        for (name, rows, columns) in LINEAR {
            let name = format!("model.layers.{i}.{name}.weight");
            model.tensor(&name, Weight::F8, &[rows, columns]);
            model.tensor(&format!("{name}{scale}"), Weight::Bf16, &shape_of([rows, columns]));
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            model.tensor(&format!("model.layers.{i}.{name}.weight"), Weight::Bf16, &[n]);
        }
    }
    model.tensor("model.norm.weight", Weight::Bf16, &[n]);
    model.tensor("lm_head.weight", Weight::Bf16, &[SHAPE.n_vocab, n]);
}

/// Blocks that do not divide the matrices.
fn qwen3_fp8(model: &mut Model<'_>) -> io::Result<()> {
    let more = json!({ "head_dim": 16, "rms_norm_eps": 1e-6,
                       "quantization_config": { "quant_method": "fp8", "weight_block_size": [40, 24] } });
    model.json("config.json", &config("Qwen3ForCausalLM", "qwen3", SHAPE, more))?;
    bytes(model, Alphabet::Qwen2, "Qwen2Tokenizer")?;
    eight_bits(model, "_scale_inv", |[rows, columns]| vec![rows.div_ceil(40), columns.div_ceil(24)]);
    model.save(1)
}

/// A scale for each row, as compressed-tensors has it, and rows of heads that are regrouped.
fn llama_channels(model: &mut Model<'_>) -> io::Result<()> {
    let weights = json!({ "num_bits": 8, "type": "float", "strategy": "channel", "group_size": null,
                          "block_structure": null, "symmetric": true, "dynamic": false });
    let more = json!({ "rms_norm_eps": 1e-5, "quantization_config": {
        "quant_method": "compressed-tensors", "format": "float-quantized",
        "config_groups": { "group_0": { "targets": ["Linear"], "weights": weights, "input_activations": null } },
    } });
    model.json("config.json", &config("LlamaForCausalLM", "llama", SHAPE, more))?;
    bytes(model, Alphabet::Llama3, "PreTrainedTokenizerFast")?;
    eight_bits(model, "_scale", |[rows, _]| vec![rows, 1]);
    model.save(1)
}
