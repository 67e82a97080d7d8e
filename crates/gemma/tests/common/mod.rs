//! A Gemma 3 of no size worth mentioning.

#![allow(dead_code)] // each test uses its part

use std::sync::Arc;

use quipu_gemma::codec;
use quipu_gemma::gguf::sentencepiece_of;
use quipu_gemma::{
    Mat, Model, ModelConfig, OpenOptions, PromptWrapping, Result, SbsFile, SbsWriter, TensorInfos, Type,
    config_of, used_tensors,
};
use quipu_gguf::{Array, MemoryFile, Metadata, Value};

/// Two layers of 32; two heads of 16 and one for keys.
pub fn config(weight: Type) -> ModelConfig {
    let mut config = config_of(Model::Gemma3_270M, weight, PromptWrapping::GemmaIt).expect("known");
    config.num_layers = 2;
    config.model_dim = 32;
    config.vocab_size = 40;
    config.max_seq_len = 64;
    config.attention_window_sizes = vec![16, 64];
    config.layer_configs.truncate(2);
    for layer in &mut config.layer_configs {
        layer.model_dim = 32;
        layer.ff_hidden_dim = 24;
        layer.heads = 2;
        layer.kv_heads = 1;
        layer.qkv_dim = 16;
    }
    config
}

/// Values of a tensor: all different, in SFP's range, and such that a norm survives one more or less.
pub fn values(name: &str, n: usize) -> Vec<f32> {
    let seed: u64 = name.bytes().fold(7, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    (0..n as u64).map(|i| ((i * 37 + seed) % 255) as f32 / 256.0 - 0.5).collect()
}

pub fn vocabulary() -> Metadata {
    let texts: Vec<String> = (0..40)
        .map(|i| match i {
            0 => "<pad>".to_owned(),
            1 => "<eos>".to_owned(),
            2 => "<bos>".to_owned(),
            3 => "<unk>".to_owned(),
            4 => "<start_of_turn>".to_owned(),
            i => format!("word{i}"),
        })
        .collect();
    let kinds = (0..40).map(|i| if i < 5 { 3 } else { 1 }).collect();
    let scores = (0..40).map(|i| if i < 5 { -1000.0 } else { -(i as f32) }).collect();
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", Value::from("llama"));
    metadata.set("tokenizer.ggml.tokens", Value::Array(Array::String(texts.iter().collect())));
    metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata
}

/// The tensors that the exporters write, not their other forms.
pub fn names(config: &ModelConfig) -> Vec<String> {
    let other = ["att_w_", "qkv1_w_", "qkv2_w_", "gating1_w_", "gating2_w_"];
    let all = used_tensors(config).into_iter().map(|(name, _)| name);
    all.filter(|name| !other.iter().any(|other| name.starts_with(other))).collect()
}

/// The type of a tensor in the toy.
pub fn dtype_of(config: &ModelConfig, name: &str) -> Type {
    let min_size = TensorInfos::new(config).find(name).expect("a tensor").min_size;
    if min_size == Type::I8 { config.weight } else { Type::Bf16 }
}

pub fn sbs_bytes(weight: Type) -> Vec<u8> {
    let config = config(weight);
    let infos = TensorInfos::new(&config);
    let mut writer = SbsWriter::new(Vec::new()).expect("memory");
    for name in names(&config) {
        let (rows, cols) = infos.find(&name).expect("a tensor").extents();
        let mut values = values(&name, rows * cols);
        writer.encode(&name, dtype_of(&config, &name), rows, cols, &mut values).expect("a good tensor");
    }
    let tokenizer = sentencepiece_of(&vocabulary()).expect("a good vocabulary");
    writer.finish(&config, Some(&tokenizer)).expect("memory")
}

/// As before 2025, but for the config.
pub fn prefixed_blobs(scales: &[f32]) -> Vec<(String, Vec<u8>)> {
    let config = config(Type::Sfp);
    let infos = TensorInfos::new(&config);
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    for name in names(&config) {
        let (rows, cols) = infos.find(&name).expect("a tensor").extents();
        let dtype = dtype_of(&config, &name);
        let bytes = codec::encode(dtype, &values(&name, rows * cols)).expect("in range");
        blobs.push((format!("{}{name}", if dtype == Type::Sfp { "$" } else { "B" }), bytes));
    }
    if !scales.is_empty() {
        blobs.push(("Fscales".to_owned(), scales.iter().flat_map(|x| x.to_le_bytes()).collect()));
    }
    blobs.push(("config".to_owned(), config.to_bytes().expect("writable")));
    blobs
}

pub fn open(bytes: Vec<u8>) -> Result<SbsFile> {
    SbsFile::from_source(Arc::new(MemoryFile::from_vec(bytes)), OpenOptions::default())
}

pub fn mat(name: &str, dtype: Type, rows: usize, cols: usize) -> Mat {
    Mat::new(name, dtype, rows, cols, 1.0).expect("a good tensor")
}
