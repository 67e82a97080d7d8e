//! Times attention and the small ops of a 1B-sized model on this machine: `ops_speed [THREADS]`.

use std::time::Instant;

use quipu_backend::{Backend, BufferTable, BufferType};
use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::{CpuBackend, CpuBufferType};
use quipu_graph::{BufferId, DType, GluOp, Graph, RopeMode, RopeParams, Storage, TensorId};

fn time(name: &str, n_threads: usize, build: impl Fn(&mut Graph) -> Result<TensorId, quipu_graph::Error>) {
    let mut graph = Graph::new();
    let out = build(&mut graph).expect("the shapes below fit");
    graph.build_forward_expand(out);
    let mut end = 0;
    for index in 0..graph.tensors().len() {
        let id = graph.id(index).expect("an index below the length");
        if graph[id].view.is_none() {
            graph[id].storage = Storage::Planned { buffer: BufferId(0), offset: end };
            end += graph[id].n_bytes().next_multiple_of(64);
        }
    }
    graph.resolve_views();
    let mut table = BufferTable::new();
    let mut memory = CpuBufferType.allocate(end).expect("memory for the example");
    memory.write(0, &vec![0x3c; end]).expect("as long as the buffer");
    table.add_owned(memory);
    let mut backend = CpuBackend::new(Isa::detect(), n_threads).expect("threads");
    let n_nodes = graph.nodes().len();
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        backend.compute(&graph, 0..n_nodes, &mut table, None).expect("a supported graph");
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<40} {:>10.1} us", best * 1e6);
}

fn main() {
    let n_threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    for (n_tokens, n_kv) in [(1, 512), (1, 4096), (512, 512)] {
        for (d, n_head, n_head_kv) in [(64, 32, 8), (128, 32, 8), (96, 32, 32)] {
            let name = format!("attention {n_tokens}x{n_kv} d {d} heads {n_head}/{n_head_kv}");
            time(&name, n_threads, |g| {
                let q = g.leaf("q", DType::F32, [d, n_tokens, n_head, 1])?;
                let k = g.leaf("k", DType::F16, [d, n_head_kv, n_kv, 1])?;
                let v = g.leaf("v", DType::F16, [d, n_head_kv, n_kv, 1])?;
                let (k, v) = (g.permute(k, [0, 2, 1, 3])?, g.permute(v, [0, 2, 1, 3])?);
                g.flash_attn(q, k, v, None, 0.125, 0.0, 0.0)
            });
        }
    }
    for n in [1, 512] {
        time(&format!("rms_norm+mul 2048x{n}"), n_threads, |g| {
            let x = g.leaf("x", DType::F32, [2048, n, 1, 1])?;
            let w = g.leaf("w", DType::F32, [2048, 1, 1, 1])?;
            let y = g.rms_norm(x, 1e-5)?;
            g.mul(y, w)
        });
        time(&format!("swiglu 8192x{n}"), n_threads, |g| {
            let x = g.leaf("x", DType::F32, [8192, n, 1, 1])?;
            let y = g.leaf("y", DType::F32, [8192, n, 1, 1])?;
            g.glu(GluOp::Swiglu, x, y)
        });
        time(&format!("add 2048x{n}"), n_threads, |g| {
            let x = g.leaf("x", DType::F32, [2048, n, 1, 1])?;
            let y = g.leaf("y", DType::F32, [2048, n, 1, 1])?;
            g.add(x, y)
        });
        for mode in [RopeMode::Norm, RopeMode::Neox] {
            time(&format!("rope {mode:?} 64x32x{n}"), n_threads, |g| {
                let x = g.leaf("x", DType::F32, [64, 32, n, 1])?;
                let pos = g.leaf("pos", DType::I32, [n, 1, 1, 1])?;
                let params = RopeParams {
                    n_dims: 64,
                    mode,
                    n_ctx_orig: 4096,
                    freq_base: 5e5,
                    freq_scale: 1.0,
                    ext_factor: 0.0,
                    attn_factor: 1.0,
                    beta_fast: 32.0,
                    beta_slow: 1.0,
                };
                g.rope(x, pos, None, params)
            });
        }
    }
}
