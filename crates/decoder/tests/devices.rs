//! A model over several devices: where its layers lie, and that its logits are those of one device, bit for bit.

#[path = "common/apart.rs"]
mod apart;
mod common;

use std::sync::Arc;

use apart::Apart;
use common::{N_VOCAB, params, sequence, tokens};
use quipu_backend::{Device, DeviceId, Devices};
use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, Error};
use quipu_gguf::GgufFile;
use quipu_model::{BufferOverride, LoadOptions, Model};

const N_LAYER: usize = 4;

fn options(n_gpu_layers: i32, tensor_split: &[f32]) -> LoadOptions {
    LoadOptions { n_gpu_layers, tensor_split: tensor_split.to_vec(), ..LoadOptions::default() }
}

fn load(devices: &Devices<'_>, options: LoadOptions) -> Arc<Model> {
    let file = GgufFile::from_vec(common::bytes(N_LAYER, true)).expect("a valid file");
    Arc::new(Model::load(&file, devices.clone(), &mut options.into()).expect("a valid model"))
}

/// Logits of a prompt in two ubatches, of tokens one by one, and of what follows a shift.
fn logits(context: &mut Context) -> Vec<Vec<f32>> {
    let ids = tokens(20, 1);
    let mut rows = Vec::new();
    context.decode(&sequence(&ids[..12], 0, 0)).expect("a prompt");
    rows.extend((0..12).map(|i| context.logits(i).expect("an output").to_vec()));
    let mut single = |context: &mut Context, token, position| {
        let mut batch = Batch::new();
        batch.add(token, position, &[0], true);
        context.decode(&batch).expect("a token");
        rows.push(context.logits(0).expect("an output").to_vec());
    };
    for (i, token) in ids.iter().enumerate().skip(12).take(4) {
        single(context, *token, i as i32);
    }
    context.memory_mut().seq_rm(0, 2, 6).expect("in order");
    context.memory_mut().seq_add(0, 6, -1, -4).expect("in order");
    for (i, token) in ids.iter().enumerate().skip(16) {
        single(context, *token, i as i32 - 4);
    }
    assert!(rows.iter().all(|row| row.len() == N_VOCAB));
    rows
}

fn context(model: &Arc<Model>, devices: &Devices<'_>) -> Context {
    let params = quipu_decoder::ContextParams { n_ubatch: 7, ..params() };
    Context::new(Arc::clone(model), devices.clone(), &params).expect("a context")
}

/// Ways to split four layers and an output over two devices.
fn splits() -> Vec<(i32, Vec<f32>)> {
    let shares = [vec![], vec![3.0, 1.0], vec![1.0, 4.0], vec![0.0, 1.0], vec![1.0, 0.0]];
    (0..=N_LAYER as i32 + 1).chain([-1]).flat_map(|n| shares.clone().map(|shares| (n, shares))).collect()
}

#[test]
fn processors_as_several_devices_give_the_bits_of_one() {
    let cpu = CpuDevice::default();
    let one = Devices::from(&cpu);
    let expected = logits(&mut context(&load(&one, LoadOptions::default()), &one));
    let (first, second) = (CpuDevice::default(), CpuDevice::default());
    let devices = Devices::new(&cpu, [&first as &dyn Device, &second]);
    for (n_gpu_layers, tensor_split) in splits() {
        let model = load(&devices, options(n_gpu_layers, &tensor_split));
        let mut context = context(&model, &devices);
        assert!(logits(&mut context) == expected, "-ngl {n_gpu_layers} -ts {tensor_split:?}");
        assert_eq!(context.scheduler_stats().backends.len(), 3);
    }
}

#[test]
fn devices_that_do_not_read_each_other_give_the_bits_of_one() {
    let cpu = CpuDevice::default();
    let one = Devices::from(&cpu);
    let expected = logits(&mut context(&load(&one, LoadOptions::default()), &one));
    let (host, first, second) = (Apart::new("HOST"), Apart::new("ONE"), Apart::new("TWO"));
    let devices = Devices::new(&host, [&first as &dyn Device, &second]);
    for (n_gpu_layers, tensor_split) in splits() {
        let model = load(&devices, options(n_gpu_layers, &tensor_split));
        let n_own_before = [&first, &second].map(Apart::n_bytes);
        let mut context = context(&model, &devices);
        // Keys and values of 256 cells lie with their layers.
        let layers = model.layer_map();
        for (number, (device, before)) in [&first, &second].into_iter().zip(n_own_before).enumerate() {
            let n_layer = (0..N_LAYER).filter(|il| layers.layer(*il) == DeviceId::Other(number)).count();
            assert_eq!(device.n_bytes() - before, n_layer * 256 * 2 * 16 * 2, "{}", device.name());
        }
        assert!(logits(&mut context) == expected, "-ngl {n_gpu_layers} -ts {tensor_split:?}");
        // Two ubatches, eight tokens and a shift between: each device has its neighbouring layers in one go.
        let stats = context.scheduler_stats().clone();
        assert_eq!(
            stats.backends.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(),
            ["ONE", "TWO", "HOST"]
        );
        for (number, backend) in stats.backends[..2].iter().enumerate() {
            let id = DeviceId::Other(number);
            let n_layer = (0..N_LAYER).filter(|il| layers.layer(*il) == id).count();
            let n_runs = if n_layer > 0 || layers.output() == id { 10 } else { 0 };
            assert_eq!(backend.n_splits, n_runs + u64::from(n_layer > 0), "{layers:?}: {stats:?}");
        }
        assert_eq!(stats.backends[2].n_splits, 10 + u64::from(layers.layer(0) == DeviceId::Own));
        drop((context, model));
        assert_eq!((first.n_bytes(), second.n_bytes()), (0, 0), "everything was given back");
    }
}

/// Weights go where an override says, whatever device their layer has.
#[test]
fn overrides_come_before_the_layer_map() {
    let cpu = CpuDevice::default();
    let one = Devices::from(&cpu);
    let expected = logits(&mut context(&load(&one, LoadOptions::default()), &one));
    let (host, first, second) = (Apart::new("HOST"), Apart::new("ONE"), Apart::new("TWO"));
    let devices = Devices::new(&host, [&first as &dyn Device, &second]);
    let n_moved = |overrides: &str| {
        let buffer_overrides = BufferOverride::parse_list(overrides).expect("well-formed");
        let model = load(&devices, LoadOptions { buffer_overrides, ..options(-1, &[1.0, 1.0]) });
        let n_bytes = [&first, &second].map(Apart::n_bytes);
        assert!(logits(&mut context(&model, &devices)) == expected, "{overrides}");
        n_bytes
    };
    let plain = n_moved("nothing=HOST");
    let ffn = 32 * 64 * 4 * 3;
    assert_eq!(n_moved(r"ffn_(gate|up|down)=HOST"), [plain[0] - 3 * ffn, plain[1] - ffn]);
    assert_eq!(n_moved(r"blk\.0\.ffn_(gate|up|down)=TWO"), [plain[0] - ffn, plain[1] + ffn]);
}

#[test]
fn a_context_is_made_on_the_devices_of_its_model() {
    let (cpu, other) = (CpuDevice::default(), CpuDevice::default());
    let devices = Devices::new(&cpu, [&other as &dyn Device]);
    let model = load(&devices, LoadOptions::default());
    let error = Context::new(model, &cpu, &params()).expect_err("one device is missing");
    assert!(matches!(error, Error::Devices { found: 0, expected: 1 }), "{error}");
    let model = load(&Devices::from(&cpu), LoadOptions::default());
    let error = Context::new(model, devices, &params()).expect_err("one too many");
    assert!(matches!(error, Error::Devices { found: 1, expected: 0 }), "{error}");
}

#[test]
fn shares_that_are_no_shares_are_refused() {
    let (cpu, other) = (CpuDevice::default(), CpuDevice::default());
    for share in [-1.0, f32::NAN, f32::INFINITY] {
        let file = GgufFile::from_vec(common::bytes(1, true)).expect("a valid file");
        let devices = Devices::new(&cpu, [&other as &dyn Device]);
        let error =
            Model::load(&file, devices, &mut options(-1, &[1.0, share]).into()).expect_err("no share");
        assert!(error.to_string().contains("expected 0 or more"), "{error}");
    }
}
