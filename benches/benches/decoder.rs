//! decoder, model and kv-cache: a prompt and single tokens through the demo model.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu::{Model, SessionOptions};
use quipu_decoder::Batch;

fn decode(c: &mut Criterion) {
    let model = Model::embedded().expect("the demo model");
    let mut session = model.session(&SessionOptions::default()).expect("a context");
    let context = session.context();
    let prompt: Vec<u32> = (0..256).map(|i| 7 + i % 900).collect();
    let batch = Batch::single(&prompt);
    let mut group = c.benchmark_group("decoder");
    group.throughput(Throughput::Elements(prompt.len() as u64));
    group.bench_function("prompt of 256", |b| {
        b.iter(|| {
            context.memory_mut().clear();
            context.decode(&batch).expect("decodes");
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut single = Batch::new();
    group.bench_function("one token after 256", |b| {
        b.iter(|| {
            context.memory_mut().seq_rm(0, 256, -1).expect("an attention cache");
            single.clear();
            single.add(42, 256, &[0], true);
            context.decode(&single).expect("decodes");
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
