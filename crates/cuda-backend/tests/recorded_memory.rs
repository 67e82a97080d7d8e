//! What goes to a device and when, looked up in the record of a device that is not there.

mod device;

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use device::{llama, load, params, tokens};
use quipu_backend::{BufferTable, Device, Error, Prepared};
use quipu_cuda_backend::driver::{DeviceInfo, Driver, Value};
use quipu_cuda_backend::{Call, CudaBuffer, CudaDevice, Purpose, RecordingDriver};
use quipu_decoder::{Batch, Context};
use quipu_gguf::GgufFile;
use quipu_graph::{BufferId, DType, Graph, Storage};
use quipu_model::{LoadOptions, LoadParams, Model};

fn recording(total: usize) -> (CudaDevice, RecordingDriver) {
    let driver = RecordingDriver::new(total);
    (CudaDevice::new(0, Box::new(driver.clone())).expect("new enough"), driver)
}

fn copies_in(calls: &[Call]) -> Vec<(u64, usize)> {
    let copy = |call: &Call| if let Call::CopyIn { to, len } = call { Some((*to, *len)) } else { None };
    calls.iter().filter_map(copy).collect()
}

fn allocations(calls: &[Call]) -> Vec<(u64, usize)> {
    let alloc =
        |call: &Call| if let Call::Alloc { address, size } = call { Some((*address, *size)) } else { None };
    calls.iter().filter_map(alloc).collect()
}

fn one_token(position: i32) -> Batch {
    let mut batch = Batch::new();
    batch.add(5, position, &[0], true);
    batch
}

#[test]
fn weights_go_up_in_bounded_chunks_from_the_mapped_file_into_one_reservation() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&llama(6, &[DType::F32])).unwrap();
    for chunk in [1 << 20, 4096] {
        let (gpu, driver) = recording(1 << 28);
        let options = LoadOptions { upload_chunk: chunk, ..LoadOptions::default() };
        let set = options.open(file.path()).unwrap();
        let model = Model::load_set(&set, &gpu, &mut options.into()).unwrap();
        let calls = driver.take_calls();
        let stats = model.load_stats();
        let reserved = allocations(&calls);
        assert_eq!(reserved.len(), 1, "one reservation for all weights");
        let copies = copies_in(&calls);
        assert!(copies.iter().all(|(_, len)| *len <= chunk));
        assert_eq!(copies.iter().map(|(_, len)| *len as u64).sum::<u64>(), stats.bytes_uploaded);
        assert_eq!(stats.bytes_uploaded, stats.bytes_total);
        assert_eq!((stats.bytes_read, stats.bytes_mapped), (0, 0), "nothing of it stays on the host");
        let (start, size) = reserved[0];
        let mut end = start;
        for (i, (to, len)) in copies.iter().enumerate() {
            // In order, without overlaps, inside; a tensor starts on 256 bytes.
            assert!(*to >= end && to + *len as u64 <= start + size as u64, "copy {i}");
            assert!(*to == end || to.is_multiple_of(256), "copy {i}");
            end = to + *len as u64;
        }
        // One block of pinned memory for each slot, whatever the model's size.
        assert_eq!(driver.pinned_blocks(), 4);
        drop(model);
        assert_eq!(driver.device_bytes(), 0);
    }
}

#[test]
fn what_was_uploaded_is_what_comes_back() {
    let (gpu, _) = recording(1 << 26);
    let mut buffer = gpu.buffer_type().allocate(5_000_003).unwrap();
    let mut zeros = vec![1u8; 5_000_003];
    buffer.read(0, &mut zeros).unwrap();
    assert!(zeros.iter().all(|b| *b == 0), "new memory is zeroed");
    // Longer than all slots together: each is used again while earlier copies wait. No period of a power of two.
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
    buffer.write(3, &data).unwrap();
    let mut back = vec![0; data.len()];
    buffer.read(3, &mut back).unwrap();
    assert!(back == data);
    for (offset, len) in [(4, 5_000_000), (usize::MAX, 2), (5_000_004, 0)] {
        let error = buffer.write(offset, &vec![0; len]).expect_err("outside");
        assert!(matches!(error, Error::OutOfBounds { .. }), "{error}");
    }
    buffer.clear();
    buffer.read(0, &mut zeros).unwrap();
    assert!(zeros.iter().all(|b| *b == 0));
}

#[test]
fn weights_stay_and_a_token_costs_a_few_bytes() {
    let (gpu, driver) = recording(1 << 28);
    let mut context = Context::new(load(&llama(2, &[DType::Q8_0]), &gpu), &gpu, &params()).unwrap();
    context.decode(&one_token(0)).unwrap();
    context.decode(&one_token(1)).unwrap();
    driver.take_calls();
    context.decode(&one_token(2)).unwrap();
    let calls = driver.take_calls();
    assert_eq!(allocations(&calls), []);
    let up: usize = copies_in(&calls).iter().map(|(_, len)| len).sum();
    // Token, position, cell, row of the output, mask of 256 cells.
    assert!(up <= 4 + 4 + 8 + 4 + 512, "{up} bytes for one token");
    let waits = calls.iter().filter(|call| **call == Call::Wait).count();
    assert!(waits <= 8, "{waits} waits for one token");
}

#[test]
fn the_ledger_says_who_holds_what_and_returns_to_zero() {
    let (gpu, driver) = recording(1 << 28);
    let held = |purpose| gpu.ledger().bytes(purpose);
    assert_eq!(gpu.ledger().device_bytes(), 0);
    assert_eq!(held(Purpose::Staging), 4 << 20);
    let model = load(&llama(2, &[DType::Q8_0]), &gpu);
    assert!(held(Purpose::Weights) >= model.load_stats().bytes_uploaded);
    assert_eq!(held(Purpose::Cache), 0);
    let mut context = Context::new(Arc::clone(&model), &gpu, &params()).unwrap();
    assert_eq!(held(Purpose::Cache), 2 * 256 * (128 + 128) * 2);
    context.decode(&one_token(0)).unwrap();
    assert!(held(Purpose::Compute) > 0 && held(Purpose::Scratch) > 0);
    assert_eq!(gpu.ledger().device_bytes(), driver.device_bytes() as u64);
    assert_eq!(gpu.memory().free, (1 << 28) - driver.device_bytes() as u64);
    drop(context);
    for purpose in [Purpose::Cache, Purpose::Compute, Purpose::Scratch] {
        assert_eq!(held(purpose), 0, "{purpose}");
    }
    assert!(held(Purpose::Weights) > 0);
    drop(model);
    assert_eq!((gpu.ledger().device_bytes(), driver.device_bytes()), (0, 0));
}

#[test]
fn a_device_that_is_too_small_says_what_it_was_asked_for_and_keeps_nothing() {
    let bytes = llama(2, &[DType::F32]);
    let file = GgufFile::from_vec(bytes.clone()).unwrap();
    let (gpu, driver) = recording(1 << 20);
    let error = Model::load(&file, &gpu, &mut LoadParams::default()).expect_err("too large").to_string();
    for part in ["CUDA0", "weights", "cuMemAlloc_v2", "2 (CUDA_ERROR_OUT_OF_MEMORY)", "bytes"] {
        assert!(error.contains(part), "{part} in: {error}");
    }
    assert_eq!((gpu.ledger().device_bytes(), driver.device_bytes()), (0, 0));
    // Room for the weights, none for the cache; then for both, but not for the graph.
    let (gpu, driver) = recording(1 << 28);
    let weights = load(&bytes, &gpu).load_stats().bytes_total as usize;
    drop((gpu, driver));
    for extra in [100_000, 700_000] {
        let (gpu, driver) = recording(weights + extra);
        let model = load(&bytes, &gpu);
        let error = match Context::new(Arc::clone(&model), &gpu, &params()) {
            Err(error) => error.to_string(),
            Ok(mut context) => {
                let ids = tokens(200);
                let mut batch = Batch::new();
                for (i, token) in ids.iter().enumerate() {
                    batch.add(*token, i as i32, &[0], true);
                }
                let error = context.decode(&batch).expect_err("no room for the graph").to_string();
                // A smaller one has room.
                context.decode(&one_token(0)).unwrap();
                error
            }
        };
        assert!(error.contains("cuMemAlloc_v2"), "{error}");
        drop(model);
        assert_eq!(driver.device_bytes(), 0);
    }
}

#[test]
fn a_cancelled_load_gives_everything_back() {
    let (gpu, driver) = recording(1 << 28);
    let file = GgufFile::from_vec(llama(3, &[DType::F32])).unwrap();
    let calls = Cell::new(0);
    let mut progress = |_: f32| {
        calls.set(calls.get() + 1);
        calls.get() < 9
    };
    let mut load_params = LoadParams { progress: Some(&mut progress), ..LoadParams::default() };
    Model::load(&file, &gpu, &mut load_params).expect_err("cancelled");
    assert_eq!(calls.get(), 9);
    assert!(!copies_in(&driver.take_calls()).is_empty(), "it was under way");
    assert_eq!((gpu.ledger().device_bytes(), driver.device_bytes()), (0, 0));
}

#[test]
fn an_aborted_decode_stops_between_launches_and_the_next_one_runs() {
    let (gpu, driver) = recording(1 << 28);
    let mut context = Context::new(load(&llama(2, &[DType::Q8_0]), &gpu), &gpu, &params()).unwrap();
    context.decode(&one_token(0)).unwrap();
    driver.take_calls();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    context.set_abort_callback(Some(Box::new(move || count.fetch_add(1, Ordering::Relaxed) >= 5)));
    let error = context.decode(&one_token(1)).expect_err("aborted");
    assert!(error.to_string().contains("aborted"), "{error}");
    let calls = driver.take_calls();
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Launch { .. })).count(), 5);
    // What was queued was waited for.
    assert_eq!(calls.last(), Some(&Call::Wait));
    context.set_abort_callback(None);
    context.decode(&one_token(1)).unwrap();
}

#[test]
fn refusals_name_the_call_the_code_and_the_bytes() {
    let (gpu, driver) = recording(1 << 28);
    let bytes = llama(1, &[DType::Q8_0]);
    let file = GgufFile::from_vec(bytes.clone()).unwrap();
    driver.refuse(Some(("cuMemcpyHtoDAsync_v2", 719)));
    let error = Model::load(&file, &gpu, &mut LoadParams::default()).expect_err("refused");
    assert!(error.to_string().contains("cuMemcpyHtoDAsync_v2 answered 719"), "{error}");
    assert!(error.to_string().contains("bytes"), "{error}");
    assert_eq!(driver.device_bytes(), 0);
    driver.refuse(None);
    let mut context = Context::new(load(&bytes, &gpu), &gpu, &params()).unwrap();
    for (call, code) in [("cuModuleLoadDataEx", 218), ("cuLaunchKernel", 701), ("cuEventSynchronize", 700)] {
        driver.refuse(Some((call, code)));
        let error = context.decode(&one_token(0)).expect_err(call).to_string();
        assert!(error.contains(&format!("CUDA0: {call} answered {code}")), "{error}");
        driver.refuse(None);
    }
    context.decode(&one_token(0)).unwrap();
    drop(context);
    assert_eq!(driver.device_bytes(), 0);
}

#[test]
fn a_thousand_loads_leave_memory_as_it_was() {
    let (gpu, driver) = recording(1 << 28);
    let file = GgufFile::from_vec(llama(1, &[DType::Q4_0])).unwrap();
    for _ in 0..1000 {
        let model = Model::load(&file, &gpu, &mut LoadParams::default()).unwrap();
        drop(model);
        driver.take_calls();
    }
    assert_eq!((driver.device_bytes(), driver.pinned_blocks()), (0, 4));
    drop(gpu);
    assert_eq!(driver.pinned_blocks(), 0);
}

#[test]
fn devices_and_drivers_that_are_too_old_are_refused_in_words() {
    let info = |compute_capability, driver_version| DeviceInfo {
        name: "old".to_owned(),
        compute_capability,
        n_multiprocessors: 1,
        driver_version,
    };
    for (info, expected) in [
        (info((7, 5), 13000), "CUDA3: compute capability 7.5, expected 8.0 or newer"),
        (info((9, 0), 12040), "CUDA3: a driver for CUDA 12.4, expected 13.0 or newer (release 580)"),
    ] {
        let driver = RecordingDriver::new(1 << 24).with_info(info);
        let error = CudaDevice::new(3, Box::new(driver.clone())).expect_err("too old");
        assert_eq!(error.to_string(), expected);
        assert_eq!(driver.pinned_blocks(), 0);
    }
    let driver = RecordingDriver::new(1 << 24);
    driver.refuse(Some(("cuMemHostAlloc", 2)));
    let error = CudaDevice::new(0, Box::new(driver)).expect_err("no pinned memory").to_string();
    assert!(error.contains("cuMemHostAlloc answered 2") && error.contains("1048576 bytes"), "{error}");
}

/// A product whose activations are prepared in the backend's scratch, all of it in a table of one buffer.
fn product(gpu: &CudaDevice, k: usize, n: usize) -> (Graph, BufferTable) {
    let mut graph = Graph::new();
    let w = graph.leaf("w", DType::Q8_0, [k, 32, 1, 1]).unwrap();
    let x = graph.leaf("x", DType::F32, [k, n, 1, 1]).unwrap();
    let out = graph.mul_mat(w, x).unwrap();
    graph.build_forward_expand(out);
    let mut end = 0;
    for id in [w, x, out] {
        graph[id].storage = Storage::Planned { buffer: BufferId(0), offset: end };
        end += graph[id].n_bytes().next_multiple_of(256);
    }
    let mut table = BufferTable::new();
    table.add_owned(gpu.buffer_type().allocate(end).unwrap());
    (graph, table)
}

#[test]
fn a_plan_repeats_as_a_recording_until_the_scratch_moves() {
    let (gpu, driver) = recording(1 << 28);
    let mut backend = gpu.backend(1).unwrap();
    let (small, mut small_table) = product(&gpu, 256, 1);
    let (large, mut large_table) = product(&gpu, 32768, 8);
    let mut prepared = backend.prepare(&small, 0..1, &small_table).unwrap();
    let mut run = |prepared: &mut Prepared, table: &mut BufferTable| {
        driver.take_calls();
        backend.run(prepared, table, None).unwrap();
        let calls = driver.take_calls();
        let replayed = calls.iter().any(|call| matches!(call, Call::Replay { .. }));
        // Addresses that launches got besides tensors: the scratch.
        let pointer = |value: &Value| if let Value::Ptr(at) = value { Some(*at) } else { None };
        let scratch: Vec<u64> = calls
            .iter()
            .filter_map(|call| if let Call::Launch { args, .. } = call { Some(args) } else { None })
            .flat_map(|args| args.iter().filter_map(pointer))
            .collect();
        (replayed, scratch)
    };
    let (replayed, first) = run(&mut prepared, &mut small_table);
    assert!(!replayed && !first.is_empty());
    assert!(run(&mut prepared, &mut small_table).0, "recorded, and replayed");
    assert_eq!(run(&mut prepared, &mut small_table), (true, vec![]));
    // A larger plan of the same backend moves the scratch.
    let mut larger = gpu.backend(1).unwrap().prepare(&large, 0..1, &large_table).unwrap();
    let (_, moved) = run(&mut larger, &mut large_table);
    assert_ne!(moved, first);
    // What was recorded with the old one is not replayed, and the launches are given the new one.
    assert_eq!(run(&mut prepared, &mut small_table), (false, moved));
    assert!(run(&mut prepared, &mut small_table).0);
    drop((prepared, larger));
    assert_eq!(driver.recordings(), 0);
}

#[test]
fn what_was_prepared_never_reaches_memory_that_went_stale() {
    let (gpu, driver) = recording(1 << 28);
    let mut backend = gpu.backend(1).unwrap();
    let (mut graph, mut table) = product(&gpu, 256, 1);
    let mut prepared = backend.prepare(&graph, 0..1, &table).unwrap();
    let mut refused = |prepared: &mut Prepared, table: &mut BufferTable| {
        driver.take_calls();
        let error = backend.run(prepared, table, None).expect_err("stale");
        assert!(matches!(error, Error::Stale), "{error}");
        assert!(!driver.take_calls().iter().any(|call| matches!(call, Call::Launch { .. })));
    };
    // Another table; another buffer at the same number; another inside of the same buffer.
    let (_, mut other) = product(&gpu, 256, 1);
    refused(&mut prepared, &mut other);
    let size = table.get(BufferId(0)).unwrap().size();
    let fresh = || gpu.buffer_type().allocate(size).unwrap();
    table.replace_owned(BufferId(0), fresh()).unwrap();
    refused(&mut prepared, &mut table);
    let mut prepared = gpu.backend(1).unwrap().prepare(&graph, 0..1, &table).unwrap();
    let mut strange = fresh();
    let inside = table.get_mut(BufferId(0)).unwrap().as_any_mut().downcast_mut::<CudaBuffer>().unwrap();
    std::mem::swap(inside, strange.as_any_mut().downcast_mut().unwrap());
    drop(strange);
    refused(&mut prepared, &mut table);
    // Edits of the graph are not followed: what was prepared is what it was.
    let mut prepared = backend.prepare(&graph, 0..1, &table).unwrap();
    let out = graph.nodes()[0];
    graph[out].storage = Storage::Planned { buffer: BufferId(0), offset: 1 << 40 };
    backend.run(&mut prepared, &mut table, None).unwrap();
    assert!(backend.prepare(&graph, 0..1, &table).is_err());
    // Nor does a plan run on another device, or one of another kind.
    let (elsewhere, _) = recording(1 << 28);
    let mut foreign = elsewhere.backend(1).unwrap();
    let error = foreign.run(&mut prepared, &mut table, None).expect_err("another device");
    assert!(matches!(error, Error::NotPrepared { .. }), "{error}");
    let error = backend.run(&mut Prepared::new(5), &mut table, None).expect_err("not a plan");
    assert!(matches!(error, Error::NotPrepared { .. }), "{error}");
}

/// Threads that share a device record at the same time: what one records is not the other's, and neither is run.
#[test]
fn recordings_made_at_the_same_time_stay_apart() {
    let driver = RecordingDriver::new(4096);
    let memory = driver.alloc(256).unwrap();
    let streams = [driver.create_stream().unwrap(), driver.create_stream().unwrap()];
    let fill = |stream, byte, n: usize| {
        // SAFETY: the memory has as many bytes.
        (0..n).for_each(|_| unsafe { driver.fill(stream, memory, byte, 4) }.unwrap());
    };
    for stream in streams {
        // SAFETY: nothing but fills follows.
        unsafe { driver.begin_recording(stream) }.unwrap();
    }
    fill(streams[0], 1, 1);
    fill(streams[1], 2, 2);
    fill(streams[0], 3, 1);
    let recordings = streams.map(|stream| driver.end_recording(stream).unwrap());
    driver.take_calls();
    let mut found = [0; 2];
    for (recording, last) in recordings.iter().zip(&mut found) {
        let mut bytes = [0_u8; 4];
        // SAFETY: recorded above; the memory is there, and `bytes` until it was waited for.
        unsafe {
            driver.replay(streams[0], *recording).unwrap();
            driver.copy_out(streams[0], bytes.as_mut_ptr(), memory, 4).unwrap();
        }
        driver.synchronize(streams[0]).unwrap();
        *last = bytes[0];
    }
    let works = driver.take_calls().into_iter().filter_map(|call| match call {
        Call::Replay { n_works } => Some(n_works),
        _ => None,
    });
    assert_eq!((works.collect::<Vec<_>>(), found), (vec![2, 2], [3, 2]));
    for recording in recordings {
        // SAFETY: made above, destroyed once.
        unsafe { driver.destroy_recording(recording) }.unwrap();
    }
    // SAFETY: made above, freed once.
    unsafe { driver.free(memory) }.unwrap();
}
