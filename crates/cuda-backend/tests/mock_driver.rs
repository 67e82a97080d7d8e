//! The real driver's path - shim, cust, raw calls - against a libcuda.so.1 that is built here and has no GPU.
//!
//! The library must be there when a process first asks for it, so every check runs in a child of this test.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_backend::{BufferTable, Device, Error, Scheduler};
use quipu_cuda_backend::{CudaDevice, Purpose, probe};
use quipu_graph::{DType, Graph, UnaryOp};

/// Set in children: what to check.
const CHECK: &str = "QUIPU_MOCK_CHECK";

/// Builds the library; `None` without a C compiler.
fn build(dir: &Path) -> Option<()> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mock/libcuda.c");
    let library = dir.join("libcuda.so.1");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&library).arg(&source);
    match cc.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
        Err(error) => {
            println!("skipped: no C compiler ({error})");
            None
        }
    }
}

/// Runs the test `child` once more in a process that finds the library in `dir`.
fn child(dir: &Path, check: &str, fail: Option<&str>) {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", "in_a_child", "--nocapture"]);
    command.env("LD_LIBRARY_PATH", dir).env(CHECK, check).env_remove("MOCK_FAIL");
    if let Some(fail) = fail {
        command.env("MOCK_FAIL", fail);
    }
    let output = command.output().expect("starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("checked"), "{check}, {fail:?}:\n{text}");
}

#[test]
fn the_real_path_holds_against_a_mock_of_the_driver() {
    let dir = tempfile::tempdir().expect("a folder");
    if build(dir.path()).is_none() {
        return;
    }
    child(dir.path(), "works", None);
    for fail in ["cuInit=100", "cuInit=999", "cuDeviceGetCount=3"] {
        child(dir.path(), "no device", Some(fail));
    }
    for fail in ["cuDevicePrimaryCtxRetain=2", "cuStreamCreate=1", "cuMemHostAlloc=2", "cuCtxSetCurrent=201"]
    {
        child(dir.path(), "refused device", Some(fail));
    }
    // A code that cust's bindings do not have, too.
    for fail in ["cuMemAlloc_v2=2", "cuMemAlloc_v2=913", "cuMemsetD8Async=719"] {
        child(dir.path(), "refused memory", Some(fail));
    }
    for fail in [
        "cuModuleLoadDataEx=218",
        "cuModuleGetFunction=500",
        "cuLaunchKernel=719",
        "cuStreamSynchronize=700",
        "cuGraphLaunch=700",
    ] {
        child(dir.path(), "refused run", Some(fail));
    }
}

#[test]
fn without_a_driver_there_is_no_device_and_no_crash() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("libcuda.so.1"), "not a library").expect("writable");
    child(dir.path(), "no driver", None);
}

/// What children do; nothing in the parent.
#[test]
fn in_a_child() {
    let Ok(check) = std::env::var(CHECK) else { return };
    let fail = std::env::var("MOCK_FAIL").unwrap_or_default();
    let (call, code) = fail.split_once('=').unwrap_or_default();
    let named = |error: &str| {
        assert!(error.contains(call) && error.contains(&format!("answered {code}")), "{error}");
    };
    match check.as_str() {
        "works" => works(),
        "works without recordings" => {
            let values = run(&device()).unwrap();
            assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32 + 1.0));
        }
        "no driver" => {
            let error = probe(|_, _| ()).expect_err("no library").to_string();
            assert!(error.starts_with("no CUDA driver: ") && error.contains("libcuda.so.1"), "{error}");
        }
        "no device" => named(&probe(|_, _| ()).expect_err(&fail).to_string()),
        "refused device" => {
            let mut refusals = Vec::new();
            let devices = probe(|ordinal, message| refusals.push((ordinal, message))).expect("a driver");
            assert!(devices.is_empty());
            named(&refusals[0].1);
        }
        "refused memory" => {
            let gpu = device();
            let error = gpu.buffer_type().allocate(12345).expect_err(&fail).to_string();
            named(&error);
            assert!(error.contains("12544 bytes") || error.contains("12345 bytes"), "{error}");
            assert_eq!(gpu.ledger().device_bytes(), 0);
        }
        "refused run" => {
            let gpu = device();
            let error = run(&gpu).expect_err(&fail).to_string();
            named(&error);
            assert!(
                call != "cuModuleLoadDataEx" || error.contains("ptxas error   : mock says no"),
                "{error}"
            );
            assert!(call != "cuLaunchKernel" || error.contains("for scale"), "{error}");
        }
        other => panic!("no check called {other}"),
    }
    println!("checked");
}

fn device() -> CudaDevice {
    let mut devices = probe(|_, message| panic!("{message}")).expect("the mock");
    assert_eq!(devices.len(), 1);
    devices.remove(0)
}

/// `(2 x + 1) + y`.
fn run(gpu: &CudaDevice) -> Result<Vec<f32>, Error> {
    let mut graph = Graph::new();
    let ne = [300, 7, 1, 1];
    let (x, y) = (graph.input("x", DType::F32, ne).unwrap(), graph.input("y", DType::F32, ne).unwrap());
    let scaled = graph.scale(x, 2.0, 1.0).unwrap();
    let out = graph.add(scaled, y).unwrap();
    graph.set_output(out);
    graph.build_forward_expand(out);
    let mut buffers = BufferTable::new();
    let mut scheduler = Scheduler::new(vec![gpu.backend(1)?])?;
    scheduler.alloc_graph(&mut graph, &mut buffers)?;
    let bytes = |f: &dyn Fn(usize) -> f32| (0..2100).flat_map(|i| f(i).to_le_bytes()).collect::<Vec<u8>>();
    // The first run is launched, the second recorded, the third replayed. Results may take the place of inputs.
    for _ in 0..3 {
        buffers.write_tensor(&graph[x], &bytes(&|i| i as f32))?;
        buffers.write_tensor(&graph[y], &bytes(&|i| -(i as f32)))?;
        scheduler.compute(&graph, &mut buffers, None)?;
    }
    let mut result = vec![0; 2100 * 4];
    buffers.read_tensor(&graph[out], 0, &mut result)?;
    Ok(result.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn works() {
    let gpu = device();
    assert_eq!((gpu.name(), gpu.info().name.as_str()), ("CUDA0", "mock device"));
    assert_eq!(gpu.info().compute_capability, (9, 0));
    assert_eq!((gpu.info().n_multiprocessors, gpu.info().driver_version), (2, 13000));
    assert_eq!(gpu.memory().total, 64 << 20);
    // Several slots' worth, from another thread than the one that made the device.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let data: Vec<u8> = (0..9_000_001u32).map(|i| (i % 251) as u8).collect();
            let mut buffer = gpu.buffer_type().allocate(data.len()).unwrap();
            let mut back = vec![1; data.len()];
            buffer.read(0, &mut back).unwrap();
            assert!(back.iter().all(|b| *b == 0), "zeroed");
            buffer.write(0, &data).unwrap();
            buffer.read(0, &mut back).unwrap();
            assert!(back == data);
        });
    });
    assert_eq!(gpu.ledger().bytes(Purpose::Cache), 0);
    assert_eq!(gpu.memory().free, 64 << 20);
    let values = run(&gpu).unwrap();
    assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32 + 1.0), "arguments in their order");
    // SAFETY: a function of the mock that takes nothing and gives an int.
    let replays = quipu_cuda_driver_shim::symbol(c"quipu_mock_replays").map(|address| unsafe {
        std::mem::transmute::<*mut std::ffi::c_void, extern "C" fn() -> i32>(address.as_ptr())()
    });
    assert_eq!(replays, Some(2));
    assert!(gpu.copy_bandwidth(1 << 20, 2).unwrap() > 0.0);
    // More than there is: the call, the code, and the bytes.
    let error = gpu.buffer_type().allocate(80 << 20).expect_err("too large").to_string();
    for part in ["cuMemAlloc_v2 answered 2 (CUDA_ERROR_OUT_OF_MEMORY)", "83886080 bytes"] {
        assert!(error.contains(part), "{error}");
    }
    // The mock knows no other kernels: its refusal comes through.
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, [8, 1, 1, 1]).unwrap();
    let out = graph.unary(UnaryOp::Silu, x).unwrap();
    graph.build_forward_expand(out);
    let mut buffers = BufferTable::new();
    let mut scheduler = Scheduler::new(vec![gpu.backend(1).unwrap()]).unwrap();
    scheduler.alloc_graph(&mut graph, &mut buffers).unwrap();
    let error = scheduler.compute(&graph, &mut buffers, None).expect_err("unknown kernel").to_string();
    assert!(error.contains("cuLaunchKernel answered 719") && error.contains("for silu"), "{error}");
    drop((scheduler, buffers));
    assert_eq!(gpu.ledger().device_bytes(), 0);
    assert_eq!(gpu.memory().free, 64 << 20);
}
