//! What the backend refuses, reports and survives.

#[allow(dead_code)] // each test file uses a part of it
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Case, bytes};
use quipu_backend::{Backend, BufferTable, BufferType, Device, Error};
use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::{CpuBackend, CpuBufferType, CpuDevice, CpuOptions};
use quipu_graph::{BufferId, DType, Graph, Storage};

#[test]
fn rows_out_of_range_are_errors_and_write_nothing() {
    for n_threads in [1, 4] {
        for id in [-1i32, 7, i32::MAX] {
            let mut case = Case::new(30);
            let (a, _) = case.noise([16, 7, 1, 1], 1.0);
            case.graph.set_name(a, "token_embd.weight");
            let ids = case.leaf(DType::I32, [2, 1, 1, 1], bytes(&[0, id]));
            let rows = case.graph.get_rows(a, ids).unwrap();
            // Something behind it, so that threads have to stop together.
            let out = case.graph.scale(rows, 2.0, 0.0).unwrap();
            let error = case.outcome(out, n_threads).unwrap_err();
            let expected = format!("GET_ROWS: row {id} of token_embd.weight, expected a row below 7");
            assert_eq!(error.to_string(), expected);
        }
        for id in [-1i64, 7, i64::MIN] {
            let mut case = Case::new(31);
            let (table, _) = case.noise([16, 7, 1, 1], 1.0);
            let (rows, _) = case.noise([16, 2, 1, 1], 1.0);
            let ids = case.leaf(DType::I64, [2, 1, 1, 1], bytes(&[1, id]));
            let out = case.graph.set_rows(table, rows, ids).unwrap();
            let error = case.outcome(out, n_threads).unwrap_err();
            assert!(matches!(error, Error::RowOutOfRange { row, n_rows: 7, .. } if row == id), "{error}");
        }
    }
}

#[test]
fn tensors_without_memory_or_beyond_their_buffer_are_errors() {
    let mut graph = Graph::new();
    let a = graph.leaf("a", DType::F32, [64, 1, 1, 1]).unwrap();
    let out = graph.scale(a, 2.0, 0.0).unwrap();
    graph.build_forward_expand(out);
    let mut table = BufferTable::new();
    let buffer = table.add_owned(CpuBufferType.allocate(512).unwrap());
    let mut backend = CpuBackend::new(Isa::detect(), 1).unwrap();
    let error = backend.compute(&graph, 0..1, &mut table, None).unwrap_err();
    assert!(matches!(error, Error::Tensor { .. }), "{error}");

    graph[a].storage = Storage::Planned { buffer, offset: 0 };
    for offset in [257, 512, usize::MAX - 3] {
        graph[out].storage = Storage::Planned { buffer, offset };
        let error = backend.compute(&graph, 0..1, &mut table, None).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { .. }), "{error}");
    }
    graph[out].storage = Storage::Planned { buffer, offset: 128 };
    let error = backend.compute(&graph, 0..1, &mut table, None).unwrap_err();
    assert!(error.to_string().contains("over the bytes of operand 0"), "{error}");
    graph[out].storage = Storage::Planned { buffer: BufferId(9), offset: 0 };
    let error = backend.compute(&graph, 0..1, &mut table, None).unwrap_err();
    assert!(matches!(error, Error::UnknownBuffer(9)), "{error}");
    graph[out].storage = Storage::Planned { buffer, offset: 254 };
    graph[a].ne = [62, 1, 1, 1];
    assert!(backend.compute(&graph, 0..1, &mut table, None).is_err(), "shapes that no longer match");
    assert!(backend.compute(&graph, 0..2, &mut table, None).is_err(), "nodes that do not exist");
    graph[a].ne = [64, 1, 1, 1];
    graph[out].storage = Storage::Planned { buffer, offset: 256 };
    backend.compute(&graph, 0..1, &mut table, None).unwrap();
}

#[test]
fn edited_shapes_never_reach_a_kernel() {
    let mut graph = Graph::new();
    let a = graph.leaf("a", DType::F32, [64, 2, 1, 1]).unwrap();
    let out = graph.rms_norm(a, 1e-5).unwrap();
    graph.build_forward_expand(out);
    let backend = CpuBackend::new(Isa::detect(), 1).unwrap();
    assert!(backend.supports_op(&graph, out));
    for ne in [[usize::MAX, 2, 1, 1], [64, usize::MAX / 2, 1, 1], [1 << 40, 1 << 40, 0, 1]] {
        let mut graph = graph.clone();
        graph[a].ne = ne;
        graph[out].ne = ne;
        assert!(!backend.supports_op(&graph, out));
    }
}

#[test]
fn shared_and_mapped_buffers_are_read_only() {
    let device = CpuDevice::new(CpuOptions { isa: None });
    let mapped = device.buffer_from_host(Arc::new(vec![0u8; 1024])).unwrap();
    let mut table = BufferTable::new();
    let weights = table.add_shared(mapped);
    let memory = table.add_owned(CpuBufferType.allocate(1024).unwrap());
    let mut graph = Graph::new();
    let a = graph
        .external("a", DType::F32, [8, 1, 1, 1], Storage::External { buffer: weights, offset: 64 })
        .unwrap();
    let out = graph.scale(a, 1.0, 3.0).unwrap();
    graph.build_forward_expand(out);
    let mut backend = device.backend(2).unwrap();
    graph[out].storage = Storage::Planned { buffer: weights, offset: 256 };
    let error = backend.compute(&graph, 0..1, &mut table, None).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    graph[out].storage = Storage::Planned { buffer: memory, offset: 0 };
    backend.compute(&graph, 0..1, &mut table, None).unwrap();
    let mut got = [0u8; 32];
    table.read_tensor(&graph[out], 0, &mut got).unwrap();
    assert_eq!(common::floats(&got), [3.0; 8]);
}

#[test]
fn abort_stops_between_nodes_for_any_number_of_threads() {
    for n_threads in [1, 2, 4] {
        // Large enough for the whole team, small enough for one thread: both ways of running a step.
        for n in [64, 20_000] {
            let mut case = Case::new(32);
            let (mut x, _) = case.noise([n, 1, 1, 1], 1.0);
            for _ in 0..6 {
                x = case.graph.scale(x, 1.5, 0.0).unwrap();
            }
            case.graph.build_forward_expand(x);
            let mut table = case.bind();
            let mut backend = CpuBackend::new(Isa::detect(), n_threads).unwrap();
            let asked = AtomicUsize::new(0);
            let abort = || asked.fetch_add(1, Ordering::SeqCst) == 3;
            let error = backend.compute(&case.graph, 0..6, &mut table, Some(&abort)).unwrap_err();
            assert!(matches!(error, Error::Aborted), "{error}");
            assert_eq!(asked.load(Ordering::SeqCst), 4, "asked once for each node that was begun");
            backend.compute(&case.graph, 0..6, &mut table, None).unwrap();
        }
    }
}

#[test]
fn a_panic_inside_a_run_is_an_error_and_the_backend_lives_on() {
    let mut case = Case::new(33);
    let (a, _) = case.noise([64, 1, 1, 1], 1.0);
    let out = case.graph.scale(a, 1.5, 0.0).unwrap();
    case.graph.build_forward_expand(out);
    let mut table = case.bind();
    let mut backend = CpuBackend::new(Isa::detect(), 3).unwrap();
    let abort = || panic!("from the callback");
    let error = backend.compute(&case.graph, 0..1, &mut table, Some(&abort)).unwrap_err();
    assert!(matches!(error, Error::Worker { .. }), "{error}");
    backend.compute(&case.graph, 0..1, &mut table, None).unwrap();
}

#[test]
fn thread_counts_are_checked() {
    assert!(CpuBackend::new(Isa::detect(), 0).is_err());
    let mut backend = CpuBackend::new(Isa::detect(), 2).unwrap();
    assert!(backend.set_n_threads(100_000).is_err());
    backend.set_n_threads(3).unwrap();
}

#[test]
fn buffers_check_their_ranges_and_start_at_zero() {
    let mut buffer = CpuBufferType.allocate(100).unwrap();
    let mut out = [1u8; 100];
    buffer.read(0, &mut out).unwrap();
    assert_eq!(out, [0; 100]);
    assert!(buffer.read(1, &mut out).is_err());
    assert!(buffer.write(usize::MAX, &[1]).is_err());
    assert!(buffer.write_weight(0, DType::F32, [4, 2, 1, 1], &[0; 31]).is_err());
    buffer.write_weight(4, DType::F32, [4, 2, 1, 1], &[7; 32]).unwrap();
    buffer.clear();
    buffer.read(0, &mut out).unwrap();
    assert_eq!(out, [0; 100]);
    let error = CpuBufferType.allocate(usize::MAX / 2).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
}
