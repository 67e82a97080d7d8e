//! Every flag of loading, on the processor and on devices that record or refuse what they are given.

mod device;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use device::{Gpu, Log};
use quipu_backend::{BufferTable, Device};
use quipu_cpu_backend::CpuDevice;
use quipu_gguf::{
    Gguf, GgufFile, GgufSet, GgufWriter, LoadMode, MetadataOverride, OverrideValue, SourceKind, Value,
};
use quipu_graph::{DType, Storage};
use quipu_kv_cache::{KvCache, KvParams};
use quipu_model::{
    BufferOverride, Error, GraphParams, LoadOptions, LoadParams, LoadPhase, Model, RopeConfig, RopeOverrides,
};
use quipu_parity::toy::TOYS;

/// The pieces of a toy: tensors dealt out in turns, with the keys of a split model.
fn write_split(dir: &Path, count: usize) -> PathBuf {
    let bytes = TOYS[0].gguf(DType::Q8_0, 1).expect("whole blocks");
    let gguf = Gguf::parse(&bytes).expect("a valid file");
    let path = |no: usize| dir.join(format!("toy-{:05}-of-{count:05}.gguf", no + 1));
    for no in 0..count {
        let mut writer = GgufWriter::new();
        if no == 0 {
            writer.metadata = gguf.metadata.clone();
        }
        writer.metadata.set("split.no", Value::U16(no as u16));
        writer.metadata.set("split.count", Value::U16(count as u16));
        writer.metadata.set("split.tensors.count", Value::I32(gguf.tensors.len() as i32));
        let mine: Vec<_> = gguf.tensors.iter().enumerate().filter(|(i, _)| i % count == no).collect();
        for (_, t) in &mine {
            writer.add_tensor(&t.name, t.dtype, &t.ne[..t.n_dims as usize]).expect("a new name");
        }
        let mut out = Vec::new();
        let data = |i: usize, sink: &mut dyn std::io::Write| {
            let start = (gguf.data_offset + mine[i].1.offset) as usize;
            sink.write_all(&bytes[start..start + mine[i].1.n_bytes as usize])
        };
        writer.write_to(&mut out, data).expect("memory is writable");
        std::fs::write(path(no), out).expect("writable");
    }
    path(0)
}

fn write_toy(dir: &Path) -> PathBuf {
    let path = dir.join("toy.gguf");
    std::fs::write(&path, TOYS[0].gguf(DType::Q8_0, 1).expect("whole blocks")).expect("writable");
    path
}

fn options(load_mode: LoadMode) -> LoadOptions {
    LoadOptions { load_mode, ..LoadOptions::default() }
}

fn open(path: &Path, options: &LoadOptions, device: &dyn Device) -> Result<(Model, GgufSet), Error> {
    let set = options.open(path)?;
    let model = Model::load_set(&set, device, &mut options.clone().into())?;
    Ok((model, set))
}

/// Compares every weight in its place with the bytes of `file`; returns how many there were.
fn compare(model: &Model, file: &GgufFile) -> usize {
    let device = CpuDevice::default();
    let mut buffers = BufferTable::new();
    for buffer in model.buffers() {
        buffers.add_shared(Arc::clone(buffer));
    }
    let layers = model.kv_layers();
    let params = KvParams { n_cells: 256, layers, ..KvParams::default() };
    let cache = KvCache::new(&params, device.buffer_type().as_ref(), &mut buffers).expect("a small cache");
    let rope = RopeConfig::new(model.hparams(), &RopeOverrides::default(), 256);
    let params = GraphParams::decoder(1, 1, 256, rope);
    let graph = model.build_graph(&params, &cache).expect("a graph").graph;
    let mut n = 0;
    for tensor in graph.tensors() {
        let Storage::External { buffer, offset } = tensor.storage else { continue };
        let Ok(expected) = file.tensor_bytes(&tensor.name) else { continue };
        let mut found = vec![0; expected.len()];
        model.buffers()[buffer.0 as usize].read(offset, &mut found).expect("inside the buffer");
        assert!(found == expected, "{}", tensor.name);
        n += 1;
    }
    n
}

#[test]
fn every_load_mode_gives_the_same_weights_from_one_file_and_from_several() {
    let dir = tempfile::tempdir().unwrap();
    let whole = write_toy(dir.path());
    let split = write_split(dir.path(), 3);
    let file = GgufFile::open(&whole).unwrap();
    let n_weights = file.tensors().len();
    for path in [&whole, &split] {
        for mode in LoadMode::ALL {
            let (model, set) = open(path, &options(mode), &CpuDevice::default()).unwrap();
            assert_eq!(compare(&model, &file), n_weights, "{mode}");
            let stats = model.load_stats();
            let mapped = matches!(mode, LoadMode::Mmap | LoadMode::MmapMlock);
            assert_eq!(stats.used_mmap, mapped);
            assert_eq!(stats.bytes_total, file.tensors().iter().map(|t| t.n_bytes).sum::<u64>());
            assert_eq!(stats.bytes_done, stats.bytes_total);
            assert_eq!(if mapped { stats.bytes_mapped } else { stats.bytes_read }, stats.bytes_total);
            assert!(stats.bytes_locked == 0 || mode.locks());
            // One buffer for each mapped file, or one block of host memory; then the device's own.
            let front = if mapped { set.shards().len() } else { 1 };
            assert_eq!(model.buffers().len(), front + 1);
            // On a device that cannot read host memory everything is uploaded.
            let gpu = Gpu::new(None);
            let (model, _) = open(path, &options(mode), &gpu).unwrap();
            assert_eq!(compare(&model, &file), n_weights, "{mode}");
            assert_eq!(model.load_stats().bytes_uploaded, stats.bytes_total);
            drop(model);
            assert_eq!(gpu.live_buffers(), 0);
        }
    }
}

#[test]
fn uploads_tile_every_weight_in_order_and_in_small_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_split(dir.path(), 2);
    for (mode, chunk) in
        [(LoadMode::Mmap, 1000), (LoadMode::None, 1000), (LoadMode::DirectIo, 1 << 20), (LoadMode::None, 0)]
    {
        for check_tensors in [false, true] {
            let wanted = LoadOptions { upload_chunk: chunk, check_tensors, ..options(mode) };
            let set = wanted.open(&path).unwrap();
            let mut log = Log::default();
            let gpu = Gpu::new(None);
            let mut params = LoadParams { options: wanted, upload: Some(&mut log), ..LoadParams::default() };
            let model = Model::load_set(&set, &gpu, &mut params).unwrap();
            let names: Vec<&str> = log.tensors.iter().map(|t| t.name.as_str()).collect();
            assert_eq!(names.len(), set.n_tensors());
            for uploaded in &log.tensors {
                let index = set.position(&uploaded.name).unwrap();
                assert!(uploaded.ended, "{}", uploaded.name);
                assert_eq!(uploaded.bytes, *set.tensor_data(index).unwrap(), "{}", uploaded.name);
                assert!(uploaded.longest <= chunk.max(512), "{} of {chunk}", uploaded.longest);
            }
            assert!(!log.aborted);
            assert_eq!(model.load_stats().bytes_uploaded, set.n_bytes());
        }
    }
}

#[test]
fn a_failing_chunk_frees_everything_and_names_the_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_toy(dir.path());
    let wanted = LoadOptions { upload_chunk: 100_000, ..options(LoadMode::None) };
    let mut n_steps = 0;
    for step in 0.. {
        let gpu = Gpu::new(None);
        let set = wanted.open(&path).unwrap();
        let mut log = Log { fail_at: Some(step), ..Log::default() };
        let mut params =
            LoadParams { options: wanted.clone(), upload: Some(&mut log), ..LoadParams::default() };
        match Model::load_set(&set, &gpu, &mut params) {
            Err(Error::Upload { name, .. }) => {
                assert_eq!(name, log.tensors.last().expect("something was uploaded").name);
                assert!(log.aborted);
                assert_eq!(gpu.live_buffers(), 0);
                n_steps += 1;
            }
            Ok(_) => break,
            Err(other) => panic!("{other}"),
        }
    }
    // Begin, end and at least one chunk of each weight.
    assert!(n_steps >= 3 * GgufFile::open(&path).unwrap().tensors().len(), "{n_steps}");
    // Without a sink: the buffer's own refusal.
    let gpu = Gpu::new(Some(5));
    let error = open(&path, &wanted, &gpu).map(drop).expect_err("the sixth write fails");
    assert!(matches!(error, Error::Upload { .. }), "{error}");
    assert_eq!(error.phase(), LoadPhase::Data);
    assert_eq!(gpu.live_buffers(), 0);
}

#[test]
fn progress_grows_to_one_and_cancels_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_split(dir.path(), 2);
    let gpu = Gpu::new(None);
    let devices: [&dyn Device; 2] = [&CpuDevice::default(), &gpu];
    for device in devices {
        for mode in LoadMode::ALL {
            let wanted = LoadOptions { upload_chunk: 100_000, ..options(mode) };
            let set = wanted.open(&path).unwrap();
            let mut shares = Vec::new();
            let mut progress = |share: f32| {
                shares.push(share);
                true
            };
            let mut params = LoadParams::from(wanted.clone());
            params.progress = Some(&mut progress);
            Model::load_set(&set, device, &mut params).unwrap();
            assert_eq!(shares.first(), Some(&0.0));
            assert_eq!(shares.last(), Some(&1.0));
            assert!(shares.windows(2).all(|pair| pair[0] <= pair[1]), "{shares:?}");
            assert!(shares.len() > set.n_tensors());
            for stop in 0..shares.len() {
                let mut left = stop;
                let mut progress = |_: f32| {
                    left = left.wrapping_sub(1);
                    left != usize::MAX
                };
                let mut params = LoadParams::from(wanted.clone());
                params.progress = Some(&mut progress);
                let error = Model::load_set(&set, device, &mut params).expect_err("cancelled");
                assert!(matches!(error, Error::Cancelled), "{error}");
                assert_eq!(left, usize::MAX, "asked again after it said no");
                assert_eq!(gpu.live_buffers(), 0);
            }
        }
    }
}

#[test]
fn bad_numbers_are_found_through_every_source() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_toy(dir.path());
    let file = GgufFile::open(&path).unwrap();
    let index = file.tensors().iter().rposition(|t| t.dtype == DType::Q8_0).unwrap();
    let (name, start) = (file.tensors()[index].name.clone(), file.tensor_range(index).unwrap().start);
    let mut bytes = std::fs::read(&path).unwrap();
    drop(file);
    // The scale of block 7 becomes a NaN.
    bytes[start + 7 * 34..start + 7 * 34 + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let gpu = Gpu::new(None);
    let devices: [&dyn Device; 2] = [&CpuDevice::default(), &gpu];
    for device in devices {
        for mode in LoadMode::ALL {
            let mut wanted = LoadOptions { upload_chunk: 1000, ..options(mode) };
            open(&path, &wanted, device).expect("nobody looked");
            wanted.check_tensors = true;
            let error = open(&path, &wanted, device).map(drop).expect_err("a NaN");
            assert_eq!(error.phase(), LoadPhase::Data);
            let message = error.to_string();
            assert!(message.starts_with(&format!("tensor {name} has invalid data: ")), "{message}");
            assert!(message.contains("block 7"), "{message}");
            assert_eq!(gpu.live_buffers(), 0);
        }
    }
}

#[test]
fn without_memory_a_model_has_sizes_and_graphs() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_split(dir.path(), 2);
    let gpu = Gpu::new(None);
    let devices: [&dyn Device; 2] = [&CpuDevice::default(), &gpu];
    for device in devices {
        let wanted = LoadOptions { no_alloc: true, ..LoadOptions::default() };
        let set = wanted.open(&path).unwrap();
        assert_eq!(set.first().source().kind(), SourceKind::Buffered);
        // A set that is mapped already makes no difference.
        for set in [&set, &GgufSet::open(&path, SourceKind::Mapped).unwrap()] {
            let mut log = Log::default();
            let mut params =
                LoadParams { options: wanted.clone(), upload: Some(&mut log), ..LoadParams::default() };
            let model = Model::load_set(set, device, &mut params).unwrap();
            let size: usize = model.buffers().iter().map(|buffer| buffer.size()).sum();
            assert!(size as u64 >= set.n_bytes(), "{size}");
            assert!((size as u64) < set.n_bytes() + 64 * set.n_tensors() as u64, "{size}");
            assert_eq!((model.load_stats().bytes_done, model.load_stats().bytes_total), (0, set.n_bytes()));
            assert!(log.tensors.is_empty());
            let refused = model.buffers().iter().find(|b| b.size() > 0).unwrap().read(0, &mut [0]);
            assert!(refused.unwrap_err().to_string().contains("only measured"));
            // Places are the real ones: the graph can be planned.
            let cache_params = KvParams { n_cells: 256, layers: model.kv_layers(), ..KvParams::default() };
            let mut buffers = BufferTable::new();
            let memory = CpuDevice::default().buffer_type();
            let cache = KvCache::new(&cache_params, memory.as_ref(), &mut buffers).unwrap();
            let rope = RopeConfig::new(model.hparams(), &RopeOverrides::default(), 256);
            let graph = GraphParams::decoder(1, 1, 256, rope);
            model.build_graph(&graph, &cache).unwrap();
            assert_eq!(gpu.live_bytes(), 0);
        }
    }
}

#[test]
fn a_vocabulary_needs_no_weights() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.gguf");
    let mut writer = GgufWriter::new();
    writer.metadata.set("general.architecture", Value::from("llama"));
    writer.metadata.set("llama.vocab_size", Value::U32(7));
    let mut out = Vec::new();
    writer.write_to(&mut out, |_, _| Ok(())).unwrap();
    std::fs::write(&path, &out).unwrap();
    let device = CpuDevice::default();
    let mut wanted = LoadOptions { vocab_only: true, ..LoadOptions::default() };
    let (model, _) = open(&path, &wanted, &device).unwrap();
    assert!(!model.has_weights() && model.buffers().is_empty());
    assert_eq!((model.hparams().n_vocab, model.hparams().n_layer(), model.architecture()), (7, 0, "llama"));
    assert!(open(&path, &LoadOptions::default(), &device).is_err());

    writer.metadata.set("general.architecture", Value::from("gpt5"));
    let mut out = Vec::new();
    writer.write_to(&mut out, |_, _| Ok(())).unwrap();
    std::fs::write(&path, &out).unwrap();
    let error = open(&path, &wanted, &device).map(drop).expect_err("an unknown architecture");
    assert!(matches!(error, Error::UnknownArchitecture { .. }));
    assert_eq!(error.phase(), LoadPhase::Architecture);
    wanted.check_architecture = false;
    assert_eq!(open(&path, &wanted, &device).unwrap().0.architecture(), "gpt5");
}

#[test]
fn tensors_nobody_uses_are_refused_unless_told_otherwise() {
    let bytes = TOYS[0].gguf(DType::F32, 1).expect("whole blocks");
    let gguf = Gguf::parse(&bytes).unwrap();
    let mut writer = GgufWriter::new();
    writer.metadata = gguf.metadata.clone();
    for t in &gguf.tensors {
        writer.add_tensor(&t.name, t.dtype, &t.ne[..t.n_dims as usize]).unwrap();
    }
    writer.add_tensor("extra", DType::F32, &[4]).unwrap();
    let mut out = Vec::new();
    let data = |i: usize, sink: &mut dyn std::io::Write| match gguf.tensors.get(i) {
        Some(t) => {
            let start = (gguf.data_offset + t.offset) as usize;
            sink.write_all(&bytes[start..start + t.n_bytes as usize])
        }
        None => sink.write_all(&[0; 16]),
    };
    writer.write_to(&mut out, data).unwrap();
    let set = GgufSet::from(&GgufFile::from_vec(out).unwrap());
    let mut params = LoadParams::default();
    let error = Model::load_set(&set, &CpuDevice::default(), &mut params).expect_err("an extra tensor");
    assert!(matches!(error, Error::UnusedTensors { count: 1, .. }), "{error}");
    assert_eq!(error.phase(), LoadPhase::Tensors);
    params.options.check_architecture = false;
    Model::load_set(&set, &CpuDevice::default(), &mut params).unwrap();
}

#[test]
fn metadata_can_be_overridden() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_toy(dir.path());
    let device = CpuDevice::default();
    let with = |key: &str, value: OverrideValue| {
        let metadata_overrides = vec![MetadataOverride { key: key.to_owned(), value }];
        open(&path, &LoadOptions { metadata_overrides, ..LoadOptions::default() }, &device)
    };
    // Any integer does for a u32 key.
    let (model, set) = with("llama.context_length", OverrideValue::Int(99)).unwrap();
    assert_eq!(model.hparams().n_ctx_train, 99);
    assert_eq!(set.metadata().u32("llama.context_length").unwrap(), 99);
    assert_ne!(set.first().metadata().u32("llama.context_length").unwrap(), 99);
    let (model, _) = with("llama.rope.freq_base", OverrideValue::Float(5.0)).unwrap();
    assert_eq!(model.hparams().rope_freq_base, 5.0);
    // An original length of 0 is the trained one, but every context is longer than it.
    let key = "llama.rope.scaling.original_context_length";
    let (model, _) = with(key, OverrideValue::Int(0)).unwrap();
    let rope = |overrides| RopeConfig::new(model.hparams(), &overrides, 16);
    let n_ctx_train = model.hparams().n_ctx_train;
    assert_eq!(rope(RopeOverrides::default()).n_ctx_orig, n_ctx_train);
    assert!(rope(RopeOverrides::default()).is_long && n_ctx_train > 16);
    let zeros = RopeOverrides { yarn_orig_ctx: Some(0), freq_base: Some(0.0), ..RopeOverrides::default() };
    assert_eq!(rope(zeros), rope(RopeOverrides::default()));
    let longer = RopeOverrides { yarn_orig_ctx: Some(99), ..RopeOverrides::default() };
    assert_eq!(rope(longer).n_ctx_orig, 99);
    // What does not fit is left out, as in the reference.
    let (model, _) = with("llama.context_length", OverrideValue::Str("many".to_owned())).unwrap();
    assert_ne!(model.hparams().n_ctx_train, 99);
    let error = with("llama.block_count", OverrideValue::Int(0)).map(drop).expect_err("no layers");
    assert!(matches!(error, Error::Hparam { .. }), "{error}");
}

#[test]
fn tensors_go_where_overrides_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_toy(dir.path());
    let file = GgufFile::open(&path).unwrap();
    let gpu = Gpu::new(None).with_second_memory();
    let at = |list: &str| LoadOptions {
        buffer_overrides: BufferOverride::parse_list(list).unwrap(),
        ..LoadOptions::default()
    };
    let bytes = |model: &Model, name: &str| {
        let sizes = model.buffers().iter().filter(|b| b.type_name() == name).map(|b| b.size());
        sizes.sum::<usize>()
    };
    let total = |wanted: &dyn Fn(&quipu_gguf::TensorInfo) -> bool| -> usize {
        file.tensors().iter().filter(|t| wanted(t)).map(|t| t.n_bytes as usize).sum()
    };
    let near =
        |found: usize, expected: usize| (expected..expected + 32 * file.tensors().len()).contains(&found);
    let (model, _) = open(&path, &LoadOptions::default(), &gpu).unwrap();
    assert!(near(bytes(&model, "GPU_FAST"), total(&|t| t.ne[1] > 1)));
    assert!(near(bytes(&model, "GPU"), total(&|t| t.ne[1] == 1)));
    compare(&model, &file);
    drop(model);
    let (model, _) = open(&path, &at(r"blk\.1\.ffn_(up|down)=GPU,ffn_up=GPU_FAST"), &gpu).unwrap();
    let moved = |t: &quipu_gguf::TensorInfo| {
        t.ne[1] == 1 || t.name.starts_with("blk.1.ffn_up") || t.name.starts_with("blk.1.ffn_down")
    };
    assert!(near(bytes(&model, "GPU"), total(&moved)));
    compare(&model, &file);
    let error = open(&path, &at("output_norm=GPU_FAST"), &gpu).map(drop).expect_err("no matrix");
    assert!(matches!(error, Error::BufferRefuses { .. }), "{error}");
    drop(model);
    assert_eq!(gpu.live_buffers(), 0);
    let error = open(&path, &at("x=TPU"), &gpu).map(drop).expect_err("no such memory");
    assert_eq!(error.to_string(), "buffer type 'TPU' is unknown, expected one of: GPU_FAST, GPU");
    assert_eq!(error.phase(), LoadPhase::Allocate);
    let error = BufferOverride::parse_list("blk").expect_err("no memory named");
    assert_eq!(error.to_string(), "tensor override 'blk', expected PATTERN=BUFFER_TYPE");
    assert!(matches!(BufferOverride::new("(", "GPU"), Err(Error::OverridePattern { .. })));
}

#[test]
fn every_phase_has_its_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_toy(dir.path());
    let device = CpuDevice::default();
    let phase = |path: &Path| open(path, &LoadOptions::default(), &device).map(drop).unwrap_err().phase();
    assert_eq!(phase(&dir.path().join("none.gguf")), LoadPhase::Open);
    assert_eq!(phase(dir.path()), LoadPhase::Open);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 100_000]).unwrap();
    assert_eq!(phase(&path), LoadPhase::Parse);
    let piece = write_split(dir.path(), 2);
    std::fs::remove_file(dir.path().join("toy-00002-of-00002.gguf")).unwrap();
    assert_eq!(phase(&piece), LoadPhase::Open);
    // A file that shrinks after it was opened.
    std::fs::write(&path, &whole).unwrap();
    let wanted = options(LoadMode::None);
    let set = wanted.open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole.len() as u64 / 2).unwrap();
    let error = Model::load_set(&set, &device, &mut wanted.into()).expect_err("half of the data is gone");
    assert!(matches!(error, Error::Data { .. }), "{error}");
    assert_eq!(error.phase(), LoadPhase::Data);
}
