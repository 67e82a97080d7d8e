//! Graphs that between them reach the kernels, each run on a device and on the CPU. For the emulation, and for machines with
//! a GPU.

use quipu_backend::{BufferTable, Device, Error, Scheduler};
use quipu_graph::{DType, GluOp, Graph, RopeMode, RopeParams, TensorId, UnaryOp};

use quipu_testing::rows::encode;
use quipu_testing::{SplitMix, nmse};

/// NMSE that is allowed where nothing is quantised or rounded to 16 bits.
const FLOAT: f64 = 1e-6;
/// Where weights or activations are.
const ROUNDED: f64 = 1e-4;

/// A graph with what its inputs hold, and the result to compare.
pub struct Case {
    pub name: String,
    pub graph: Graph,
    pub inputs: Vec<(TensorId, Vec<u8>)>,
    pub out: TensorId,
    pub bound: f64,
}

/// What a device made of a case.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    pub nmse: f64,
    pub bound: f64,
}

impl Outcome {
    /// NaN does not pass.
    pub fn passed(&self) -> bool {
        self.nmse <= self.bound
    }
}

struct Builder {
    graph: Graph,
    inputs: Vec<(TensorId, Vec<u8>)>,
    random: SplitMix,
}

impl Builder {
    fn new(seed: u64) -> Builder {
        Builder { graph: Graph::new(), inputs: Vec::new(), random: SplitMix::new(seed) }
    }

    fn bytes(&mut self, dtype: DType, ne: [usize; 4], bytes: Vec<u8>) -> TensorId {
        let id = self.graph.input(&format!("in{}", self.inputs.len()), dtype, ne).expect("a valid shape");
        assert_eq!(bytes.len(), self.graph[id].n_bytes());
        self.inputs.push((id, bytes));
        id
    }

    fn noise(&mut self, dtype: DType, ne: [usize; 4], scale: f32) -> TensorId {
        let n: usize = ne.iter().product();
        let bytes = encode(dtype, &self.random.floats(n, scale), ne[0]);
        self.bytes(dtype, ne, bytes)
    }

    fn f32s(&mut self, ne: [usize; 4], scale: f32) -> TensorId {
        self.noise(DType::F32, ne, scale)
    }

    fn i32s(&mut self, values: &[i32]) -> TensorId {
        self.bytes(DType::I32, [values.len(), 1, 1, 1], bytemuck::cast_slice(values).to_vec())
    }

    fn i64s(&mut self, values: &[i64]) -> TensorId {
        self.bytes(DType::I64, [values.len(), 1, 1, 1], bytemuck::cast_slice(values).to_vec())
    }

    /// A causal mask over `n_kv` cells for the last `n_tokens` of them.
    fn mask(&mut self, dtype: DType, n_kv: usize, n_tokens: usize) -> TensorId {
        let sees = |i: usize| i % n_kv <= n_kv - n_tokens + i / n_kv;
        let values: Vec<f32> =
            (0..n_kv * n_tokens).map(|i| if sees(i) { 0.0 } else { f32::NEG_INFINITY }).collect();
        let bytes = encode(dtype, &values, n_kv);
        self.bytes(dtype, [n_kv, n_tokens, 1, 1], bytes)
    }

    fn case(mut self, name: String, out: TensorId, bound: f64) -> Case {
        self.graph.set_output(out);
        self.graph.build_forward_expand(out);
        Case { name, graph: self.graph, inputs: self.inputs, out, bound }
    }
}

/// Types of weights with kernels.
pub const TYPES: [DType; 10] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q4_0,
    DType::Q5_0,
    DType::Q8_0,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::MXFP4,
];

fn products(cases: &mut Vec<Case>) {
    for dtype in TYPES {
        for columns in [1, 2, 3, 8, 9, 37] {
            let mut b = Builder::new(columns as u64);
            let k = if columns == 2 { 1536 } else { 512 };
            let w = b.noise(dtype, [k, 70, 1, 1], 1.0);
            let x = b.f32s([k, columns, 1, 1], 1.0);
            let out = b.graph.mul_mat(w, x).expect("shapes that multiply");
            // Activations for quantised weights are rounded to 8 bits in blocks of 32 here and of 256 on the CPU.
            let bound = if dtype == DType::F32 { FLOAT } else { ROUNDED };
            cases.push(b.case(format!("mul_mat {dtype} x {columns}"), out, bound));
        }
        let mut b = Builder::new(5);
        let table = b.noise(dtype, [512, 9, 1, 1], 1.0);
        let ids = b.i32s(&[8, 0, 3, 3]);
        let out = b.graph.get_rows(table, ids).expect("a table");
        cases.push(b.case(format!("get_rows {dtype}"), out, 0.0));
    }
    let mut b = Builder::new(6);
    let w = b.noise(DType::Q8_0, [64, 10, 2, 1], 1.0);
    let x = b.f32s([64, 3, 4, 2], 1.0);
    let out = b.graph.mul_mat(w, x).expect("w repeats");
    cases.push(b.case("mul_mat q8_0 over outer dimensions".to_owned(), out, ROUNDED));
    // Two products of the same activations, one of which is copied away and changed in between.
    let mut b = Builder::new(7);
    let (w1, w2) = (b.noise(DType::Q8_0, [64, 64, 1, 1], 1.0), b.noise(DType::Q8_0, [64, 64, 1, 1], 1.0));
    let x = b.f32s([64, 1, 1, 1], 1.0);
    let first = b.graph.mul_mat(w1, x).expect("shapes that multiply");
    let second = b.graph.mul_mat(w2, x).expect("shapes that multiply");
    let third = b.graph.mul_mat(w1, first).expect("shapes that multiply");
    let sum = b.graph.add(second, third).expect("equal shapes");
    let again = b.graph.mul_mat(w2, x).expect("shapes that multiply");
    let out = b.graph.add(sum, again).expect("equal shapes");
    cases.push(b.case("prepared activations that serve twice".to_owned(), out, ROUNDED));
}

fn rows(cases: &mut Vec<Case>) {
    let mut b = Builder::new(10);
    let table =
        b.bytes(DType::I32, [5, 4, 1, 1], bytemuck::cast_slice(&(0..20).collect::<Vec<i32>>()).to_vec());
    let ids = b.i32s(&[3, 1]);
    let out = b.graph.get_rows(table, ids).expect("a table");
    cases.push(b.case("get_rows i32".to_owned(), out, 0.0));
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let mut b = Builder::new(11);
        let table = b.noise(dtype, [33, 8, 1, 1], 1.0);
        let rows = b.f32s([33, 3, 1, 1], 1.0);
        let ids = b.i64s(&[7, 2, 7]);
        let out = b.graph.set_rows(table, rows, ids).expect("a table");
        cases.push(b.case(format!("set_rows {dtype}"), out, 0.0));
    }
    for (from, to) in [
        (DType::F32, DType::F32),
        (DType::F32, DType::F16),
        (DType::F16, DType::F32),
        (DType::F16, DType::F16),
    ] {
        let mut b = Builder::new(12);
        let source = b.noise(from, [6, 5, 4, 1], 1.0);
        let turned = b.graph.permute(source, [1, 2, 0, 3]).expect("axes");
        let target = b.graph.leaf("target", to, [30, 4, 1, 1]).expect("small");
        let out = b.graph.cpy(turned, target).expect("equal numbers");
        cases.push(b.case(format!("cpy {from} to {to}, permuted"), out, 0.0));
    }
    let mut b = Builder::new(13);
    let source = b.f32s([7, 5, 3, 1], 1.0);
    let turned = b.graph.transpose(source);
    let out = b.graph.cont(turned).expect("f32");
    cases.push(b.case("cont of a transposed tensor".to_owned(), out, 0.0));
}

fn elementwise(cases: &mut Vec<Case>) {
    let ne = [300, 3, 2, 1];
    for op in [UnaryOp::Silu, UnaryOp::Gelu, UnaryOp::Relu, UnaryOp::Tanh] {
        let mut b = Builder::new(20);
        let x = b.f32s(ne, 9.0);
        let out = b.graph.unary(op, x).expect("f32");
        cases.push(b.case(format!("{op:?}"), out, FLOAT));
    }
    for op in [GluOp::Swiglu, GluOp::Geglu] {
        let mut b = Builder::new(21);
        let (gate, up) = (b.f32s(ne, 5.0), b.f32s(ne, 2.0));
        let out = b.graph.glu(op, gate, up).expect("equal shapes");
        cases.push(b.case(format!("{op:?}"), out, FLOAT));
    }
    let mut b = Builder::new(22);
    let (x, y) = (b.f32s(ne, 1.0), b.f32s([300, 1, 2, 1], 1.0));
    let sum = b.graph.add(x, y).expect("y repeats");
    let product = b.graph.mul(sum, x).expect("equal shapes");
    let out = b.graph.scale(product, -0.7, 3.0).expect("f32");
    cases.push(b.case("add, mul, scale".to_owned(), out, FLOAT));
}

fn norms(cases: &mut Vec<Case>) {
    let ne = [515, 3, 1, 1];
    for weighted in [false, true] {
        let mut b = Builder::new(30);
        let x = b.f32s(ne, 3.0);
        let mut out = b.graph.rms_norm(x, 1e-5).expect("f32");
        if weighted {
            let weight = b.f32s([515, 1, 1, 1], 1.0);
            out = b.graph.mul(out, weight).expect("weight repeats");
        }
        cases.push(b.case(format!("rms_norm, weight {weighted}"), out, FLOAT));
    }
    let mut b = Builder::new(31);
    let x = b.f32s(ne, 3.0);
    let (weight, bias) = (b.f32s([515, 1, 1, 1], 1.0), b.f32s([515, 1, 1, 1], 1.0));
    let out = b.graph.norm(x, 1e-5).expect("f32");
    let out = b.graph.mul(out, weight).expect("weight repeats");
    let out = b.graph.add(out, bias).expect("bias repeats");
    cases.push(b.case("norm, weight and bias".to_owned(), out, FLOAT));
    for bias in [false, true] {
        let mut b = Builder::new(35);
        let x = b.f32s(ne, 3.0);
        let weight = b.f32s([515, 1, 1, 1], 1.0);
        let mut out = if bias { b.graph.rms_norm(x, 1e-5) } else { b.graph.norm(x, 1e-5) }.expect("f32");
        out = b.graph.mul(out, weight).expect("weight repeats");
        if bias {
            let bias = b.f32s([515, 1, 1, 1], 1.0);
            out = b.graph.add(out, bias).expect("bias repeats");
        }
        cases.push(b.case(format!("the other norm, bias {bias}"), out, FLOAT));
    }
    // A sum of the normed rows with themselves is no bias, nor is a residual.
    let mut b = Builder::new(36);
    let x = b.f32s(ne, 3.0);
    let (weight, residual) = (b.f32s([515, 1, 1, 1], 1.0), b.f32s(ne, 1.0));
    let normed = b.graph.norm(x, 1e-5).expect("f32");
    let weighted = b.graph.mul(normed, weight).expect("weight repeats");
    let doubled = b.graph.add(weighted, weighted).expect("equal shapes");
    let out = b.graph.add(doubled, residual).expect("equal shapes");
    cases.push(b.case("a norm without a bias, and a residual".to_owned(), out, FLOAT));
    // A norm that somebody else reads too.
    let mut b = Builder::new(32);
    let x = b.f32s(ne, 3.0);
    let weight = b.f32s([515, 1, 1, 1], 1.0);
    let normed = b.graph.rms_norm(x, 1e-5).expect("f32");
    let weighted = b.graph.mul(normed, weight).expect("weight repeats");
    let out = b.graph.add(weighted, normed).expect("equal shapes");
    cases.push(b.case("rms_norm with two readers".to_owned(), out, FLOAT));
    for (dtype, max_bias) in [(None, 0.0), (Some(DType::F16), 0.0), (Some(DType::F32), 8.0)] {
        let mut b = Builder::new(33);
        let x = b.f32s([200, 5, 6, 1], 5.0);
        let mask = dtype.map(|dtype| b.mask(dtype, 200, 5));
        let out = b.graph.soft_max(x, mask, 0.3, max_bias).expect("a mask that covers");
        cases.push(b.case(format!("soft_max, mask {dtype:?}, max_bias {max_bias}"), out, FLOAT));
    }
    for mode in [RopeMode::Norm, RopeMode::Neox] {
        for (ext_factor, with_factors) in [(0.0, false), (1.0, true)] {
            let params = RopeParams {
                n_dims: 48,
                mode,
                n_ctx_orig: 1024,
                freq_base: 10000.0,
                freq_scale: 0.25,
                ext_factor,
                attn_factor: 1.1,
                beta_fast: 32.0,
                beta_slow: 1.0,
            };
            let mut b = Builder::new(34);
            let x = b.f32s([64, 3, 4, 1], 1.0);
            let pos = b.i32s(&[0, 7, 300, 4000]);
            let factors = with_factors.then(|| {
                let values: Vec<f32> = (0..24).map(|i| 1.0 + i as f32 * 0.1).collect();
                b.bytes(DType::F32, [24, 1, 1, 1], bytemuck::cast_slice(&values).to_vec())
            });
            let out = b.graph.rope(x, pos, factors, params).expect("a rotation");
            cases.push(b.case(format!("rope {mode:?}, YaRN {ext_factor}"), out, FLOAT));
        }
    }
}

fn attention(cases: &mut Vec<Case>) {
    for d in [40, 64, 128, 256] {
        for (n_tokens, n_kv) in [(1, 16), (1, 700), (3, 300), (40, 130)] {
            for softcap in [0.0, 10.0] {
                let mut b = Builder::new(40);
                let q = b.f32s([d, 8, n_tokens, 1], 1.0);
                let q = b.graph.permute(q, [0, 2, 1, 3]).expect("axes");
                let k = b.noise(DType::F16, [d, 2, n_kv, 1], 1.0);
                let k = b.graph.permute(k, [0, 2, 1, 3]).expect("axes");
                let v = b.noise(DType::F16, [d, 2, n_kv, 1], 1.0);
                let v = b.graph.permute(v, [0, 2, 1, 3]).expect("axes");
                let mask = b.mask(DType::F16, n_kv, n_tokens);
                let scale = 1.0 / (d as f32).sqrt();
                let out = b.graph.flash_attn(q, k, v, Some(mask), scale, 0.0, softcap).expect("heads");
                let name = format!("flash_attn {d}, {n_tokens} over {n_kv}, cap {softcap}");
                cases.push(b.case(name, out, FLOAT));
            }
        }
    }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    products(&mut cases);
    rows(&mut cases);
    elementwise(&mut cases);
    norms(&mut cases);
    attention(&mut cases);
    cases
}

fn run_on(case: &Case, device: &dyn Device) -> Result<Vec<f32>, Error> {
    let mut graph = case.graph.clone();
    let mut buffers = BufferTable::new();
    let mut scheduler = Scheduler::new(vec![device.backend(1)?])?;
    scheduler.alloc_graph(&mut graph, &mut buffers)?;
    for (id, bytes) in &case.inputs {
        buffers.write_tensor(&graph[*id], bytes)?;
    }
    scheduler.compute(&graph, &mut buffers, None)?;
    let out = &graph[case.out];
    let mut bytes = vec![0; out.n_bytes()];
    buffers.read_tensor(out, 0, &mut bytes)?;
    let wide = bytes.as_chunks::<4>().0;
    let narrow = bytes.as_chunks::<2>().0;
    Ok(match out.dtype {
        DType::F16 => narrow.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        DType::BF16 => narrow.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        DType::I32 => wide.iter().map(|b| i32::from_le_bytes(*b) as f32).collect(),
        _ => wide.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    })
}

/// Runs a case on the device and on the CPU.
pub fn run(case: &Case, device: &dyn Device, cpu: &dyn Device) -> Result<Outcome, Error> {
    let (found, expected) = (run_on(case, device)?, run_on(case, cpu)?);
    Ok(Outcome { name: case.name.clone(), nmse: nmse(&expected, &found), bound: case.bound })
}
