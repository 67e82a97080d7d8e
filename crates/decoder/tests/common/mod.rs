//! A tiny random llama, written as GGUF and loaded like any other model.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, TokenId};
use quipu_gguf::GgufFile;
use quipu_graph::DType;
use quipu_model::{LoadParams, Model};
use quipu_testing::{TinyLlama, nmse};

/// 4 heads of 8, 2 of keys and values, 48 tokens.
fn sizes(n_layer: usize) -> TinyLlama<'static> {
    let (n_vocab, n_embd, n_ff) = (N_VOCAB, N_EMBD, 64);
    TinyLlama { n_layer, n_vocab, n_embd, n_ff, n_head: 4, n_head_kv: 2, types: &[DType::F32] }
}

pub const N_VOCAB: usize = 48;
pub const N_EMBD: usize = 32;

/// The embedding table of the model of [`model`], row by row.
pub fn token_embeddings() -> Vec<f32> {
    sizes(0).token_embeddings()
}

/// A llama of `n_layer` layers.
pub fn model(n_layer: usize) -> Arc<Model> {
    let file = GgufFile::from_vec(bytes(n_layer, false)).expect("a valid file");
    let model = Model::load(&file, &CpuDevice::default(), &mut LoadParams::default());
    Arc::new(model.expect("a valid model"))
}

/// Its file, with factors of the rotary frequencies or without.
pub fn bytes(n_layer: usize, factors: bool) -> Vec<u8> {
    if factors { sizes(n_layer).gguf_with_rope_factors() } else { sizes(n_layer).gguf() }
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
    sizes(0).tokens(n, seed)
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
pub fn assert_close(found: &[f32], expected: &[f32], bound: f64) {
    let error = nmse(expected, found);
    assert!(error <= bound && expected.iter().any(|x| *x != 0.0), "NMSE {error} above {bound}");
}
