//! What the backend refuses, reports and survives.

#[allow(dead_code)] // each test file uses a part of it
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Case, bytes};
use std::any::Any;

use quipu_backend::{Backend, Buffer, BufferTable, BufferType, Device, Error, Prepared, Scheduler};
use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::{CpuBackend, CpuBuffer, CpuBufferType, CpuDevice, CpuOptions};
use quipu_graph::{BufferId, DType, Graph, RopeMode, RopeParams, Storage, TensorId};

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

/// `out = x + 3` in a table of one buffer, and the graph.
fn add_three() -> (Graph, TensorId, TensorId, BufferTable) {
    let mut graph = Graph::new();
    let x = graph.leaf("x", DType::F32, [8, 1, 1, 1]).unwrap();
    let out = graph.scale(x, 1.0, 3.0).unwrap();
    graph.build_forward_expand(out);
    let mut table = BufferTable::new();
    let buffer = table.add_owned(CpuBufferType.allocate(256).unwrap());
    graph[x].storage = Storage::Planned { buffer, offset: 0 };
    graph[out].storage = Storage::Planned { buffer, offset: 128 };
    (graph, x, out, table)
}

fn values(table: &BufferTable, graph: &Graph, id: TensorId) -> Vec<f32> {
    let mut bytes = [0u8; 32];
    table.read_tensor(&graph[id], 0, &mut bytes).unwrap();
    common::floats(&bytes)
}

#[test]
fn what_was_prepared_runs_again_on_what_the_buffers_hold_then() {
    let (graph, x, out, mut table) = add_three();
    let mut backend = CpuBackend::new(Isa::detect(), 2).unwrap();
    let mut prepared = backend.prepare(&graph, 0..1, &table).unwrap();
    for value in [1f32, 2.0] {
        table.write_tensor(&graph[x], &common::bytes(&[value; 8])).unwrap();
        backend.run(&mut prepared, &mut table, None).unwrap();
        assert_eq!(values(&table, &graph, out), [value + 3.0; 8]);
    }
    // Other numbers of threads, and another backend of the same kind.
    backend.set_n_threads(5).unwrap();
    backend.run(&mut prepared, &mut table, None).unwrap();
    CpuBackend::new(Isa::SCALAR, 3).unwrap().run(&mut prepared, &mut table, None).unwrap();
    assert_eq!(values(&table, &graph, out), [5.0; 8]);
}

#[test]
fn what_was_prepared_never_follows_an_address_that_went_stale() {
    let (graph, x, out, mut table) = add_three();
    let mut backend = CpuBackend::new(Isa::detect(), 2).unwrap();
    let mut stale = |table: &mut BufferTable, prepared: &mut Prepared| {
        let error = backend.run(prepared, table, None).unwrap_err();
        assert!(matches!(error, Error::Stale), "{error}");
        *prepared = backend.prepare(&graph, 0..1, table).unwrap();
        table.write_tensor(&graph[x], &common::bytes(&[1f32; 8])).unwrap();
        backend.run(prepared, table, None).unwrap();
        assert_eq!(values(table, &graph, out), [4.0; 8]);
    };
    let mut prepared = CpuBackend::new(Isa::detect(), 1).unwrap().prepare(&graph, 0..1, &table).unwrap();
    // Another buffer in the place of the one it was prepared for, which is gone.
    table.replace_owned(BufferId(0), CpuBufferType.allocate(256).unwrap()).unwrap();
    stale(&mut table, &mut prepared);
    // One buffer more: nothing that is used moved, but the table says that it changed.
    table.add_owned(CpuBufferType.allocate(64).unwrap());
    stale(&mut table, &mut prepared);
    // Another table with a buffer of that number, and the two swapped back.
    let (_, _, _, mut other) = add_three();
    std::mem::swap(&mut table, &mut other);
    stale(&mut table, &mut prepared);
    std::mem::swap(&mut table, &mut other);
    stale(&mut table, &mut prepared);
    drop(other);
    // Who may write a buffer may put another in its place, and drop the old one, unseen by the table.
    let mut strange = CpuBufferType.allocate(256).unwrap();
    let generation = table.generation();
    let own = table.get_mut(BufferId(0)).unwrap().as_any_mut().downcast_mut::<CpuBuffer>().unwrap();
    std::mem::swap(own, strange.as_any_mut().downcast_mut().unwrap());
    drop(strange);
    assert_eq!(table.generation(), generation);
    stale(&mut table, &mut prepared);
    // Smaller memory at the same number.
    let mut small = CpuBufferType.allocate(8).unwrap();
    let own = table.get_mut(BufferId(0)).unwrap().as_any_mut().downcast_mut::<CpuBuffer>().unwrap();
    std::mem::swap(own, small.as_any_mut().downcast_mut().unwrap());
    let mut backend = CpuBackend::new(Isa::detect(), 1).unwrap();
    assert!(matches!(backend.run(&mut prepared, &mut table, None), Err(Error::Stale)));
    assert!(matches!(backend.prepare(&graph, 0..1, &table), Err(Error::OutOfBounds { .. })));
}

#[test]
fn what_was_prepared_does_not_follow_the_graph() {
    let (mut graph, x, out, mut table) = add_three();
    let mut backend = CpuBackend::new(Isa::detect(), 2).unwrap();
    let mut prepared = backend.prepare(&graph, 0..1, &table).unwrap();
    let generation = graph.generation();
    graph[out].storage = Storage::Planned { buffer: BufferId(0), offset: 1 << 40 };
    graph[x].ne = [usize::MAX; 4];
    assert_ne!(graph.generation(), generation);
    assert!(backend.prepare(&graph, 0..1, &table).is_err());
    drop(graph);
    backend.run(&mut prepared, &mut table, None).unwrap();
    let mut bytes = [0u8; 32];
    table.get(BufferId(0)).unwrap().read(128, &mut bytes).unwrap();
    assert_eq!(common::floats(&bytes), [3.0; 8]);
}

/// Bytes that lie somewhere else whenever one asks.
struct Wandering([Vec<u8>; 2], AtomicUsize);

impl AsRef<[u8]> for Wandering {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[test]
fn shared_bytes_that_move_are_refused() {
    let device = CpuDevice::default();
    let (mut graph, x, _, mut table) = add_three();
    for offset in 0..2 {
        let wandering = Wandering([vec![0; 256], vec![0; 128]], AtomicUsize::new(offset));
        let buffer = table.add_shared(device.buffer_from_host(Arc::new(wandering)).unwrap());
        graph[x].storage = Storage::External { buffer, offset: 0 };
        let mut backend = device.backend(1).unwrap();
        let outcome = backend
            .prepare(&graph, 0..1, &table)
            .and_then(|mut prepared| backend.run(&mut prepared, &mut table, None));
        assert!(matches!(outcome, Err(Error::Stale)), "{outcome:?}");
    }
}

#[test]
fn what_another_backend_prepared_is_refused() {
    let (_, _, _, mut table) = add_three();
    let mut backend = CpuBackend::new(Isa::detect(), 2).unwrap();
    let error = backend.run(&mut Prepared::new("a plan"), &mut table, None).unwrap_err();
    assert!(matches!(error, Error::NotPrepared { .. }), "{error}");
}

#[test]
fn backends_of_a_device_compute_at_the_same_time_from_several_threads() {
    let device = CpuDevice::default();
    // Large enough for all threads, and with products that lie on scratch.
    let build = |seed| {
        let mut case = Case::new(seed);
        let (w, _) = case.noise_f16([256, 300, 1, 1], 0.1);
        let (x, _) = case.noise([256, 40, 1, 1], 1.0);
        let mut out = case.graph.mul_mat(w, x).unwrap();
        for _ in 0..4 {
            out = case.graph.rms_norm(out, 1e-5).unwrap();
            out = case.graph.scale(out, 1.5, 0.25).unwrap();
        }
        case.graph.build_forward_expand(out);
        let table = case.bind();
        (case, out, table)
    };
    let run = |seed: u64, n_threads: usize, n_runs: usize| -> Vec<Vec<u8>> {
        let (case, out, mut table) = build(seed);
        let mut backend = device.backend(n_threads).unwrap();
        let mut prepared = backend.prepare(&case.graph, 0..case.graph.nodes().len(), &table).unwrap();
        let mut results = Vec::new();
        for _ in 0..n_runs {
            case.reset(&mut table);
            backend.run(&mut prepared, &mut table, None).unwrap();
            let mut bytes = vec![0; case.graph[out].n_bytes()];
            table.read_tensor(&case.graph[out], 0, &mut bytes).unwrap();
            results.push(bytes);
        }
        results
    };
    let alone: Vec<_> = (0..3).map(|seed| run(seed, 1, 1).remove(0)).collect();
    std::thread::scope(|scope| {
        for (seed, n_threads) in [(0, 8), (1, 8), (2, 3)] {
            let (run, alone) = (&run, &alone);
            scope.spawn(move || {
                for result in run(seed, n_threads, 10) {
                    assert!(result == alone[seed as usize], "the same bits");
                }
            });
        }
    });
}

/// Puts `memory` behind the table's back in the place of its only buffer, and gives back what was there.
fn exchange(table: &mut BufferTable, mut memory: Box<dyn Buffer>) -> Box<dyn Buffer> {
    let own = table.get_mut(BufferId(0)).unwrap().as_any_mut().downcast_mut::<CpuBuffer>().unwrap();
    std::mem::swap(own, memory.as_any_mut().downcast_mut().unwrap());
    memory
}

/// An allocator gives a block that was freed to whoever asks next: the address is the same, the memory is another.
#[test]
fn memory_that_was_freed_and_obtained_again_is_not_what_was_prepared_for() {
    let (graph, _, _, mut table) = add_three();
    let mut backend = CpuBackend::new(Isa::detect(), 1).unwrap();
    for _ in 0..64 {
        let mut prepared = backend.prepare(&graph, 0..1, &table).unwrap();
        let freed = exchange(&mut table, CpuBufferType.allocate(256).unwrap());
        drop(freed);
        // Of the same size as what was just freed.
        drop(exchange(&mut table, CpuBufferType.allocate(256).unwrap()));
        let outcome = backend.run(&mut prepared, &mut table, None);
        assert!(matches!(outcome, Err(Error::Stale)), "{outcome:?}");
    }
    // The same memory, put back where it was.
    let mut prepared = backend.prepare(&graph, 0..1, &table).unwrap();
    let own = exchange(&mut table, CpuBufferType.allocate(256).unwrap());
    drop(exchange(&mut table, own));
    backend.run(&mut prepared, &mut table, None).unwrap();
}

/// A buffer that is the table's own, of bytes that others have too.
#[derive(Debug)]
struct Borrowed(Arc<dyn Buffer>);

impl Buffer for Borrowed {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn type_name(&self) -> &str {
        self.0.type_name()
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        self.0.read(offset, out)
    }

    fn write(&mut self, _: usize, _: &[u8]) -> Result<(), Error> {
        Err(Error::ReadOnly { what: "borrowed bytes".to_owned() })
    }

    fn write_weight(&mut self, _: usize, _: DType, _: [usize; 4], _: &[u8]) -> Result<(), Error> {
        self.write(0, &[])
    }

    fn clear(&mut self) {}

    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[test]
fn host_memory_that_others_have_too_is_not_taken_for_writable() {
    let device = CpuDevice::default();
    let shared = device.buffer_from_host(Arc::new(vec![0u8; 512])).unwrap();
    let mut own = CpuBufferType.allocate(512).unwrap();
    own.write(0, &[0; 512]).unwrap();
    for (buffer, is_refusal) in [
        (shared, (|error| matches!(error, Error::ReadOnly { .. })) as fn(&Error) -> bool),
        // Memory to write to, but the table cannot lend it to anybody for himself.
        (Arc::from(own), |error| matches!(error, Error::Stale)),
    ] {
        let (mut graph, _, out, mut table) = add_three();
        let borrowed = table.add_owned(Box::new(Borrowed(Arc::clone(&buffer))));
        assert!(table.is_owned(borrowed));
        graph[out].storage = Storage::Planned { buffer: borrowed, offset: 0 };
        let error = device.backend(1).unwrap().compute(&graph, 0..1, &mut table, None).unwrap_err();
        assert!(is_refusal(&error), "{error}");
        let mut bytes = [1; 512];
        buffer.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 512]);
    }
}

/// A rotation of one row by factors that look like the row: what the rotated row must not lie over.
fn rotation(case: &mut Case) -> (TensorId, TensorId, TensorId) {
    let params = RopeParams {
        n_dims: 64,
        mode: RopeMode::Neox,
        n_ctx_orig: 64,
        freq_base: 1e4,
        freq_scale: 1.0,
        ext_factor: 0.0,
        attn_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };
    let (row, _) = case.noise([64, 1, 1, 1], 1.0);
    let pos = case.leaf(DType::I32, [1, 1, 1, 1], bytes(&[7i32]));
    let factors = case.leaf(DType::F32, [64, 1, 1, 1], bytes(&[2f32; 64]));
    // Computed, so that its place is the planner's to give away.
    let factors = case.graph.scale(factors, 1.5, 0.0).unwrap();
    let turned = case.graph.rope(row, pos, Some(factors), params).unwrap();
    case.graph.set_output(turned);
    (row, factors, turned)
}

#[test]
fn a_rotation_never_lies_over_its_own_factors() {
    let mut case = Case::new(50);
    let (row, factors, turned) = rotation(&mut case);
    assert!(case.graph[factors].same_layout(&case.graph[turned]));
    // The row is kept, so that the factors are the only operand whose place could be taken.
    case.graph.set_output(row);
    case.graph.build_forward_expand(turned);
    let mut expected = vec![0; 256];
    let mut table = case.bind();
    let mut backend = CpuBackend::new(Isa::detect(), 2).unwrap();
    let n_nodes = case.graph.nodes().len();
    backend.compute(&case.graph, 0..n_nodes, &mut table, None).unwrap();
    table.read_tensor(&case.graph[turned], 0, &mut expected).unwrap();
    // Placed by hand.
    let mut graph = case.graph.clone();
    graph[turned].storage = graph[factors].storage;
    let error = backend.compute(&graph, 0..n_nodes, &mut table, None).unwrap_err();
    assert!(error.to_string().contains("over the bytes of operand 2"), "{error}");
    // Placed by the planner.
    let mut planned = Case::new(50);
    let (row, factors, turned) = rotation(&mut planned);
    let graph = &mut planned.graph;
    graph.set_output(row);
    graph.build_forward_expand(turned);
    let mut buffers = BufferTable::new();
    let mut scheduler = Scheduler::new(vec![Box::new(backend)]).unwrap();
    scheduler.alloc_graph(graph, &mut buffers).unwrap();
    assert_ne!(graph[turned].storage, graph[factors].storage);
    for (id, bytes) in &planned.data {
        buffers.write_tensor(&graph[*id], bytes).unwrap();
    }
    scheduler.compute(graph, &mut buffers, None).unwrap();
    let mut found = vec![0; 256];
    buffers.read_tensor(&graph[turned], 0, &mut found).unwrap();
    assert_eq!(found, expected);
}

/// Where a matrix has one row, nobody looks at how far the next one would be; the kernels ask for it ahead of time.
#[test]
fn the_stride_of_a_single_row_leads_nowhere() {
    for dtype in [DType::F32, DType::Q8_0] {
        for n_cols in [1, 4, 5, 8] {
            let product = |stride: Option<usize>| {
                let mut case = Case::new(51);
                let w = vec![0x11; dtype.row_bytes(64).unwrap()];
                let w = case.leaf(dtype, [64, 1, 1, 1], w);
                let (x, _) = case.noise([64, n_cols, 1, 1], 1.0);
                let out = case.graph.mul_mat(w, x).unwrap();
                if let Some(stride) = stride {
                    case.graph[w].nb[1] = stride;
                }
                case.run_both(out)
            };
            let expected = product(None);
            for stride in [0, usize::MAX / 8 + 1, usize::MAX - 63] {
                assert!(product(Some(stride)) == expected, "{dtype}, {n_cols} columns, stride {stride}");
            }
        }
    }
}
