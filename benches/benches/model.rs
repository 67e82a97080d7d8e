//! model, graph and backend: opening the demo model, and building and binding the graph of a ubatch.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use quipu_backend::{BufferTable, Device, Scheduler};
use quipu_cpu_backend::CpuDevice;
use quipu_gguf::GgufFile;
use quipu_kv_cache::{KvCache, KvParams};
use quipu_model::{GraphParams, LoadParams, Model, RopeConfig, RopeOverrides};

fn graphs(c: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/stories-1m.gguf");
    let device = CpuDevice::default();
    let load = || {
        let file = GgufFile::open(path).expect("the demo model");
        Model::load(&file, &device, &mut LoadParams::default()).expect("the demo model")
    };
    c.bench_function("model/open", |b| b.iter(load));

    let model = load();
    let mut buffers = BufferTable::new();
    for buffer in model.buffers() {
        buffers.add_shared(Arc::clone(buffer));
    }
    let layers = model.kv_layers();
    let params = KvParams { n_cells: 512, layers, ..KvParams::default() };
    let cache = KvCache::new(&params, device.buffer_type().as_ref(), &mut buffers).expect("a small cache");
    let mut scheduler = Scheduler::new(vec![device.backend(1).expect("one thread")]).expect("one backend");
    let rope = RopeConfig::new(model.hparams(), &RopeOverrides::default(), 512);
    let params = GraphParams::decoder(1, 1, 256, rope);
    let build = || model.build_graph(&params, &cache).expect("a graph");
    c.bench_function("model/build the graph of a token", |b| b.iter(build));
    let mut graph = build().graph;
    c.bench_function("backend/bind a graph of a known structure", |b| {
        b.iter(|| scheduler.alloc_graph(&mut graph, &mut buffers).expect("memory"));
    });
}

criterion_group!(benches, graphs);
criterion_main!(benches);
