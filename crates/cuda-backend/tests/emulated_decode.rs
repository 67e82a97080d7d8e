//! Whole models on a device without a GPU: weights uploaded, graphs planned and launched, kernels in the emulation. Their
//! logits against the CPU backend's.

mod device;

use std::sync::Arc;

use device::{argmax, emulated, llama, load, logits, nmse, params, skipped, tokens};
use quipu_cpu_backend::CpuDevice;
use quipu_cuda_backend::{Call, Purpose};
use quipu_decoder::{Context, ContextParams};
use quipu_graph::DType;

/// NMSE of the logits, and how many of the largest are the same.
fn compare(found: &[Vec<f32>], expected: &[Vec<f32>]) -> (f64, usize) {
    assert_eq!(found.len(), expected.len());
    let error = nmse(&found.concat(), &expected.concat());
    let same = found.iter().zip(expected).filter(|(a, b)| argmax(a) == argmax(b)).count();
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
    check(&[DType::F32], 1e-6);
    check(&[DType::F16], 1e-6);
    check(&[DType::BF16], 1e-4);
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
    logits(&mut context, &ids, 5);
    driver.take_calls();
    let mut batch = quipu_decoder::Batch::new();
    batch.add(3, 8, &[0], true);
    context.decode(&batch).unwrap();
    let calls = driver.take_calls();
    let allocates = |call: &&Call| matches!(call, Call::Alloc { .. } | Call::AllocPinned { .. } | Call::Free { .. });
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
