//! Norms, rope, softmax, activations and element-wise ops in the host emulation against the CPU backend.

mod common;

use common::{Arg, Case, FLOAT, assert_near, bytes, floats, kernel, skipped};
use quipu_graph::{DType, GluOp, Op, RopeMode, RopeParams, TensorId, UnaryOp};

/// Launches an element- or row-wise kernel for `out` and compares.
fn check(case: &mut Case, name: &str, out: TensorId, args: &[Arg], bound: f64) {
    let expected = case.expected(out);
    let mut memory = case.memory();
    let kernel = kernel(name);
    let grid = kernel.grid.blocks(kernel.block, case.graph[out].ne, 0);
    let args: Vec<Arg> = [Arg::T(out)].iter().chain(args).copied().collect();
    memory.launch(case, name, grid, &args, Some(out));
    assert_near(name, &memory.read(case, out), &expected, bound);
}

const SHAPES: [[usize; 4]; 4] = [[1, 1, 1, 1], [7, 3, 1, 1], [257, 2, 3, 2], [1030, 1, 2, 1]];

#[test]
fn norms_plain_and_fused() {
    if skipped() {
        return;
    }
    for ne in SHAPES {
        for gap in [1, 4] {
            let mut case = Case::new(ne[0] as u64);
            let x = case.strided(ne, gap, 3.0);
            let weight = case.noise(DType::F32, [ne[0], 1, 1, 1], 1.0);
            let bias = case.noise(DType::F32, [ne[0], ne[1], 1, 1], 1.0);
            let eps = Arg::F32(1e-5);
            let normed = case.graph.rms_norm(x, 1e-5).unwrap();
            check(&mut case, "rms_norm", normed, &[Arg::T(x), eps], FLOAT);
            let scaled = case.graph.mul(normed, weight).unwrap();
            check(&mut case, "rms_norm_mul", scaled, &[Arg::T(x), Arg::T(weight), eps], FLOAT);
            let shifted = case.graph.add(scaled, bias).unwrap();
            let args = [Arg::T(x), Arg::T(weight), Arg::T(bias), eps];
            check(&mut case, "rms_norm_mul_add", shifted, &args, FLOAT);
            if ne[0] > 1 {
                let normed = case.graph.norm(x, 1e-5).unwrap();
                check(&mut case, "layer_norm", normed, &[Arg::T(x), eps], FLOAT);
                let scaled = case.graph.mul(normed, weight).unwrap();
                let shifted = case.graph.add(scaled, bias).unwrap();
                check(&mut case, "layer_norm_mul_add", shifted, &args, FLOAT);
            }
        }
    }
}

#[test]
fn a_norm_may_take_its_operands_place() {
    if skipped() {
        return;
    }
    let mut case = Case::new(1);
    let x = case.noise(DType::F32, [300, 5, 1, 1], 1.0);
    let out = case.graph.rms_norm(x, 1e-6).unwrap();
    let expected = case.expected(out);
    let mut memory = case.memory();
    // Fewer blocks than rows: they stride.
    memory.launch(&case, "rms_norm", [2, 1, 1], &[Arg::T(x), Arg::T(x), Arg::F32(1e-6)], Some(x));
    assert_near("in place", &memory.read(&case, x), &expected, FLOAT);
}

/// What `Op::Rope`'s parameters come to for the kernels; the CPU backend's `Angles` in small.
fn rope_args(p: &RopeParams) -> [Arg; 7] {
    let pair_of = |n_rot: f32| {
        let turns = p.n_ctx_orig as f32 / (n_rot * 2.0 * std::f32::consts::PI);
        p.n_dims as f32 * turns.ln() / (2.0 * p.freq_base.ln())
    };
    let low = pair_of(p.beta_fast).floor().max(0.0);
    let high = pair_of(p.beta_slow).ceil().min(p.n_dims as f32 - 1.0);
    let bent = if p.ext_factor == 0.0 { 1.0 } else { 1.0 + 0.1 * (1.0 / p.freq_scale).ln() };
    [
        Arg::I32(p.n_dims as i32),
        Arg::F32(p.freq_base.powf(-2.0 / p.n_dims as f32)),
        Arg::F32(p.freq_scale),
        Arg::F32(p.ext_factor),
        Arg::F32(p.attn_factor * bent),
        Arg::F32(low),
        Arg::F32(high),
    ]
}

#[test]
fn rope_in_both_modes_with_yarn_and_factors() {
    if skipped() {
        return;
    }
    let base = RopeParams {
        n_dims: 64,
        mode: RopeMode::Norm,
        n_ctx_orig: 4096,
        freq_base: 10000.0,
        freq_scale: 1.0,
        ext_factor: 0.0,
        attn_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };
    let yarn = RopeParams { freq_scale: 0.25, ext_factor: 1.0, attn_factor: 0.9, ..base };
    for (mode, name) in [(RopeMode::Norm, "rope_norm"), (RopeMode::Neox, "rope_neox")] {
        for (params, head, with_factors) in [
            (base, 64, false),
            (base, 64, true),
            (yarn, 80, true),
            (RopeParams { n_dims: 20, freq_base: 5e5, ..base }, 33, false),
            (RopeParams { n_dims: 2, ..yarn }, 2, false),
        ] {
            let params = RopeParams { mode, ..params };
            let positions = [0i32, 1, 4095, 30000];
            let mut case = Case::new(9);
            let x = case.strided([head, 3, positions.len(), 1], 2, 1.0);
            let pos = case.leaf(DType::I32, [positions.len(), 1, 1, 1], bytes(&positions));
            let factors: Vec<f32> = (0..params.n_dims / 2).map(|i| 1.0 + i as f32 * 0.3).collect();
            let factors_id =
                with_factors.then(|| case.leaf(DType::F32, [factors.len(), 1, 1, 1], bytes(&factors)));
            let out = case.graph.rope(x, pos, factors_id, params).unwrap();
            let address = if with_factors { factors.as_ptr() as u64 } else { 0 };
            let mut args = vec![Arg::T(x), Arg::T(pos), Arg::P(address)];
            args.extend(rope_args(&params));
            check(&mut case, name, out, &args, 1e-12);
        }
    }
}

#[test]
fn softmax_with_masks_and_slopes() {
    if skipped() {
        return;
    }
    for ne in [[1, 1, 1, 1], [5, 3, 4, 1], [513, 2, 6, 2], [300, 1, 3, 1]] {
        for (mask_type, max_bias) in [(None, 0.0), (Some(DType::F16), 0.0), (Some(DType::F32), 8.0)] {
            let mut case = Case::new(11);
            let x = case.strided(ne, 3, 5.0);
            let mask = mask_type.map(|dtype| {
                let mut values = case.noise.floats(ne[0] * (ne[1] + 2), 1.0);
                for (i, v) in values.iter_mut().enumerate() {
                    if i % ne[0] != 0 && i % 3 == 0 {
                        *v = f32::NEG_INFINITY;
                    }
                }
                let encoded = common::encode(dtype, &values, ne[0]);
                case.leaf(dtype, [ne[0], ne[1] + 2, 1, 1], encoded)
            });
            let out = case.graph.soft_max(x, mask, 0.3, max_bias).unwrap();
            let is_f16 = Arg::I32(i32::from(mask_type == Some(DType::F16)));
            let args = [
                Arg::T(x),
                mask.map_or(Arg::None, Arg::T),
                is_f16,
                Arg::P(0),
                Arg::F32(0.3),
                Arg::F32(max_bias),
            ];
            check(&mut case, "soft_max", out, &args, FLOAT);
        }
    }
}

#[test]
fn sinks_take_their_share() {
    if skipped() {
        return;
    }
    let (n, heads) = (40, 3);
    let mut case = Case::new(12);
    let x = case.noise(DType::F32, [n, 2, heads, 1], 2.0);
    let out = case.noise(DType::F32, [n, 2, heads, 1], 0.0);
    let sinks = [0.5f32, -30.0, 9.0];
    let mut memory = case.memory();
    let args = [
        Arg::T(out),
        Arg::T(x),
        Arg::None,
        Arg::I32(0),
        Arg::P(sinks.as_ptr() as u64),
        Arg::F32(1.0),
        Arg::F32(0.0),
    ];
    memory.launch(&case, "soft_max", [6, 1, 1], &args, Some(out));
    let mut expected = Vec::new();
    for (row, x) in floats(case.bytes_of(x)).chunks(n).enumerate() {
        let sink = f64::from(sinks[row / 2]).exp();
        let sum: f64 = x.iter().map(|v| f64::from(*v).exp()).sum::<f64>() + sink;
        expected.extend(x.iter().map(|v| (f64::from(*v).exp() / sum) as f32));
    }
    assert_near("sinks", &memory.read(&case, out), &bytes(&expected), FLOAT);
}

#[test]
fn functions_of_one_operand() {
    if skipped() {
        return;
    }
    for ne in SHAPES {
        for (op, name) in [
            (UnaryOp::Silu, "silu"),
            (UnaryOp::Gelu, "gelu"),
            (UnaryOp::Relu, "relu"),
            (UnaryOp::Tanh, "tanh_f32"),
        ] {
            let mut case = Case::new(13);
            let x = case.strided(ne, ne[0] % 2 * 5, 12.0);
            let out = case.graph.unary(op, x).unwrap();
            assert!(matches!(case.graph[out].op, Op::Unary(_)));
            check(&mut case, name, out, &[Arg::T(x)], FLOAT);
        }
        let mut case = Case::new(14);
        let x = case.strided(ne, 1, 12.0);
        let out = case.graph.scale(x, -0.7, 3.0).unwrap();
        check(&mut case, "scale", out, &[Arg::T(x), Arg::F32(-0.7), Arg::F32(3.0)], 1e-12);
    }
}

#[test]
fn gated_units() {
    if skipped() {
        return;
    }
    for ne in SHAPES {
        for (op, name) in [(GluOp::Swiglu, "swiglu"), (GluOp::Geglu, "geglu")] {
            let mut case = Case::new(15);
            let (gate, up) = (case.strided(ne, ne[0] % 2 * 2, 9.0), case.strided(ne, 0, 2.0));
            let out = case.graph.glu(op, gate, up).unwrap();
            check(&mut case, name, out, &[Arg::T(gate), Arg::T(up)], FLOAT);
        }
    }
}

#[test]
fn sums_and_products_repeat_their_second_operand() {
    if skipped() {
        return;
    }
    let a = [6, 4, 2, 3];
    for b in [a, [6, 1, 1, 1], [1, 1, 1, 1], [3, 2, 1, 1], [6, 4, 1, 3], [1, 4, 2, 1]] {
        let mut case = Case::new(16);
        // Both with and without gaps between rows.
        let gap = usize::from(b[0] != 6) * 2;
        let (x, y) = (case.strided(a, gap, 1.0), case.strided(b, 2 * gap, 1.0));
        let sum = case.graph.add(x, y).unwrap();
        check(&mut case, "add", sum, &[Arg::T(x), Arg::T(y)], 0.0);
        let product = case.graph.mul(x, y).unwrap();
        check(&mut case, "mul", product, &[Arg::T(x), Arg::T(y)], 0.0);
    }
    let mut case = Case::new(18);
    let (x, y) = (case.strided(a, 3, 1.0), case.strided(a, 1, 1.0));
    let sum = case.graph.add(x, y).unwrap();
    check(&mut case, "add", sum, &[Arg::T(x), Arg::T(y)], 0.0);
    let mut case = Case::new(17);
    let (x, y) = (case.noise(DType::F32, [1111, 3, 1, 1], 1.0), case.noise(DType::F32, [1111, 1, 1, 1], 1.0));
    let sum = case.graph.add(x, y).unwrap();
    check(&mut case, "add", sum, &[Arg::T(x), Arg::T(y)], 0.0);
}
