//! sampler: the default chain over one row of logits.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu_sampler::{Chain, SamplerParams};

fn chain(c: &mut Criterion) {
    let mut group = c.benchmark_group("sampler");
    for n_vocab in [32_000, 128_256] {
        let logits: Vec<f32> = quipu_benches::normal(2, n_vocab).into_iter().map(|x| 3.0 * x).collect();
        group.throughput(Throughput::Elements(n_vocab as u64));
        for (name, temp) in [("default", 0.8), ("greedy", 0.0)] {
            let params = SamplerParams { seed: 1, temp, ..SamplerParams::default() };
            let mut chain = Chain::from_params(&params, n_vocab).expect("valid parameters");
            group.bench_function(format!("{name} chain, {n_vocab} tokens"), |b| {
                b.iter(|| chain.sample(&logits).expect("a token"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, chain);
criterion_main!(benches);
