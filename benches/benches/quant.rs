//! quant: reference quantize, dequantize and dot, scalar, per type.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu_quant::{DType, dequantize_row, quantize_row};

const N: usize = 4096;

fn rows(c: &mut Criterion) {
    let values = quipu_benches::normal(1, N);
    let mut group = c.benchmark_group("quant");
    group.throughput(Throughput::Elements(N as u64));
    for dtype in [DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::MXFP4] {
        let mut bytes = vec![0; dtype.row_bytes(N).expect("whole blocks")];
        group.bench_function(format!("quantize {dtype}"), |b| {
            b.iter(|| quantize_row(dtype, &values, &mut bytes).expect("whole blocks"));
        });
        let mut out = vec![0.0; N];
        group.bench_function(format!("dequantize {dtype}"), |b| {
            b.iter(|| dequantize_row(dtype, &bytes, &mut out).expect("whole blocks"));
        });
    }
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
