//! Flash attention in the host emulation against the CPU backend: head sizes, groups, masks, splits, sinks.

mod common;

use common::{Arg, Case, FLOAT, Scratch, assert_near, bytes, floats, skipped};
use quipu_cuda_backend::kernels::{Grid, attention_grid, attention_partial_bytes};
use quipu_graph::{DType, TensorId};

#[derive(Clone, Copy, Debug)]
struct Config {
    dk: usize,
    dv: usize,
    n_head: usize,
    n_head_kv: usize,
    n_tokens: usize,
    n_kv: usize,
    n_batch: usize,
    mask: bool,
    max_bias: f32,
    cap: f32,
    /// What cells that nobody sees hold.
    hidden: f32,
}

const BASE: Config = Config {
    dk: 64,
    dv: 64,
    n_head: 8,
    n_head_kv: 2,
    n_tokens: 1,
    n_kv: 70,
    n_batch: 1,
    mask: true,
    max_bias: 0.0,
    cap: 0.0,
    hidden: f32::NAN,
};

struct Attention {
    case: Case,
    args: [Arg; 5],
    out: TensorId,
    expected: Vec<u8>,
    scale: f32,
}

/// A cell near the start that no token sees.
const HOLE: usize = 3;

fn attention(c: Config) -> Attention {
    let mut case = Case::new(20);
    let q = case.noise(DType::F32, [c.dk, c.n_head, c.n_tokens, c.n_batch], 2.0);
    let q = case.graph.permute(q, [0, 2, 1, 3]).unwrap();
    let mut cache = |d: usize| {
        let mut values = case.noise.floats(d * c.n_head_kv * c.n_kv * c.n_batch, 1.0);
        if c.mask {
            for cell in values.chunks_mut(d * c.n_head_kv).skip(HOLE).step_by(c.n_kv) {
                cell.fill(c.hidden);
            }
        }
        // As caches are: heads side by side in a cell, seen as [d, n_kv, n_head_kv].
        let leaf = case.leaf(
            DType::F16,
            [d, c.n_head_kv, c.n_kv, c.n_batch],
            common::encode(DType::F16, &values, d),
        );
        case.graph.permute(leaf, [0, 2, 1, 3]).unwrap()
    };
    let (k, v) = (cache(c.dk), cache(c.dv));
    let first = c.n_kv - c.n_tokens.min(c.n_kv);
    let mask = c.mask.then(|| {
        let rows = c.n_tokens + 3;
        let values: Vec<f32> = (0..c.n_kv * rows)
            .map(|i| {
                let (cell, token) = (i % c.n_kv, i / c.n_kv);
                if cell > first + token || cell == HOLE {
                    f32::NEG_INFINITY
                } else if c.max_bias > 0.0 {
                    -((first + token - cell) as f32)
                } else {
                    0.0
                }
            })
            .collect();
        case.leaf(DType::F16, [c.n_kv, rows, 1, 1], common::encode(DType::F16, &values, c.n_kv))
    });
    let scale = 1.0 / (c.dk as f32).sqrt();
    let out = case.graph.flash_attn(q, k, v, mask, scale, c.max_bias, c.cap).unwrap();
    let expected = case.expected(out);
    let args = [Arg::T(out), Arg::T(q), Arg::T(k), Arg::T(v), mask.map_or(Arg::None, Arg::T)];
    Attention { case, args, out, expected, scale }
}

fn prefill(c: Config, a: &Attention, size: usize, sinks: &[f32]) -> Vec<u8> {
    let grid = attention_grid(Grid::AttentionPrefill, c.n_tokens, c.n_head, c.n_head_kv, 1, c.n_batch);
    let mut args = a.args.to_vec();
    let sinks = if sinks.is_empty() { 0 } else { sinks.as_ptr() as u64 };
    args.extend([Arg::P(sinks), Arg::F32(a.scale), Arg::F32(c.max_bias), Arg::F32(c.cap)]);
    let mut memory = a.case.memory();
    memory.launch(&a.case, &format!("flash_attn_prefill_{size}"), grid, &args, Some(a.out));
    memory.read(&a.case, a.out)
}

fn decode(c: Config, a: &Attention, size: usize, n_splits: usize, sinks: &[f32]) -> Vec<u8> {
    let grid = attention_grid(Grid::AttentionDecode, c.n_tokens, c.n_head, c.n_head_kv, n_splits, c.n_batch);
    let partial = Scratch::new(attention_partial_bytes(c.dv, c.n_tokens, c.n_head, c.n_batch, n_splits));
    let sinks = Arg::P(if sinks.is_empty() { 0 } else { sinks.as_ptr() as u64 });
    let part = Arg::P(partial.address());
    let mut args = a.args.to_vec();
    args.extend([sinks, part, Arg::F32(a.scale), Arg::F32(c.max_bias), Arg::F32(c.cap)]);
    args.push(Arg::I32(n_splits as i32));
    let mut memory = a.case.memory();
    let name = format!("flash_attn_decode_{size}");
    // With splits, the result is left to the combination.
    memory.launch(&a.case, &name, grid, &args, (n_splits == 1).then_some(a.out));
    if n_splits > 1 {
        let args = [Arg::T(a.out), part, sinks, Arg::I32(n_splits as i32)];
        let rows = (c.n_tokens * c.n_head * c.n_batch) as u32;
        memory.launch(&a.case, "flash_attn_combine", [rows, 1, 1], &args, Some(a.out));
    }
    partial.read();
    memory.read(&a.case, a.out)
}

fn check(c: Config, splits: &[usize]) {
    let a = attention(c);
    let size = [64, 128, 256].into_iter().find(|s| *s >= c.dk.max(c.dv)).unwrap();
    assert_near(&format!("prefill {c:?}"), &prefill(c, &a, size, &[]), &a.expected, FLOAT);
    for n_splits in splits {
        let got = decode(c, &a, size, *n_splits, &[]);
        assert_near(&format!("decode in {n_splits} {c:?}"), &got, &a.expected, FLOAT);
    }
}

#[test]
fn head_sizes() {
    if skipped() {
        return;
    }
    for d in [64, 16, 32, 80, 96, 128, 256, 40, 7] {
        check(Config { dk: d, dv: d, ..BASE }, &[1, 3]);
    }
    check(Config { dk: 72, dv: 33, n_tokens: 3, ..BASE }, &[1]);
    check(Config { dk: 16, dv: 130, n_tokens: 2, ..BASE }, &[2]);
}

#[test]
fn groups_tokens_and_batches() {
    if skipped() {
        return;
    }
    for (n_head, n_head_kv, n_tokens) in [(1, 1, 1), (4, 4, 2), (6, 2, 5), (20, 1, 1), (32, 1, 3), (2, 2, 67)]
    {
        check(Config { n_head, n_head_kv, n_tokens, n_kv: 90, ..BASE }, &[1, 2]);
    }
    check(Config { n_batch: 2, n_tokens: 3, n_head: 4, ..BASE }, &[1, 2]);
}

#[test]
fn cache_lengths_and_splits() {
    if skipped() {
        return;
    }
    for n_kv in [5, 15, 16, 17, 33, 257] {
        check(Config { n_kv, n_head: 4, ..BASE }, &[1, 2, 5]);
    }
    // More splits than there are cells to share.
    check(Config { n_kv: 20, n_head: 4, ..BASE }, &[7]);
}

#[test]
fn biases_caps_and_no_mask() {
    if skipped() {
        return;
    }
    check(Config { max_bias: 8.0, n_head: 6, n_tokens: 4, ..BASE }, &[1, 2]);
    check(Config { cap: 5.0, n_tokens: 2, ..BASE }, &[1, 2]);
    check(Config { mask: false, n_tokens: 2, ..BASE }, &[1, 3]);
    check(Config { hidden: f32::INFINITY, ..BASE }, &[1]);
}

#[test]
fn a_query_that_sees_nothing_gives_zeros() {
    if skipped() {
        return;
    }
    let c = Config { n_kv: 4, n_tokens: 1, n_head: 2, n_head_kv: 1, ..BASE };
    let mut case = Case::new(1);
    let q = case.noise(DType::F32, [64, 1, 2, 1], 1.0);
    let k = case.noise(DType::F16, [64, 4, 1, 1], 1.0);
    let mask = case.leaf(DType::F16, [4, 1, 1, 1], bytes(&[half::f16::NEG_INFINITY; 4]));
    let out = case.graph.flash_attn(q, k, k, Some(mask), 0.1, 0.0, 0.0).unwrap();
    let expected = case.expected(out);
    let args = [Arg::T(out), Arg::T(q), Arg::T(k), Arg::T(k), Arg::T(mask)];
    let a = Attention { case, args, out, expected, scale: 0.1 };
    assert!(floats(&a.expected).iter().all(|v| *v == 0.0));
    assert_eq!(prefill(c, &a, 64, &[]), a.expected);
    assert_eq!(decode(c, &a, 64, 1, &[]), a.expected);
    assert_eq!(decode(c, &a, 64, 2, &[]), a.expected);
}

#[test]
fn sinks_take_their_share() {
    if skipped() {
        return;
    }
    let c = Config { n_tokens: 2, n_head: 4, hidden: 0.0, ..BASE };
    let a = attention(c);
    let sinks = [0.3f32, -20.0, 12.0, 2.0];
    // Naive, in f64, from the operands as they are.
    let leaf = |i: usize| a.case.graph.find(&format!("leaf{i}")).unwrap();
    let q = floats(a.case.bytes_of(leaf(0)));
    let halves = |i: usize| -> Vec<f64> {
        let read = |b: &[u8; 2]| half::f16::from_le_bytes(*b).to_f64();
        a.case.bytes_of(leaf(i)).as_chunks::<2>().0.iter().map(read).collect()
    };
    let (k, v, mask) = (halves(1), halves(2), halves(3));
    let mut expected = vec![0f32; c.dv * c.n_head * c.n_tokens];
    for token in 0..c.n_tokens {
        for (head, sink) in sinks.iter().enumerate() {
            let head_kv = head / (c.n_head / c.n_head_kv);
            let row = token * c.n_head + head;
            let scores: Vec<f64> = (0..c.n_kv)
                .map(|cell| {
                    let k = &k[(cell * c.n_head_kv + head_kv) * c.dk..][..c.dk];
                    let dot: f64 = q[row * c.dk..][..c.dk]
                        .iter()
                        .zip(k)
                        .map(|(q, k)| half::f16::from_f32(*q).to_f64() * k)
                        .sum();
                    dot * f64::from(a.scale) + mask[token * c.n_kv + cell]
                })
                .collect();
            let sum: f64 = scores.iter().map(|s| s.exp()).sum::<f64>() + f64::from(*sink).exp();
            for d in 0..c.dv {
                let total: f64 = scores
                    .iter()
                    .enumerate()
                    .map(|(cell, s)| s.exp() * v[(cell * c.n_head_kv + head_kv) * c.dv + d])
                    .sum();
                expected[row * c.dv + d] = (total / sum) as f32;
            }
        }
    }
    let expected = bytes(&expected);
    assert_near("prefill", &prefill(c, &a, 64, &sinks), &expected, FLOAT);
    assert_near("decode", &decode(c, &a, 64, 1, &sinks), &expected, FLOAT);
    assert_near("splits", &decode(c, &a, 64, 3, &sinks), &expected, FLOAT);
}
