//! FLASH_ATTN_EXT against a naive f64 form: head sizes, groups, masks, caps, slopes, long caches.

#[allow(dead_code)] // each test file uses a part of it
mod common;

use common::{Case, bytes};
use quipu_graph::{DType, TensorId};

#[derive(Clone, Copy)]
struct Config {
    dk: usize,
    dv: usize,
    n_head: usize,
    n_head_kv: usize,
    n_tokens: usize,
    n_kv: usize,
    dtype: DType,
    mask: bool,
    max_bias: f32,
    cap: f32,
}

const BASE: Config = Config {
    dk: 64,
    dv: 64,
    n_head: 8,
    n_head_kv: 2,
    n_tokens: 1,
    n_kv: 40,
    dtype: DType::F16,
    mask: true,
    max_bias: 0.0,
    cap: 0.0,
};

fn cache(case: &mut Case, c: Config, d: usize) -> (TensorId, Vec<f32>) {
    let ne = [d, c.n_head_kv, c.n_kv, 1];
    let (id, values) = if c.dtype == DType::F16 { case.noise_f16(ne, 1.0) } else { case.noise(ne, 1.0) };
    // As caches are: heads side by side in a cell, seen as [d, n_kv, n_head_kv].
    (case.graph.permute(id, [0, 2, 1, 3]).unwrap(), values)
}

fn check(c: Config) {
    let mut case = Case::new(20);
    let (q, vq) = case.noise([c.dk, c.n_head, c.n_tokens, 1], 1.0);
    let q = case.graph.permute(q, [0, 2, 1, 3]).unwrap();
    let (k, vk) = cache(&mut case, c, c.dk);
    let (v, vv) = cache(&mut case, c, c.dv);
    let (mask_ne, first) = ([c.n_kv, c.n_tokens.next_multiple_of(8), 1, 1], c.n_kv - c.n_tokens);
    let mask: Vec<f32> = (0..mask_ne[0] * mask_ne[1])
        .map(|i| {
            let (cell, token) = (i % c.n_kv, i / c.n_kv);
            if cell > first + token || (cell % 7 == 3) {
                f32::NEG_INFINITY
            } else if c.max_bias > 0.0 {
                -((first + token - cell) as f32)
            } else {
                0.0
            }
        })
        .collect();
    let mask_id = c.mask.then(|| {
        let halves: Vec<half::f16> = mask.iter().map(|m| half::f16::from_f32(*m)).collect();
        case.leaf(DType::F16, mask_ne, bytes(&halves))
    });
    let scale = 1.0 / (c.dk as f32).sqrt();
    let out = case.graph.flash_attn(q, k, v, mask_id, scale, c.max_bias, c.cap).unwrap();
    let mut expected = Vec::new();
    for token in 0..c.n_tokens {
        for head in 0..c.n_head {
            let head_kv = head / (c.n_head / c.n_head_kv);
            let round =
                |x: f32| if c.dtype == DType::F16 { half::f16::from_f32(x).to_f64() } else { x.into() };
            let q: Vec<f64> =
                vq[(token * c.n_head + head) * c.dk..][..c.dk].iter().map(|x| round(*x)).collect();
            let scores: Vec<f64> = (0..c.n_kv)
                .map(|cell| {
                    let k = &vk[(cell * c.n_head_kv + head_kv) * c.dk..][..c.dk];
                    let dot: f64 = k.iter().zip(&q).map(|(k, q)| f64::from(*k) * q).sum();
                    let mut score = dot * f64::from(scale);
                    if c.cap != 0.0 {
                        score = f64::from(c.cap) * (score / f64::from(c.cap)).tanh();
                    }
                    let slope = if c.max_bias > 0.0 {
                        2f64.powf(-f64::from(c.max_bias) / c.n_head as f64).powi(head as i32 + 1)
                    } else {
                        1.0
                    };
                    let bias = half::f16::from_f32(mask[token * c.n_kv + cell]).to_f64();
                    if c.mask { score + slope * bias } else { score }
                })
                .collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for d in 0..c.dv {
                let v = |cell: usize| f64::from(vv[(cell * c.n_head_kv + head_kv) * c.dv + d]);
                expected
                    .push(scores.iter().enumerate().map(|(i, s)| (s - top).exp() * v(i)).sum::<f64>() / sum);
            }
        }
    }
    case.check(out, &expected, 1e-11);
}

#[test]
fn head_sizes_that_fill_no_whole_vector_work() {
    for (dk, dv) in [(64, 64), (80, 80), (96, 96), (128, 128), (40, 24), (72, 256), (2, 1), (17, 33)] {
        for dtype in [DType::F16, DType::F32] {
            check(Config { dk, dv, dtype, ..BASE });
        }
    }
}

#[test]
fn prompts_and_groups_of_any_size_work() {
    for n_tokens in [1, 2, 7, 33, 70] {
        for (n_head, n_head_kv) in [(8, 8), (8, 2), (6, 2), (5, 1), (40, 1)] {
            check(Config { n_tokens, n_head, n_head_kv, n_kv: 101, dk: 16, dv: 16, ..BASE });
        }
    }
}

#[test]
fn long_caches_are_cut_into_chunks() {
    for n_kv in [511, 512, 513, 1700] {
        check(Config { n_kv, dk: 32, dv: 32, ..BASE });
        check(Config { n_kv, dk: 32, dv: 32, mask: false, n_tokens: 3, ..BASE });
    }
}

#[test]
fn caps_slopes_and_missing_masks_work() {
    check(Config { cap: 5.0, ..BASE });
    check(Config { max_bias: 8.0, n_kv: 600, ..BASE });
    check(Config { mask: false, n_tokens: 9, ..BASE });
}

#[test]
fn masked_cells_may_hold_anything_and_a_blind_query_gets_zeros() {
    let mut case = Case::new(21);
    let (d, n_kv) = (32, 40);
    let (q, _) = case.noise([d, 2, 2, 1], 1.0);
    let nan = vec![half::f16::NAN; d * n_kv * 2];
    let k = case.leaf(DType::F16, [d, n_kv, 2, 1], bytes(&nan));
    let mut values = nan;
    values[5 * d..6 * d].fill(half::f16::ONE);
    values[(n_kv + 5) * d..(n_kv + 6) * d].fill(half::f16::ONE);
    let v = case.leaf(DType::F16, [d, n_kv, 2, 1], bytes(&values));
    // Keys of the one visible cell must be numbers too.
    let keys = &mut case.data[1].1;
    for head in 0..2 {
        let at = (head * n_kv + 5) * d * 2;
        keys[at..at + d * 2].fill(0);
    }
    let mut mask = vec![half::f16::NEG_INFINITY; n_kv * 2];
    mask[5] = half::f16::ZERO;
    let mask = case.leaf(DType::F16, [n_kv, 2, 1, 1], bytes(&mask));
    let out = case.graph.flash_attn(q, k, v, Some(mask), 1.0, 0.0, 0.0).unwrap();
    // Token 0 sees cell 5 alone, token 1 sees nothing.
    let expected: Vec<f64> = (0..d * 4).map(|i| if i < d * 2 { 1.0 } else { 0.0 }).collect();
    case.check(out, &expected, 0.0);
}

/// What attends to a cell whose key holds a NaN is not a number, wherever the cell lies and whatever surrounds it: a weight that
/// went bad must not end as fluent text.
#[test]
fn a_nan_that_a_query_sees_is_seen_in_its_result() {
    for (n_kv, spoiled) in [(40, 5), (40, 39), (96, 40), (1700, 3), (1700, 900), (1700, 1699)] {
        for (masked, alone) in [(false, false), (true, false), (true, true)] {
            for n_tokens in [1, 3] {
                let mut case = Case::new(22);
                let d = 32;
                let (q, _) = case.noise([d, n_tokens, 2, 1], 1.0);
                let (k, mut keys) = case.noise_f16([d, n_kv, 2, 1], 1.0);
                for head in 0..2 {
                    keys[(head * n_kv + spoiled) * d + 7] = f32::NAN;
                }
                let keys: Vec<half::f16> = keys.iter().map(|x| half::f16::from_f32(*x)).collect();
                case.data.last_mut().unwrap().1 = bytes(&keys);
                let (v, _) = case.noise_f16([d, n_kv, 2, 1], 1.0);
                // Around the spoiled cell everything is visible, or nothing.
                let mask = masked.then(|| {
                    let bias = |i: usize| {
                        let seen = !alone || i % n_kv == spoiled;
                        if seen { half::f16::ZERO } else { half::f16::NEG_INFINITY }
                    };
                    let mask: Vec<half::f16> = (0..n_kv * n_tokens).map(bias).collect();
                    case.leaf(DType::F16, [n_kv, n_tokens, 1, 1], bytes(&mask))
                });
                let out = case.graph.flash_attn(q, k, v, mask, 1.0, 0.0, 0.0).unwrap();
                for got in case.run_both(out) {
                    let nan = common::floats(&got).iter().all(|x| x.is_nan());
                    assert!(
                        nan,
                        "cell {spoiled} of {n_kv}, masked {masked}, alone {alone}, {n_tokens} tokens"
                    );
                }
            }
        }
    }
}

/// All keys not numbers: no score has a maximum.
#[test]
fn keys_that_are_all_nan_give_nan() {
    let mut case = Case::new(23);
    let (d, n_kv) = (16, 70);
    let (q, _) = case.noise([d, 2, 2, 1], 1.0);
    let k = case.leaf(DType::F32, [d, n_kv, 2, 1], bytes(&vec![f32::NAN; d * n_kv * 2]));
    let (v, _) = case.noise([d, n_kv, 2, 1], 1.0);
    let out = case.graph.flash_attn(q, k, v, None, 1.0, 0.0, 0.0).unwrap();
    for got in case.run_both(out) {
        assert!(common::floats(&got).iter().all(|x| x.is_nan()));
    }
}
