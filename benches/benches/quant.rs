//! quant: reference quantize (plain and with importances), dequantize, dot and validation, per type.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu_quant::{DType, dequantize_row, quantize_row_cpu, quantize_rows, validate_rows, vec_dot};

const N: usize = 4096;

fn rows(c: &mut Criterion) {
    let values = quipu_benches::normal(1, N);
    let mut group = c.benchmark_group("quant");
    group.throughput(Throughput::Elements(N as u64));
    let importances: Vec<f32> = values.iter().map(|v| v * v).collect();
    // What rows of f32 can be quantized to without more than the row.
    for dtype in DType::ALL.into_iter().filter(|t| t.is_storable()) {
        let mut bytes = vec![0; dtype.row_bytes(N).expect("whole blocks")];
        let mut quantize = |name: &str, imatrix: Option<&[f32]>| {
            group.bench_function(format!("{name} {dtype}"), |b| {
                b.iter(|| quantize_rows(dtype, &values, N, imatrix, &mut bytes).expect("whole blocks"));
            });
        };
        quantize("quantize", None);
        quantize("quantize with importances", Some(&importances));
        let mut out = vec![0.0; N];
        group.bench_function(format!("dequantize {dtype}"), |b| {
            b.iter(|| dequantize_row(dtype, &bytes, &mut out).expect("whole blocks"));
        });
        group.bench_function(format!("validate {dtype}"), |b| {
            b.iter(|| validate_rows(dtype, &bytes).expect("finite blocks"));
        });
        let partner = dtype.vec_dot_type().expect("computed types have one");
        let mut activations = vec![0; partner.row_bytes(N).expect("whole blocks")];
        quantize_row_cpu(partner, &values, &mut activations).expect("whole blocks");
        group.bench_function(format!("dot {dtype}"), |b| {
            b.iter(|| vec_dot(dtype, N, &bytes, &activations).expect("whole blocks"));
        });
    }
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
