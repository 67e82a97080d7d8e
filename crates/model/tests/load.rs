//! Loading: every way a file can contradict its architecture, and devices that cannot read a file in place.

use std::path::Path;
use std::sync::Arc;

use quipu_backend::{Backend, Buffer, BufferType, Device, DeviceKind, DeviceMemory, HostBytes};
use quipu_cpu_backend::CpuDevice;
use quipu_gguf::{Array, Gguf, GgufFile, GgufWriter, Metadata, Value};
use quipu_graph::DType;
use quipu_model::{ARCHITECTURES, Error, LoadParams, Model};
use quipu_parity::toy::TOYS;

fn toy() -> Vec<u8> {
    TOYS[0].gguf(DType::F32, 1).expect("whole blocks")
}

/// The toy with other metadata, and tensors renamed or dropped (`None`) by `name`.
fn edited(metadata: impl Fn(&mut Metadata), name: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let bytes = toy();
    let gguf = Gguf::parse(&bytes).expect("a valid file");
    let mut writer = GgufWriter::new();
    writer.metadata = gguf.metadata.clone();
    metadata(&mut writer.metadata);
    let mut kept = Vec::new();
    for tensor in &gguf.tensors {
        if let Some(new) = name(&tensor.name) {
            writer.add_tensor(&new, tensor.dtype, &tensor.ne[..tensor.n_dims as usize]).expect("a new name");
            kept.push(tensor);
        }
    }
    let mut out = Vec::new();
    let data = |i: usize, sink: &mut dyn std::io::Write| {
        let start = (gguf.data_offset + kept[i].offset) as usize;
        sink.write_all(&bytes[start..start + kept[i].n_bytes as usize])
    };
    writer.write_to(&mut out, data).expect("memory is writable");
    out
}

fn load(bytes: Vec<u8>, device: &dyn Device, params: &mut LoadParams<'_>) -> Result<Model, Error> {
    Model::load(&GgufFile::from_vec(bytes).expect("a valid file"), device, params)
}

fn refusal(bytes: Vec<u8>) -> String {
    match load(bytes, &CpuDevice::default(), &mut LoadParams::default()) {
        Ok(_) => "loaded".to_owned(),
        // The types that can be computed grow with the crates below.
        Err(error @ Error::TensorType { .. }) => {
            error.to_string().split(", q").next().unwrap_or_default().to_owned()
        }
        Err(error) => error.to_string(),
    }
}

/// Run with `UPDATE_SNAPSHOTS=1` to accept new texts.
#[test]
fn contradictions_are_named() {
    let keep = |name: &str| Some(name.to_owned());
    let set = |key: &'static str, value: Value| edited(move |m| m.set(key, value.clone()), keep);
    let u32_key = |key: &'static str, value: u32| set(key, Value::U32(value));
    let cases = [
        ("unchanged", toy()),
        ("architecture", set("general.architecture", Value::from("gpt5"))),
        ("no architecture", edited(|m| drop(m.remove("general.architecture")), keep)),
        ("no layers", u32_key("llama.block_count", 0)),
        ("many layers", u32_key("llama.block_count", 4_000_000_000)),
        ("wide", u32_key("llama.embedding_length", 1 << 31)),
        ("heads", u32_key("llama.attention.head_count_kv", 3)),
        ("no heads", u32_key("llama.attention.head_count", 0)),
        ("head size", u32_key("llama.attention.key_length", 4096)),
        ("rotation", u32_key("llama.rope.dimension_count", 63)),
        ("epsilon", set("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN))),
        ("epsilon type", set("llama.attention.layer_norm_rms_epsilon", Value::from("small"))),
        ("rotary base", set("llama.rope.freq_base", Value::F32(0.0))),
        ("scaling", set("llama.rope.scaling.type", Value::from("dynamic"))),
        ("longrope", set("llama.rope.scaling.type", Value::from("longrope"))),
        ("no context", u32_key("llama.context_length", 0)),
        ("endless context", u32_key("llama.context_length", u32::MAX)),
        ("wide integer", set("llama.block_count", Value::U64(2))),
        ("signed integer", set("llama.attention.head_count_kv", Value::I32(2))),
        ("one for each layer", set("llama.attention.head_count", Value::Array(Array::U32(vec![4, 4])))),
        (
            "signed, one for each layer",
            set("llama.attention.head_count", Value::Array(Array::I32(vec![4, 4]))),
        ),
        ("too many layers", set("llama.attention.head_count", Value::Array(Array::U32(vec![4, 4, 4])))),
        ("too few layers", set("llama.feed_forward_length", Value::Array(Array::U32(vec![512])))),
        ("wide array", set("llama.attention.head_count", Value::Array(Array::U64(vec![4, 4])))),
        ("value size", u32_key("llama.attention.value_length", 32)),
        ("no head count", edited(|m| drop(m.remove("llama.attention.head_count")), keep)),
        ("no width", edited(|m| drop(m.remove("llama.feed_forward_length")), keep)),
        ("no epsilon", edited(|m| drop(m.remove("llama.attention.layer_norm_rms_epsilon")), keep)),
        ("experts", u32_key("llama.expert_count", 8)),
        ("vocabulary", u32_key("llama.vocab_size", 300)),
        ("feed-forward width", u32_key("llama.feed_forward_length", 513)),
        ("missing", edited(|_| (), |n| (n != "blk.1.ffn_up.weight").then(|| n.to_owned()))),
        ("missing part of three", edited(|_| (), |n| (n != "blk.1.attn_k.weight").then(|| n.to_owned()))),
        (
            "unknown tensor",
            edited(
                |_| (),
                |n| Some(if n == "output.weight" { "outputs.weight".to_owned() } else { n.to_owned() }),
            ),
        ),
        ("matrix type", {
            let mut bytes = TOYS[0].gguf(DType::F32, 1).expect("whole blocks");
            // I32 has the same size; its id stands behind the first matrix's name and shape.
            let at = bytes.windows(17).position(|w| w == b"token_embd.weight").expect("a name");
            bytes[at + 17 + 4 + 16] = DType::I32.id() as u8;
            bytes
        }),
    ];
    // The list grows, and is the table's.
    let known = ARCHITECTURES.join(", ");
    let message = |bytes| refusal(bytes).replace(&known, "...");
    let lines: Vec<String> =
        cases.into_iter().map(|(name, bytes)| format!("{name}: {}\n", message(bytes))).collect();
    let report = lines.concat();
    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/contradictions.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&snapshot, &report).expect("writable");
    }
    assert_eq!(report, std::fs::read_to_string(&snapshot).expect("the snapshot"));
}

/// The processor, pretending that it cannot read mapped files.
#[derive(Debug, Default)]
struct Copying(CpuDevice);

impl Device for Copying {
    fn name(&self) -> &'static str {
        "COPYING"
    }

    fn description(&self) -> String {
        self.0.description()
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn memory(&self) -> DeviceMemory {
        self.0.memory()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.0.buffer_type()
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        self.0.weight_buffer_types()
    }

    fn buffer_from_host(&self, _: HostBytes) -> Option<Arc<dyn Buffer>> {
        None
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, quipu_backend::Error> {
        self.0.backend(n_threads)
    }
}

#[test]
fn weights_are_copied_where_they_cannot_be_read_in_place() {
    let mut shares = Vec::new();
    let mut progress = |share: f32| {
        shares.push(share);
        true
    };
    let mut params = LoadParams { progress: Some(&mut progress), ..LoadParams::default() };
    let model = load(toy(), &Copying::default(), &mut params).expect("loads");
    assert!(shares.windows(2).all(|pair| pair[0] <= pair[1]), "{shares:?}");
    assert_eq!(shares.last(), Some(&1.0));
    let copied: usize = model.buffers().iter().map(|buffer| buffer.size()).sum();
    assert!(copied as u64 >= model.n_bytes(), "{copied} of {}", model.n_bytes());
}

#[test]
fn loading_can_be_cancelled() {
    let mut left = 3;
    let mut progress = |_: f32| {
        left -= 1;
        left > 0
    };
    let mut params = LoadParams { progress: Some(&mut progress), ..LoadParams::default() };
    let error = load(toy(), &Copying::default(), &mut params).expect_err("cancelled");
    assert!(matches!(error, Error::Cancelled));
}
