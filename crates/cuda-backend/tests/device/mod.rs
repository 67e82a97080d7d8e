//! Small llamas, and single ops, to run on a device and on the CPU.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod cases;

use std::sync::Arc;

use quipu_backend::Device;
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::GgufFile;
use quipu_graph::DType;
use quipu_model::{LoadParams, Model};
use quipu_testing::TinyLlama;

/// 4 heads of 64, 2 of keys and values, 96 tokens.
fn sizes(n_layer: usize, types: &[DType]) -> TinyLlama<'_> {
    TinyLlama { n_layer, n_vocab: 96, n_embd: 256, n_ff: 512, n_head: 4, n_head_kv: 2, types }
}

/// A llama of `n_layer` layers as a GGUF file. `types` are used in turn for the matrices.
pub fn llama(n_layer: usize, types: &[DType]) -> Vec<u8> {
    sizes(n_layer, types).gguf()
}

pub fn load(bytes: &[u8], device: &dyn Device) -> Arc<Model> {
    let file = GgufFile::from_vec(bytes.to_vec()).expect("a valid file");
    Arc::new(Model::load(&file, device, &mut LoadParams::default()).expect("a valid model"))
}

/// Parameters for tests: 256 cells, one thread.
pub fn params() -> ContextParams {
    ContextParams { n_ctx: 256, n_threads: 1, n_threads_batch: 1, ..ContextParams::default() }
}

pub fn tokens(n: usize) -> Vec<u32> {
    sizes(0, &[]).tokens(n, 77)
}

/// Logits of all tokens: `prompt` of them at once, the rest one by one.
pub fn logits(context: &mut Context, tokens: &[u32], prompt: usize) -> Vec<Vec<f32>> {
    let mut out = Vec::new();
    let mut first = 0;
    while first < tokens.len() {
        let n = if first == 0 { prompt } else { 1 };
        let mut batch = Batch::new();
        for (i, token) in tokens[first..first + n].iter().enumerate() {
            batch.add(*token, (first + i) as i32, &[0], true);
        }
        context.decode(&batch).expect("computes");
        out.extend((0..n as i32).map(|i| context.logits(i).expect("an output").to_vec()));
        first += n;
    }
    out
}

pub fn argmax(values: &[f32]) -> usize {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.expect("a vocabulary").0
}
