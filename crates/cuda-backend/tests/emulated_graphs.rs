//! Single ops through the whole backend: planned, launched in the emulation, and compared with the CPU's results.

mod device;
#[path = "device/emulated.rs"]
mod emulated_device;

use std::collections::BTreeSet;

use device::cases;
use emulated_device::{emulated, skipped};
use quipu_backend::{BufferTable, Device, Error, Scheduler};
use quipu_cpu_backend::CpuDevice;
use quipu_cuda_backend::kernels::KERNELS;
use quipu_graph::{DType, Graph, Storage, TensorId};

/// Kernels that no op of a graph leads to yet.
const UNREACHED: [&str; 6] =
    ["argmax", "set_rows_f32_i32", "set_rows_f16_i32", "set_rows_bf16_i32", "copy_f32_bf16", "copy_bf16_f32"];

#[test]
fn every_op_agrees_with_the_cpu_and_reaches_its_kernels() {
    if skipped() {
        return;
    }
    let (gpu, driver) = emulated(1 << 28);
    let cpu = CpuDevice::default();
    let cases = cases::all();
    let mut failed = Vec::new();
    for case in &cases {
        let outcome = cases::run(case, &gpu, &cpu).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        if !outcome.passed() {
            failed.push(outcome);
        }
    }
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), cases.len());
    let used: BTreeSet<&str> = gpu.take_used_kernels().into_iter().collect();
    let missing: Vec<&str> = KERNELS.iter().map(|k| k.name).filter(|name| !used.contains(name)).collect();
    let expected: Vec<&str> =
        KERNELS.iter().map(|k| k.name).filter(|name| UNREACHED.contains(name)).collect();
    assert_eq!(missing, expected);
    assert_eq!(driver.device_bytes(), 0);
}

#[test]
fn row_numbers_out_of_range_are_an_error_that_names_them() {
    if skipped() {
        return;
    }
    let (gpu, _) = emulated(1 << 24);
    let mut scheduler = Scheduler::new(vec![gpu.backend(1).unwrap()]).unwrap();
    let mut buffers = BufferTable::new();
    let mut graph = Graph::new();
    let table = graph.input("table", DType::F32, [8, 5, 1, 1]).unwrap();
    let ids = graph.input("ids", DType::I32, [3, 1, 1, 1]).unwrap();
    let rows = graph.get_rows(table, ids).unwrap();
    graph.set_output(rows);
    graph.build_forward_expand(rows);
    scheduler.alloc_graph(&mut graph, &mut buffers).unwrap();
    for (bad, numbers) in [(5, [0, 5, 1]), (-2, [4, 4, -2])] {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
        buffers.write_tensor(&graph[ids], &bytes).unwrap();
        let error = scheduler.compute(&graph, &mut buffers, None).expect_err("no such row");
        let expected = format!("GET_ROWS: row {bad} of table, expected a row below 5");
        assert_eq!(error.to_string(), expected);
    }
    // The next run starts with counters of zero.
    buffers.write_tensor(&graph[ids], &[0; 12]).unwrap();
    scheduler.compute(&graph, &mut buffers, None).unwrap();
}

/// What somebody does to a graph of one node, given its operand and its result.
type Edit = Box<dyn Fn(&mut Graph, TensorId, TensorId)>;

#[test]
fn edited_graphs_are_refused_and_not_launched() {
    let driver = quipu_cuda_backend::RecordingDriver::new(1 << 24);
    let gpu = quipu_cuda_backend::CudaDevice::new(0, Box::new(driver.clone())).unwrap();
    let mut backend = gpu.backend(1).unwrap();
    let build = |edit: &dyn Fn(&mut Graph, TensorId, TensorId)| {
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F32, [64, 4, 1, 1]).unwrap();
        let out = graph.scale(x, 2.0, 0.0).unwrap();
        graph.set_output(out);
        graph.build_forward_expand(out);
        let mut buffers = BufferTable::new();
        let mut scheduler = Scheduler::new(vec![gpu.backend(1).unwrap()]).unwrap();
        scheduler.alloc_graph(&mut graph, &mut buffers).unwrap();
        edit(&mut graph, x, out);
        (graph, buffers)
    };
    let edits: Vec<(&str, Edit)> = vec![
        (
            "a shape beyond the buffer",
            Box::new(|g, x, out| {
                for id in [x, out] {
                    g[id].ne[1] = 4000;
                    g[id].nb[2] = 256 * 4000;
                    g[id].nb[3] = 256 * 4000;
                }
            }),
        ),
        ("another type", Box::new(|g, x, _| g[x].dtype = DType::F16)),
        ("strides that overflow", Box::new(|g, x, _| g[x].nb[1] = usize::MAX / 2)),
        (
            "dimensions whose product overflows",
            Box::new(|g, x, out| {
                for id in [x, out] {
                    g[id].ne = [64, usize::MAX / 4, 8, 1];
                }
            }),
        ),
        (
            "a result over half of its operand",
            Box::new(|g, x, out| {
                let (buffer, offset) = g[x].storage.location().unwrap();
                g[out].storage = Storage::Planned { buffer, offset: offset + 128 };
            }),
        ),
        ("no memory", Box::new(|g, x, _| g[x].storage = Storage::Unbound)),
        (
            "an odd address",
            Box::new(|g, x, _| {
                let (buffer, offset) = g[x].storage.location().unwrap();
                g[x].storage = Storage::Planned { buffer, offset: offset + 2 };
            }),
        ),
        ("no operand", Box::new(|g, _, out| g[out].src.clear())),
    ];
    for (what, edit) in edits {
        let (graph, mut buffers) = build(&*edit);
        driver.take_calls();
        let error = backend.compute(&graph, 0..1, &mut buffers, None).expect_err(what);
        assert!(!matches!(error, Error::Device { .. }), "{what}: {error}");
        let launched =
            driver.take_calls().iter().any(|c| matches!(c, quipu_cuda_backend::Call::Launch { .. }));
        assert!(!launched, "{what}");
    }
    let (graph, mut buffers) = build(&|_, _, _| {});
    let error = backend.compute(&graph, 0..9, &mut buffers, None).expect_err("too many nodes");
    assert!(matches!(error, Error::NodeRange { .. }), "{error}");
    backend.compute(&graph, 0..1, &mut buffers, None).unwrap();
}
