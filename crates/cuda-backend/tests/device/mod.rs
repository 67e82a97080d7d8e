//! Small llamas, and single ops, to run on a device and on the CPU.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod cases;

use std::sync::Arc;

use quipu_backend::Device;
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::{GgufFile, GgufWriter, Value as Metadata};
use quipu_graph::DType;
use quipu_model::{LoadParams, Model};

pub const N_VOCAB: usize = 96;
pub const N_EMBD: usize = 256;
const N_FF: usize = 512;
const N_EMBD_KV: usize = 128;

/// Numbers that look random and are the same everywhere.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// A row of any type with a quantizer.
pub fn row_bytes(dtype: DType, values: &[f32]) -> Vec<u8> {
    match dtype {
        DType::F32 => bytemuck::cast_slice(values).to_vec(),
        DType::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => {
            let mut out = vec![0; dtype.row_bytes(values.len()).expect("whole blocks")];
            quipu_quant::quantize_row(dtype, values, &mut out).expect("a type with a quantizer");
            out
        }
    }
}

/// A llama of `n_layer` layers as a GGUF file: 4 heads of 64, 2 KV heads, 96 tokens. `types` are used in turn for the matrices.
pub fn llama(n_layer: usize, types: &[DType]) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    let mut set = |key: &str, value: Metadata| writer.metadata.set(key, value);
    set("general.architecture", Metadata::from("llama"));
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
        set(&format!("llama.{key}"), Metadata::U32(value as u32));
    }
    set("llama.attention.layer_norm_rms_epsilon", Metadata::F32(1e-5));
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
    let dtype = |i: usize, dims: &[u64]| if dims.len() == 1 { DType::F32 } else { types[i % types.len()] };
    for (i, (name, dims)) in tensors.iter().enumerate() {
        writer.add_tensor(name, dtype(i, dims), dims).expect("a valid tensor");
    }
    let mut bytes = Vec::new();
    let written = writer.write_to(&mut bytes, |i, sink| {
        let dims = &tensors[i].1;
        let mut random = Lcg(i as u64 + 1);
        let n: u64 = dims.iter().product();
        let (scale, shift) = if dims.len() == 1 { (0.1, 1.0) } else { (1.7 / (dims[0] as f32).sqrt(), 0.0) };
        let values: Vec<f32> = (0..n).map(|_| random.uniform() * scale + shift).collect();
        values.chunks(dims[0] as usize).try_for_each(|row| sink.write_all(&row_bytes(dtype(i, dims), row)))
    });
    written.expect("writing to memory");
    bytes
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
    let mut random = Lcg(77);
    (0..n).map(|_| ((random.uniform() + 1.0) * 0.5 * N_VOCAB as f32) as u32 % N_VOCAB as u32).collect()
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

pub fn nmse(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = || found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let error: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    let power: f64 = pairs().map(|(_, b)| b * b).sum();
    error / power
}

pub fn argmax(values: &[f32]) -> usize {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.expect("a vocabulary").0
}
