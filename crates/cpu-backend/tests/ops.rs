//! Every op but attention against a naive f64 form, on odd shapes and strides, in place and not.

#[allow(dead_code)] // each test file uses a part of it
mod common;

use common::{Case, bytes, floats};
use quipu_graph::{DType, GluOp, RopeMode, RopeParams, Storage, UnaryOp};
use quipu_testing::nmse;

#[test]
fn add_and_mul_repeat_their_second_operand() {
    for (a_ne, b_ne) in [
        ([37, 5, 3, 2], [37, 5, 3, 2]),
        ([37, 5, 3, 2], [37, 1, 1, 1]),
        ([48, 5, 2, 1], [16, 5, 1, 1]),
        ([33, 4, 2, 1], [1, 4, 1, 1]),
        ([4100, 3, 1, 1], [4100, 1, 1, 1]),
    ] {
        for mul in [false, true] {
            let mut case = Case::new(1);
            let (a, va) = case.noise(a_ne, 2.0);
            let (b, vb) = case.noise(b_ne, 2.0);
            let out = if mul { case.graph.mul(a, b) } else { case.graph.add(a, b) }.unwrap();
            let mut expected = Vec::new();
            for (i, x) in va.iter().enumerate() {
                let mut rest = i;
                let (mut at, mut stride) = (0, 1);
                for d in 0..4 {
                    at += rest % a_ne[d] % b_ne[d] * stride;
                    stride *= b_ne[d];
                    rest /= a_ne[d];
                }
                let (x, y) = (f64::from(*x), f64::from(vb[at]));
                expected.push(if mul { x * y } else { x + y });
            }
            case.check(out, &expected, 1e-13);
        }
    }
}

#[test]
fn results_may_lie_over_their_operand() {
    let mut case = Case::new(2);
    let (a, va) = case.noise([133, 7, 1, 1], 2.0);
    let (b, vb) = case.noise([133, 7, 1, 1], 2.0);
    let sum = case.graph.add(a, b).unwrap();
    let scaled = case.graph.scale(sum, 0.5, 1.0).unwrap();
    let out = case.graph.unary(UnaryOp::Silu, scaled).unwrap();
    // Everything in `b`'s memory, which the harness binds first.
    case.graph[a].storage = Storage::Planned { buffer: quipu_graph::BufferId(0), offset: 8192 };
    for id in [b, sum, scaled, out] {
        case.graph[id].storage = Storage::Planned { buffer: quipu_graph::BufferId(0), offset: 0 };
    }
    // A leaf to make the buffer large enough.
    let (padding, _) = case.noise([4096, 1, 1, 1], 1.0);
    case.graph[padding].storage = Storage::Unbound;
    let expected: Vec<f64> = va
        .iter()
        .zip(&vb)
        .map(|(a, b)| {
            let x = (f64::from(*a) + f64::from(*b)) * 0.5 + 1.0;
            x / (1.0 + (-x).exp())
        })
        .collect();
    case.data.retain(|(id, _)| *id != padding);
    case.check(out, &expected, 1e-12);
}

#[test]
fn norms_have_the_right_moments() {
    for n in [1, 7, 16, 100, 2049] {
        let mut case = Case::new(3);
        let (a, va) = case.noise([n, 5, 2, 1], 3.0);
        let rms = case.graph.rms_norm(a, 1e-5).unwrap();
        let expected: Vec<f64> = va
            .chunks(n)
            .flat_map(|row| {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
                row.iter().map(move |x| f64::from(*x) / (mean + 1e-5).sqrt())
            })
            .collect();
        case.check(rms, &expected, 1e-12);

        let mut case = Case::new(3);
        let (a, va) = case.noise([n, 5, 2, 1], 3.0);
        let norm = case.graph.norm(a, 1e-5).unwrap();
        let expected: Vec<f64> = va
            .chunks(n)
            .flat_map(|row| {
                let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
                let var = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n as f64;
                row.iter().map(move |x| (f64::from(*x) - mean) / (var + 1e-5).sqrt())
            })
            .collect();
        case.check(norm, &expected, 1e-12);
    }
}

#[test]
fn a_norm_that_only_its_weight_reads_is_fused_and_gives_the_same_bits() {
    let run = |keep_norm: bool| {
        let mut case = Case::new(4);
        let (a, _) = case.noise([515, 9, 1, 1], 3.0);
        let (w, _) = case.noise([515, 1, 1, 1], 1.0);
        let norm = case.graph.rms_norm(a, 1e-6).unwrap();
        if keep_norm {
            case.graph.set_output(norm);
        }
        let out = case.graph.mul(norm, w).unwrap();
        case.run_both(out)
    };
    assert!(run(false) == run(true));
}

#[test]
fn rope_rotates_pairs_by_the_reference_angles() {
    let base = RopeParams {
        n_dims: 0,
        mode: RopeMode::Norm,
        n_ctx_orig: 4096,
        freq_base: 10000.0,
        freq_scale: 1.0,
        ext_factor: 0.0,
        attn_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };
    let yarn = RopeParams { freq_scale: 0.25, ext_factor: 1.0, attn_factor: 1.1, ..base };
    for (ne0, n_dims) in [(64, 64), (80, 32), (6, 4), (96, 96)] {
        for mode in [RopeMode::Norm, RopeMode::Neox] {
            for (params, with_factors) in [(base, false), (base, true), (yarn, false)] {
                let params = RopeParams { n_dims, mode, ..params };
                let mut case = Case::new(5);
                let (n_head, n_tokens) = (3, 5);
                // Heads of a fused projection: rows further apart than they are long.
                let (wide, va) = case.noise([ne0 * 2, n_head, n_tokens, 1], 1.0);
                let nb = case.graph[wide].nb;
                let ne = [ne0, n_head, n_tokens, 1];
                let a = case.graph.view(wide, ne, [nb[1], nb[2], nb[3]], ne0 * 4).unwrap();
                let pos = [0i32, 1, 17, 100, 300];
                let pos_id = case.leaf(DType::I32, [n_tokens, 1, 1, 1], bytes(&pos));
                let factors: Vec<f32> = (0..n_dims / 2).map(|i| 1.0 + i as f32 * 0.125).collect();
                let factors_id =
                    with_factors.then(|| case.leaf(DType::F32, [n_dims / 2, 1, 1, 1], bytes(&factors)));
                let out = case.graph.rope(a, pos_id, factors_id, params).unwrap();
                let mut expected = Vec::new();
                for row in 0..n_head * n_tokens {
                    let x = &va[row * ne0 * 2 + ne0..][..ne0];
                    let mut y: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                    for (i, factor) in factors.iter().enumerate() {
                        let factor = if with_factors { f64::from(*factor) } else { 1.0 };
                        let theta = f64::from(pos[row / n_head])
                            * f64::from(params.freq_base).powf(-2.0 * i as f64 / n_dims as f64);
                        let (angle, magnitude) = angle(theta / factor, i, &params);
                        let (p, q) = match mode {
                            RopeMode::Norm => (2 * i, 2 * i + 1),
                            _ => (i, i + n_dims / 2),
                        };
                        let (c, s) = (angle.cos() * magnitude, angle.sin() * magnitude);
                        y[p] = f64::from(x[p]) * c - f64::from(x[q]) * s;
                        y[q] = f64::from(x[p]) * s + f64::from(x[q]) * c;
                    }
                    expected.extend(y);
                }
                case.check(out, &expected, 1e-9);
            }
        }
    }
}

/// YaRN in f64.
fn angle(theta: f64, pair: usize, p: &RopeParams) -> (f64, f64) {
    let (scale, mix) = (f64::from(p.freq_scale), f64::from(p.ext_factor));
    if mix == 0.0 {
        return (theta * scale, f64::from(p.attn_factor));
    }
    let dim = |n_rot: f64| {
        let turns = p.n_ctx_orig as f64 / (n_rot * 2.0 * std::f64::consts::PI);
        p.n_dims as f64 * turns.ln() / (2.0 * f64::from(p.freq_base).ln())
    };
    let low = dim(f64::from(p.beta_fast)).floor().max(0.0);
    let high = dim(f64::from(p.beta_slow)).ceil().min(p.n_dims as f64 - 1.0);
    let ramp = 1.0 - ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
    let mix = ramp * mix;
    let magnitude = f64::from(p.attn_factor) * (1.0 + 0.1 * (1.0 / scale).ln());
    (theta * scale * (1.0 - mix) + theta * mix, magnitude)
}

#[test]
fn soft_max_masks_scales_and_sums_to_one() {
    for half_mask in [false, true] {
        for max_bias in [0.0, 8.0] {
            let (n, rows, heads) = (77, 6, 5);
            let mut case = Case::new(6);
            let (a, va) = case.noise([n, rows, heads, 2], 10.0);
            let mask_ne = [n, rows + 2, 1, 1];
            let mut mask: Vec<f32> = case.noise.as_mut().unwrap().floats(n * (rows + 2), 1.0);
            for (i, m) in mask.iter_mut().enumerate() {
                if i % 5 == 1 {
                    *m = f32::NEG_INFINITY;
                } else {
                    *m = half::f16::from_f32(*m).to_f32();
                }
            }
            let mask_id = if half_mask {
                let halves: Vec<half::f16> = mask.iter().map(|m| half::f16::from_f32(*m)).collect();
                case.leaf(DType::F16, mask_ne, bytes(&halves))
            } else {
                case.leaf(DType::F32, mask_ne, bytes(&mask))
            };
            let out = case.graph.soft_max(a, Some(mask_id), 0.3, max_bias).unwrap();
            let mut expected = Vec::new();
            for (r, row) in va.chunks(n).enumerate() {
                let slope = slope(r / rows % heads, heads, f64::from(max_bias));
                let scores: Vec<f64> = row
                    .iter()
                    .enumerate()
                    .map(|(i, x)| {
                        f64::from(*x) * f64::from(0.3f32) + slope * f64::from(mask[r % rows * n + i])
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                expected.extend(scores.iter().map(|s| (s - top).exp() / sum));
            }
            case.check(out, &expected, 1e-11);
        }
    }
}

fn slope(head: usize, n_head: usize, max_bias: f64) -> f64 {
    if max_bias == 0.0 {
        return 1.0;
    }
    let (head, n) = (head as i32, 1i32 << n_head.ilog2());
    if head < n {
        2f64.powf(-max_bias / f64::from(n)).powi(head + 1)
    } else {
        2f64.powf(-max_bias / 2.0 / f64::from(n)).powi(2 * (head - n) + 1)
    }
}

#[test]
fn rows_are_read_from_every_computed_type() {
    for dtype in DType::ALL.into_iter().filter(|t| t.is_storable()) {
        let (k, n) = (512, 7);
        let mut case = Case::new(7);
        let values = case.noise.as_mut().unwrap().floats(k * n, 1.0);
        let row_bytes = dtype.row_bytes(k).unwrap();
        let mut table = vec![0; row_bytes * n];
        for (row, out) in values.chunks(k).zip(table.chunks_mut(row_bytes)) {
            quipu_quant::quantize_row(dtype, row, out).unwrap();
        }
        let a = case.leaf(dtype, [k, n, 1, 1], table.clone());
        let ids = [3i32, 0, 6, 6, 1];
        let ids_id = case.leaf(DType::I32, [5, 1, 1, 1], bytes(&ids));
        let out = case.graph.get_rows(a, ids_id).unwrap();
        let mut expected = vec![0f32; k * ids.len()];
        for (id, out) in ids.iter().zip(expected.chunks_mut(k)) {
            let row = &table[*id as usize * row_bytes..][..row_bytes];
            quipu_quant::dequantize_row(dtype, row, out).unwrap();
        }
        for got in case.run_both(out) {
            assert!(floats(&got) == expected, "{dtype}");
        }
    }
}

#[test]
fn rows_are_written_to_every_storable_type_and_the_last_of_equals_wins() {
    for dtype in DType::ALL.into_iter().filter(|t| t.is_storable()) {
        let (k, n) = (256, 9);
        let mut case = Case::new(8);
        let row_bytes = dtype.row_bytes(k).unwrap();
        let table = case.leaf(dtype, [k, n, 1, 1], vec![0; row_bytes * n]);
        let (rows, values) = case.noise([k, 5, 1, 1], 1.0);
        let ids = [2i64, 8, 0, 2, 5];
        let ids_id = case.leaf(DType::I64, [5, 1, 1, 1], bytes(&ids));
        let out = case.graph.set_rows(table, rows, ids_id).unwrap();
        let mut expected = vec![0u8; row_bytes * n];
        for (id, row) in ids.iter().zip(values.chunks(k)) {
            let out = &mut expected[*id as usize * row_bytes..][..row_bytes];
            quipu_quant::quantize_row_cpu(dtype, row, out).unwrap();
        }
        for got in case.run_both(out) {
            assert!(got == expected, "{dtype}");
        }
    }
}

#[test]
fn copies_follow_strides_and_convert() {
    // Transposed f32 to contiguous.
    let mut case = Case::new(9);
    let (a, va) = case.noise([19, 23, 3, 1], 1.0);
    let t = case.graph.transpose(a);
    let out = case.graph.cont(t).unwrap();
    let at = |i0: usize, i1: usize, i2: usize| f64::from(va[i2 * 19 * 23 + i0 * 19 + i1]);
    let mut expected = Vec::new();
    for i2 in 0..3 {
        for i1 in 0..19 {
            expected.extend((0..23).map(|i0| at(i0, i1, i2)));
        }
    }
    case.check(out, &expected, 0.0);

    // f32 into a transposed window of an f16 cache, and back into another shape.
    let mut case = Case::new(10);
    let (a, va) = case.noise([12, 10, 1, 1], 1.0);
    let cache = case.leaf(DType::F16, [16, 12, 1, 1], vec![0; 16 * 12 * 2]);
    let window = case.graph.view(cache, [10, 12, 1, 1], [32, 384, 384], 4).unwrap();
    let window_t = case.graph.transpose(window);
    let stored = case.graph.cpy(a, window_t).unwrap();
    let target = case.leaf(DType::F32, [24, 5, 1, 1], vec![0; 480]);
    let out = case.graph.cpy(stored, target).unwrap();
    let expected: Vec<f64> = va.iter().map(|x| half::f16::from_f32(*x).to_f64()).collect();
    case.check(out, &expected, 0.0);
}

/// A function of two operands in f64.
type Exact<'a> = Box<dyn Fn(f64, f64) -> f64 + 'a>;

#[test]
fn activations_match_their_definitions() {
    let gelu = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * x * (1.0 + 0.044715 * x * x)).tanh());
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let run = |name: &str| {
        let mut case = Case::new(11);
        let (a, va) = case.noise([301, 3, 2, 1], 12.0);
        let (b, vb) = case.noise([301, 3, 2, 1], 2.0);
        let g = &mut case.graph;
        let (out, f, bound): (_, Exact<'_>, f64) = match name {
            "silu" => (g.unary(UnaryOp::Silu, a), Box::new(|x, _| silu(x)), 1e-12),
            "gelu" => (g.unary(UnaryOp::Gelu, a), Box::new(|x, _| gelu(x)), 1e-6),
            "relu" => (g.unary(UnaryOp::Relu, a), Box::new(|x, _| x.max(0.0)), 0.0),
            "tanh" => (g.unary(UnaryOp::Tanh, a), Box::new(|x, _| x.tanh()), 1e-12),
            "swiglu" => (g.glu(GluOp::Swiglu, a, b), Box::new(|x, y| silu(x) * y), 1e-12),
            _ => (g.glu(GluOp::Geglu, a, b), Box::new(|x, y| gelu(x) * y), 1e-6),
        };
        let expected: Vec<f64> = va.iter().zip(&vb).map(|(x, y)| f(f64::from(*x), f64::from(*y))).collect();
        case.check(out.unwrap(), &expected, bound);
    };
    for name in ["silu", "gelu", "relu", "tanh", "swiglu", "geglu"] {
        run(name);
    }
}

#[test]
fn products_run_in_graphs_for_every_type_and_batch() {
    for dtype in DType::ALL.into_iter().filter(|t| t.is_storable()) {
        let (k, n, m) = (512, 37, 5);
        let mut case = Case::new(12);
        let values = case.noise.as_mut().unwrap().floats(k * n * 2, 1.0);
        let row_bytes = dtype.row_bytes(k).unwrap();
        let mut weights = vec![0; row_bytes * n * 2];
        let mut exact = vec![0f32; k * n * 2];
        for ((row, out), exact) in
            values.chunks(k).zip(weights.chunks_mut(row_bytes)).zip(exact.chunks_mut(k))
        {
            quipu_quant::quantize_row(dtype, row, out).unwrap();
            quipu_quant::dequantize_row(dtype, out, exact).unwrap();
        }
        let w = case.leaf(dtype, [k, n, 2, 1], weights);
        let (x, vx) = case.noise([k, m, 4, 1], 1.0);
        let out = case.graph.mul_mat(w, x).unwrap();
        let mut expected = Vec::new();
        for batch in 0..4 {
            for col in 0..m {
                let x = &vx[(batch * m + col) * k..][..k];
                for row in 0..n {
                    let w = &exact[(batch / 2 * n + row) * k..][..k];
                    expected.push(w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>());
                }
            }
        }
        // Quantised activations are an approximation by design; the two paths must agree far better.
        let [portable, best] = case.run_both(out);
        let error = nmse(&expected, &floats(&best));
        assert!(error < 1e-3, "{dtype}: {error:e}");
        let portable: Vec<f64> = floats(&portable).into_iter().map(f64::from).collect();
        assert!(nmse(&portable, &floats(&best)) < 1e-9, "{dtype}");
    }
}
