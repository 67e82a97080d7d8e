//! Whole models on a device without a GPU: weights uploaded, graphs planned and launched, kernels in the emulation. Their
//! logits against the CPU backend's.

mod device;
#[path = "device/emulated.rs"]
mod emulated_device;

use std::sync::Arc;

use device::{argmax, llama, load, logits, params, tokens};
use emulated_device::{emulated, emulated_as, skipped};
use quipu_backend::Devices;
use quipu_cpu_backend::CpuDevice;
use quipu_cuda_backend::{Call, Purpose};
use quipu_decoder::{Context, ContextParams};
use quipu_gguf::GgufFile;
use quipu_graph::DType;
use quipu_model::{LoadOptions, LoadParams, Model};
use quipu_testing::nmse;

/// NMSE of the logits, and in how many rows the largest is the same, or one that is as good as equal: by less than a twentieth of
/// the row's root mean square, about which rounding weights and activations decides.
fn compare(found: &[Vec<f32>], expected: &[Vec<f32>]) -> (f64, usize) {
    assert_eq!(found.len(), expected.len());
    let error = nmse(&expected.concat(), &found.concat());
    let is_same = |found: &[f32], expected: &[f32]| {
        let mean_square = expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32;
        expected[argmax(found)] >= expected[argmax(expected)] - 0.05 * mean_square.sqrt()
    };
    let same = found.iter().zip(expected).filter(|(found, expected)| is_same(found, expected)).count();
    (error, same)
}

fn check(types: &[DType], bound: f64) {
    let bytes = llama(2, types);
    let ids = tokens(16);
    let cpu = CpuDevice::default();
    let model = load(&bytes, &cpu);
    let expected = logits(&mut Context::new(Arc::clone(&model), &cpu, &params()).unwrap(), &ids, 11);
    let (gpu, driver) = emulated(1 << 28);
    {
        let model = load(&bytes, &gpu);
        let mut context = Context::new(model, &gpu, &params()).unwrap();
        let found = logits(&mut context, &ids, 11);
        let (error, same) = compare(&found, &expected);
        println!("{types:?}: NMSE {error:e}, {same} of {} argmax equal", ids.len());
        assert!(error <= bound, "{types:?}: NMSE {error:e} over {bound:e}");
        assert_eq!(same, ids.len(), "{types:?}: equal argmax");
        let stats = context.scheduler_stats();
        assert!(stats.backends.len() == 1 && stats.backends[0].name == "CUDA0");
    }
    // Everything was given back.
    for purpose in Purpose::ALL.into_iter().filter(|p| *p != Purpose::Staging) {
        assert_eq!(gpu.ledger().bytes(purpose), 0, "{purpose}");
    }
    assert_eq!(driver.device_bytes(), 0);
    drop(gpu);
    assert_eq!(driver.pinned_blocks(), 0);
}

#[test]
fn llamas_of_plain_types_give_the_logits_of_the_cpu() {
    if skipped() {
        return;
    }
    check(&[DType::F32], 1e-7);
    check(&[DType::F16], 1e-6);
    // Rounding activations to bf16 in the prompt, which the CPU does in other places.
    check(&[DType::BF16], 5e-5);
}

#[test]
fn llamas_of_quantised_types_give_the_logits_of_the_cpu() {
    if skipped() {
        return;
    }
    check(&[DType::Q8_0], 1e-3);
    check(&[DType::Q4_0, DType::Q5_0], 1e-3);
    check(&[DType::Q4_K, DType::Q6_K, DType::Q5_K], 1e-3);
}

/// In steady state a token costs launches, and no allocation of any kind.
#[test]
fn decoding_allocates_nothing() {
    if skipped() {
        return;
    }
    let bytes = llama(1, &[DType::Q8_0]);
    let (gpu, driver) = emulated(1 << 28);
    let mut context = Context::new(load(&bytes, &gpu), &gpu, &params()).unwrap();
    let ids = tokens(8);
    // A prompt and one token: the second token's run is recorded, the third's is replayed.
    logits(&mut context, &ids[..6], 5);
    let mut token = |position| {
        driver.take_calls();
        let mut batch = quipu_decoder::Batch::new();
        batch.add(3, position, &[0], true);
        context.decode(&batch).unwrap();
        driver.take_calls()
    };
    let calls = token(6);
    let replayed = token(7);
    let n_works = |calls: &[Call]| {
        calls.iter().find_map(|c| if let Call::Replay { n_works } = c { Some(*n_works) } else { None })
    };
    assert!(n_works(&calls).is_some() && n_works(&replayed) == n_works(&calls));
    assert!(!replayed.iter().any(|call| matches!(call, Call::Launch { .. } | Call::Alloc { .. })));
    let allocates =
        |call: &&Call| matches!(call, Call::Alloc { .. } | Call::AllocPinned { .. } | Call::Free { .. });
    assert_eq!(calls.iter().find(allocates), None);
    assert!(!calls.contains(&Call::LoadModule));
    let launches: Vec<&str> = calls
        .iter()
        .filter_map(|call| if let Call::Launch { kernel, .. } = call { Some(*kernel) } else { None })
        .collect();
    println!("{} launches for a token of one layer: {launches:?}", launches.len());
    // The three projections share their activations, as do gate and up.
    assert_eq!(launches.iter().filter(|name| **name == "quantize_q8_1").count(), 5);
    assert!(launches.contains(&"rms_norm_mul") && !launches.contains(&"rms_norm"));
}

#[test]
fn a_prompt_in_pieces_and_a_shifted_cache_agree_with_the_cpu() {
    if skipped() {
        return;
    }
    let bytes = llama(2, &[DType::F32]);
    let ids = tokens(24);
    let run = |device: &dyn quipu_backend::Device| {
        let params = ContextParams { n_ubatch: 7, ..params() };
        let mut context = Context::new(load(&bytes, device), device, &params).unwrap();
        let mut out = logits(&mut context, &ids[..20], 17);
        // Forget positions 2 to 5, and go on with what was behind them moved up.
        context.memory_mut().seq_rm(0, 2, 6).unwrap();
        context.memory_mut().seq_add(0, 6, -1, -4).unwrap();
        for (i, token) in ids[20..].iter().enumerate() {
            let mut batch = quipu_decoder::Batch::new();
            batch.add(*token, 16 + i as i32, &[0], true);
            context.decode(&batch).unwrap();
            out.push(context.logits(0).unwrap().to_vec());
        }
        out
    };
    let (error, same) = compare(&run(&emulated(1 << 28).0), &run(&CpuDevice::default()));
    println!("shifted: NMSE {error:e}, {same} of 24 argmax equal");
    assert!(error <= 1e-6, "NMSE {error:e}");
}

/// Some layers on the device, the others on the CPU.
#[test]
fn layers_on_two_devices_give_the_logits_of_one() {
    if skipped() {
        return;
    }
    let bytes = llama(3, &[DType::Q8_0, DType::F16]);
    let ids = tokens(12);
    let cpu = CpuDevice::default();
    let mut context = Context::new(load(&bytes, &cpu), &cpu, &params()).unwrap();
    let expected = logits(&mut context, &ids, 9);
    for n_gpu_layers in [0, 1, 2, 4, -1] {
        let (gpu, driver) = emulated(1 << 28);
        let file = GgufFile::from_vec(bytes.clone()).unwrap();
        let options = LoadOptions { n_gpu_layers, ..LoadOptions::default() };
        let devices = Devices::new(&cpu, [&gpu as &dyn quipu_backend::Device]);
        let model = Arc::new(Model::load(&file, devices.clone(), &mut options.into()).unwrap());
        let stats = model.load_stats();
        assert_eq!(stats.bytes_mapped + stats.bytes_uploaded, stats.bytes_total);
        assert_eq!(stats.bytes_uploaded == 0, n_gpu_layers == 0);
        // Nothing of what was uploaded is kept on the host, and nothing else was allocated for it.
        let weights = gpu.ledger().bytes(Purpose::Weights);
        assert!(weights >= stats.bytes_uploaded && weights < stats.bytes_uploaded + 64 * 256);
        let mut context = Context::new(Arc::clone(&model), devices, &params()).unwrap();
        let cells = 256 * (128 + 128) * 2;
        let layers = usize::try_from(n_gpu_layers).map_or(3, |n| n.saturating_sub(1).min(3));
        assert_eq!(gpu.ledger().bytes(Purpose::Cache), (cells * layers) as u64);
        let found = logits(&mut context, &ids, 9);
        let (error, same) = compare(&found, &expected);
        let stats = context.scheduler_stats().clone();
        println!("-ngl {n_gpu_layers}: NMSE {error:e}, {same} of 12 argmax equal, {stats:?}");
        assert!(error <= 1e-3 && same == 12, "-ngl {n_gpu_layers}: NMSE {error:e}");
        let [device, host] = stats.backends.as_slice() else { panic!("two backends") };
        assert_eq!((device.name.as_str(), host.name.as_str()), ("CUDA0", "CPU"));
        if n_gpu_layers == 0 {
            assert_eq!((error, device.n_nodes, device.copied_bytes), (0.0, 0, 0));
        } else {
            // The host looks up the tokens, computes its layers, and hands over once per run.
            assert!(device.n_nodes > 0 && host.n_nodes > 0);
            assert!(device.n_splits == 4 && host.n_splits == 4, "one border per run");
        }
        if n_gpu_layers < 0 {
            assert_eq!(stats.n_fallback_nodes(), 4, "only the token embeddings");
        }
        drop((context, model));
        assert_eq!(driver.device_bytes(), 0);
    }
}

/// Layers on two devices and the CPU: weights and cache lie where the map says, and one border costs one hand-over.
#[test]
fn layers_are_split_over_two_devices() {
    if skipped() {
        return;
    }
    let bytes = llama(4, &[DType::Q8_0, DType::F16]);
    let ids = tokens(12);
    let cpu = CpuDevice::default();
    let mut context = Context::new(load(&bytes, &cpu), &cpu, &params()).unwrap();
    let expected = logits(&mut context, &ids, 9);
    let layer_cache = 256 * (128 + 128) * 2;
    // Layers to move, shares, and how many layers each device has then.
    let cases: [(i32, &[f32], [usize; 2]); 5] = [
        (-1, &[3.0, 2.0], [3, 1]),
        (-1, &[1.0, 4.0], [1, 3]),
        (-1, &[0.0, 1.0], [0, 4]),
        (3, &[], [2, 0]),
        (4, &[], [2, 1]),
    ];
    for (n_gpu_layers, tensor_split, layers) in cases {
        let (first, first_driver) = emulated_as(0, 1 << 28);
        let (second, second_driver) = emulated_as(1, 1 << 28);
        let file = GgufFile::from_vec(bytes.clone()).unwrap();
        let options =
            LoadOptions { n_gpu_layers, tensor_split: tensor_split.to_vec(), ..LoadOptions::default() };
        let devices = Devices::new(&cpu, [&first as &dyn quipu_backend::Device, &second]);
        let model = Arc::new(Model::load(&file, devices.clone(), &mut options.into()).unwrap());
        let stats = model.load_stats();
        assert_eq!(stats.bytes_mapped + stats.bytes_uploaded, stats.bytes_total);
        let mut context = Context::new(Arc::clone(&model), devices, &params()).unwrap();
        for (gpu, n_layer) in [&first, &second].into_iter().zip(layers) {
            assert_eq!(gpu.ledger().bytes(Purpose::Cache), (layer_cache * n_layer) as u64, "{model:?}");
        }
        let found = logits(&mut context, &ids, 9);
        let (error, same) = compare(&found, &expected);
        let stats = context.scheduler_stats().clone();
        println!("{n_gpu_layers} by {tensor_split:?}: NMSE {error:e}, {same} of 12 argmax equal, {stats:?}");
        assert!(error <= 1e-3 && same == 12, "NMSE {error:e}");
        let names: Vec<&str> = stats.backends.iter().map(|backend| backend.name.as_str()).collect();
        assert_eq!(names, ["CUDA0", "CUDA1", "CPU"]);
        for (backend, n_layer) in stats.backends.iter().zip(layers) {
            // Four runs: a prompt and three tokens.
            assert_eq!(backend.n_splits, if n_layer > 0 || backend.name == "CUDA1" { 4 } else { 0 });
        }
        assert_eq!(stats.backends[2].n_splits, 4);
        drop((context, model));
        assert_eq!((first_driver.device_bytes(), second_driver.device_bytes()), (0, 0));
    }
}

/// An op or type that the device lacks falls to the CPU, with what it needs, and is counted.
#[test]
fn what_the_device_does_not_compute_falls_to_the_cpu() {
    if skipped() {
        return;
    }
    // Q4_1 has no kernels, and a cache in f32 no attention.
    let bytes = llama(2, &[DType::Q4_1, DType::Q8_0]);
    let ids = tokens(6);
    let cpu = CpuDevice::default();
    let params = ContextParams { type_k: DType::F32, type_v: DType::F32, ..params() };
    let expected = logits(&mut Context::new(load(&bytes, &cpu), &cpu, &params).unwrap(), &ids, 4);
    let (gpu, _) = emulated(1 << 28);
    let file = GgufFile::from_vec(bytes).unwrap();
    let devices = Devices::new(&cpu, [&gpu as &dyn quipu_backend::Device]);
    let model = Arc::new(Model::load(&file, devices.clone(), &mut LoadParams::default()).unwrap());
    let mut context = Context::new(model, devices, &params).unwrap();
    let found = logits(&mut context, &ids, 4);
    let (error, same) = compare(&found, &expected);
    let stats = context.scheduler_stats();
    println!("fallback: NMSE {error:e}, {same} of 6 argmax equal, {stats:?}");
    // What the device computed is quantised again on the host before the logits are: last bits do not show.
    assert!(error <= 1e-3 && same == 6, "NMSE {error:e}");
    let [device, host] = stats.backends.as_slice() else { panic!("two backends") };
    assert!(device.n_nodes > 0 && host.n_nodes > 0 && device.n_copies > 0 && host.n_copies > 0);
}

/// Runs that repeat are replayed; what changes - another window of the cache, another graph - is not.
#[test]
fn replayed_runs_give_the_same_logits_when_the_window_grows() {
    if skipped() {
        return;
    }
    let bytes = llama(1, &[DType::F32]);
    let ids = tokens(262);
    let run = |device: &dyn quipu_backend::Device| {
        let params = ContextParams { n_ctx: 512, ..params() };
        logits(&mut Context::new(load(&bytes, device), device, &params).unwrap(), &ids, 251)
    };
    let (gpu, driver) = emulated(1 << 28);
    let (error, same) = compare(&run(&gpu), &run(&CpuDevice::default()));
    let replays = driver.take_calls().iter().filter(|call| matches!(call, Call::Replay { .. })).count();
    println!("replayed: NMSE {error:e}, {same} of 262 argmax equal, {replays} replays");
    assert!(error <= 1e-6 && same == 262, "NMSE {error:e}");
    // Five tokens in the first window, six in the second; of each the first is launched.
    assert_eq!(replays, 4 + 5);
    assert_eq!(driver.recordings(), 0, "all were destroyed");
    // A driver that does not record is used without.
    let (gpu, driver) = emulated(1 << 28);
    driver.refuse(Some(("cuStreamBeginCapture_v2", 801)));
    let mut context = Context::new(load(&bytes, &gpu), &gpu, &params()).unwrap();
    logits(&mut context, &ids[..12], 4);
    assert!(!driver.take_calls().iter().any(|call| matches!(call, Call::Replay { .. })));
}

/// Contexts of several threads share a device, its stream and its staging.
#[test]
fn threads_share_a_device() {
    if skipped() {
        return;
    }
    let bytes = llama(1, &[DType::Q8_0]);
    let (gpu, driver) = emulated(1 << 28);
    let model = load(&bytes, &gpu);
    let run = |seed: usize| {
        let mut context = Context::new(Arc::clone(&model), &gpu, &params()).unwrap();
        logits(&mut context, &tokens(30)[seed..seed + 10], 4)
    };
    let alone: Vec<_> = (0..4).map(run).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(together == alone, "the same bits");
    drop(model);
    assert_eq!((driver.device_bytes(), driver.recordings()), (0, 0));
}
