//! A tiny random llama, written as GGUF and loaded like any other model.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, TokenId};
use quipu_gguf::{GgufFile, GgufWriter, Value};
use quipu_graph::DType;
use quipu_model::{LoadParams, Model};

pub const N_VOCAB: usize = 48;
pub const N_EMBD: usize = 32;
const N_FF: usize = 64;
const N_EMBD_KV: usize = 16;

/// Numbers that look random and are the same everywhere.
struct Lcg(u64);

impl Lcg {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// The embedding table of the model of [`model`], row by row.
pub fn token_embeddings() -> Vec<f32> {
    values(0, &[N_EMBD as u64, N_VOCAB as u64])
}

fn values(index: usize, dims: &[u64]) -> Vec<f32> {
    let mut random = Lcg(index as u64 + 1);
    let n: u64 = dims.iter().product();
    // Norm weights near 1, matrices scaled to keep the variance.
    let (scale, shift) = if dims.len() == 1 { (0.1, 1.0) } else { (1.7 / (dims[0] as f32).sqrt(), 0.0) };
    (0..n).map(|_| random.uniform() * scale + shift).collect()
}

/// A llama of `n_layer` layers: 4 heads of 8, 2 KV heads, 48 tokens.
pub fn model(n_layer: usize) -> Arc<Model> {
    let file = GgufFile::from_vec(bytes(n_layer, false)).expect("a valid file");
    let model = Model::load(&file, &CpuDevice::default(), &mut LoadParams::default());
    Arc::new(model.expect("a valid model"))
}

/// Its file, with factors of the rotary frequencies or without.
pub fn bytes(n_layer: usize, factors: bool) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    let mut set = |key: &str, value: Value| writer.metadata.set(key, value);
    set("general.architecture", Value::from("llama"));
    let sizes = [
        ("block_count", n_layer),
        ("embedding_length", N_EMBD),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("feed_forward_length", N_FF),
        ("context_length", 512),
        ("vocab_size", N_VOCAB),
    ];
    for (key, value) in sizes {
        set(&format!("llama.{key}"), Value::U32(value as u32));
    }
    set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    let (e, kv, ff, vocab) = (N_EMBD as u64, N_EMBD_KV as u64, N_FF as u64, N_VOCAB as u64);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![e, vocab]),
        ("output_norm.weight".to_owned(), vec![e]),
        ("output.weight".to_owned(), vec![e, vocab]),
    ];
    for il in 0..n_layer {
        let layer = [
            ("attn_norm", vec![e]),
            ("attn_q", vec![e, e]),
            ("attn_k", vec![e, kv]),
            ("attn_v", vec![e, kv]),
            ("attn_output", vec![e, e]),
            ("ffn_norm", vec![e]),
            ("ffn_gate", vec![e, ff]),
            ("ffn_up", vec![e, ff]),
            ("ffn_down", vec![ff, e]),
        ];
        tensors.extend(layer.map(|(name, dims)| (format!("blk.{il}.{name}.weight"), dims)));
    }
    if factors {
        // One for each pair of a head.
        tensors.push(("rope_freqs.weight".to_owned(), vec![4]));
    }
    for (name, dims) in &tensors {
        writer.add_tensor(name, DType::F32, dims).expect("a valid tensor");
    }
    let mut bytes = Vec::new();
    let written = writer.write_to(&mut bytes, |i, sink| {
        values(i, &tensors[i].1).iter().try_for_each(|x| sink.write_all(&x.to_le_bytes()))
    });
    written.expect("writing to memory");
    bytes
}

/// Parameters for tests: 256 cells, two threads, four sequences.
pub fn params() -> ContextParams {
    ContextParams { n_ctx: 256, n_seq_max: 4, n_threads: 2, n_threads_batch: 2, ..ContextParams::default() }
}

pub fn context(model: &Arc<Model>, params: &ContextParams) -> Context {
    Context::new(Arc::clone(model), &CpuDevice::default(), params).expect("a context")
}

/// Tokens that look random.
pub fn tokens(n: usize, seed: u64) -> Vec<TokenId> {
    let mut random = Lcg(seed + 1000);
    (0..n).map(|_| ((random.uniform() + 1.0) * 0.5 * N_VOCAB as f32) as u32 % N_VOCAB as u32).collect()
}

/// All of `tokens` as sequence `seq_id` from position `first` on, all of them outputs.
pub fn sequence(tokens: &[TokenId], seq_id: i32, first: i32) -> Batch {
    let mut batch = Batch::new();
    for (pos, token) in (first..).zip(tokens) {
        batch.add(*token, pos, &[seq_id], true);
    }
    batch
}

/// Logits of every output of `batch` in a new context.
pub fn logits_alone(model: &Arc<Model>, batch: &Batch) -> Vec<Vec<f32>> {
    let mut context = context(model, &params());
    context.decode(batch).expect("a batch that fits");
    (0..batch.n_tokens() as i32).map(|i| context.logits(i).expect("an output").to_vec()).collect()
}

#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f32], nmse: f64) {
    assert_eq!(found.len(), expected.len());
    let pairs = || found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let error: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    let power: f64 = pairs().map(|(_, b)| b * b).sum();
    assert!(error <= nmse * power && power > 0.0, "NMSE {} above {nmse}", error / power);
}
