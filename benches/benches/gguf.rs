//! gguf: parsing a file with a vocabulary of 150,000 tokens, as many merges, and 300 tensors.
//! The same against the reference: `cargo xtask parity --module gguf --llama-cpp DIR`, row "time to open".

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu_gguf::{Array, Gguf, GgufWriter, StringArray, Value};
use quipu_quant::DType;

fn file() -> Vec<u8> {
    let mut tokens = StringArray::with_capacity(150_000);
    for i in 0..150_000 {
        tokens.push(format!("token{i}").as_bytes());
    }
    let merges: StringArray = (0..150_000).map(|i| format!("tok{} en{i}", i % 977)).collect();
    let mut writer = GgufWriter::new();
    writer.metadata.set("general.architecture", Value::from("llama"));
    writer.metadata.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    writer.metadata.set("tokenizer.ggml.merges", Value::Array(Array::String(merges)));
    writer.metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.5; 150_000])));
    for i in 0..300 {
        writer.add_tensor(&format!("blk.{i}.weight"), DType::F32, &[64]).expect("a new name");
    }
    let mut out = Vec::new();
    writer.write_to(&mut out, |_, sink| sink.write_all(&[0; 256])).expect("memory is writable");
    out
}

fn parse(c: &mut Criterion) {
    let bytes = file();
    let mut group = c.benchmark_group("gguf");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse 300k strings", |b| b.iter(|| Gguf::parse(&bytes).expect("a valid file")));
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
