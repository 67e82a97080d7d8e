//! After the first run of a graph, running it again allocates nothing, on any thread.

#[allow(dead_code)] // each test file uses a part of it
mod common;

use common::{Case, bytes};
use quipu_backend::Backend;
use quipu_cpu_backend::CpuBackend;
use quipu_cpu_backend::isa::Isa;
use quipu_graph::{DType, GluOp, RopeMode, RopeParams, UnaryOp};
use quipu_testing::alloc::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_second_run_allocates_nothing() {
    let mut case = Case::new(40);
    let (n_tokens, n_kv, d, n_head) = (3, 600, 32, 8);
    let n_embd = d * n_head;
    let (embd, _) = case.noise([n_embd, 10, 1, 1], 1.0);
    let ids = case.leaf(DType::I32, [n_tokens, 1, 1, 1], bytes(&[1i32, 2, 3]));
    let pos = case.leaf(DType::I32, [n_tokens, 1, 1, 1], bytes(&[7i32, 8, 9]));
    let cells = case.leaf(DType::I64, [n_tokens, 1, 1, 1], bytes(&[7i64, 8, 9]));
    let (weight, _) = case.noise([n_embd, 1, 1, 1], 1.0);
    let (w, _) = case.noise_f16([n_embd, n_embd, 1, 1], 1.0);
    let (k, _) = case.noise_f16([n_embd, n_kv, 1, 1], 1.0);
    let (mask, _) = case.noise_f16([n_kv, n_tokens, 1, 1], 1.0);
    let g = &mut case.graph;
    let x = g.get_rows(embd, ids).unwrap();
    let x = g.rms_norm(x, 1e-5).unwrap();
    let x = g.mul(x, weight).unwrap();
    let q = g.mul_mat(w, x).unwrap();
    let q = g.reshape(q, [d, n_head, n_tokens, 1]).unwrap();
    let params = RopeParams {
        n_dims: d,
        mode: RopeMode::Neox,
        n_ctx_orig: 4096,
        freq_base: 1e4,
        freq_scale: 1.0,
        ext_factor: 0.0,
        attn_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };
    let q = g.rope(q, pos, None, params).unwrap();
    let q = g.permute(q, [0, 2, 1, 3]).unwrap();
    let stored = g.set_rows(k, x, cells).unwrap();
    let kv = g.view(stored, [d, n_kv, n_head, 1], [n_embd * 2, d * 2, n_embd * 2 * n_kv], 0).unwrap();
    let attn = g.flash_attn(q, kv, kv, Some(mask), 0.1, 0.0, 0.0).unwrap();
    let attn = g.reshape(attn, [n_embd, n_tokens, 1, 1]).unwrap();
    let gelu = g.unary(UnaryOp::Gelu, attn).unwrap();
    let glu = g.glu(GluOp::Swiglu, gelu, attn).unwrap();
    let soft = g.soft_max(glu, None, 1.0, 0.0).unwrap();
    let out = g.add(soft, x).unwrap();
    case.graph.build_forward_expand(out);
    let mut table = case.bind();
    let mut backend = CpuBackend::new(Isa::detect(), 3).unwrap();
    let n_nodes = case.graph.nodes().len();
    let abort = || false;
    let mut prepared = backend.prepare(&case.graph, 0..n_nodes, &table).unwrap();
    backend.run(&mut prepared, &mut table, Some(&abort)).unwrap();
    // Worker threads may still be setting themselves up after the first run.
    backend.run(&mut prepared, &mut table, Some(&abort)).unwrap();
    let before = allocations();
    for _ in 0..10 {
        backend.run(&mut prepared, &mut table, Some(&abort)).unwrap();
    }
    assert_eq!(allocations(), before);
}
