//! Logits without flash attention, and with adapters at work: LoRA files and control vectors that are random but for their form.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, FlashAttn, LoraUse};
use quipu_gguf::{GgufFile, GgufWriter, Value};
use quipu_model::ControlVector;
use quipu_quant::DType;
use quipu_testing::{SplitMix, nmse};

use crate::checkout::{Checkout, LogitsRequest, RefAdapters};
use crate::engine;
use crate::error::Error;
use crate::logits::{N_TOKENS, TOKEN_SEED, WEIGHT_SEED, bound};
use crate::report::Row;
use crate::small::SMALL;
use crate::toy::{TOYS, tokens};

/// Toys and small models; among them such as have experts.
const NAMES: [&str; 9] = [
    "llama-plain",
    "qwen2-yarn",
    "qwen3-plain",
    "gemma-gqa",
    "gemma2-windows",
    "gemma3-windows",
    "qwen2moe",
    "qwen3moe",
    "olmoe",
];
/// Rank of the adapters.
const RANK: u64 = 4;
const SEED: u64 = 31;

/// A model file, and the adapters for it.
struct Subject {
    name: String,
    dir: tempfile::TempDir,
    gguf: GgufFile,
}

impl Subject {
    fn new(name: &str, bytes: Vec<u8>) -> Result<Subject, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        write(&dir.path().join("model.gguf"), &bytes)?;
        let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(name))?;
        Ok(Subject { name: name.to_owned(), dir, gguf })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An adapter for every matrix but the embeddings.
    fn adapter(&self, name: &str, seed: u64) -> Result<PathBuf, Error> {
        let architecture = self.gguf.metadata().str("general.architecture").map_err(Error::engine(name))?;
        let metadata = [
            ("general.type", Value::from("adapter")),
            ("general.architecture", Value::from(architecture)),
            ("adapter.type", Value::from("lora")),
            ("adapter.lora.alpha", Value::F32(3.0)),
        ];
        let mut tensors = Vec::new();
        let is_adapted = |name: &str| name.ends_with(".weight") && !name.starts_with("token_embd");
        for info in self.gguf.tensors().iter().filter(|info| is_adapted(&info.name) && info.ne[1] > 1) {
            // Of experts, one pair behind the other.
            let outer = if info.ne[2] > 1 { vec![info.ne[2]] } else { Vec::new() };
            let dims = |inner: [u64; 2]| [&inner[..], &outer].concat();
            tensors.push((format!("{}.lora_a", info.name), dims([info.ne[0], RANK])));
            tensors.push((format!("{}.lora_b", info.name), dims([RANK, info.ne[1]])));
        }
        let path = self.path(name);
        write(&path, &file(&metadata, &tensors, 0.1, seed)?)?;
        Ok(path)
    }

    /// A direction for every layer but the first.
    fn control_vector(&self) -> Result<PathBuf, Error> {
        let metadata = [("general.architecture", Value::from("controlvector"))];
        let width = |info: &&quipu_gguf::TensorInfo| info.name == "token_embd.weight";
        let n_embd = self.gguf.tensors().iter().find(width).map_or(0, |info| info.ne[0]);
        let tensors: Vec<_> = (1..4).map(|il| (format!("direction.{il}"), vec![n_embd])).collect();
        let path = self.path("control.gguf");
        write(&path, &file(&metadata, &tensors, 0.3, SEED)?)?;
        Ok(path)
    }

    fn reference(
        &self,
        checkout: &Checkout,
        adapters: &RefAdapters,
        n_ubatch: usize,
        flash_attn: bool,
    ) -> Result<Vec<f32>, Error> {
        let (model, tokens) = (&self.path("model.gguf"), &tokens(TOKEN_SEED, N_TOKENS));
        let request = LogitsRequest { model, tokens, n_ubatch, prefixes: &[], flash_attn };
        checkout.logits_adapted(&request, DType::F16, adapters).map(|(logits, _)| logits)
    }

    fn ours(&self, adapters: &RefAdapters, flash_attn: FlashAttn) -> Result<Vec<f32>, Error> {
        let (device, case) = (CpuDevice::default(), self.name.as_str());
        let (fail, model) = (Error::engine::<quipu_decoder::Error>, engine::load(case, &self.gguf, &device)?);
        let tokens = tokens(TOKEN_SEED, N_TOKENS);
        let params = ContextParams {
            n_ctx: tokens.len(),
            n_threads: 2,
            n_threads_batch: 2,
            flash_attn,
            ..ContextParams::default()
        };
        let mut context = Context::new(Arc::clone(&model), &device, &params).map_err(fail(case))?;
        let open = |path: &Path| GgufFile::open(path).map_err(Error::engine(case));
        let mut loras = Vec::new();
        for (path, scale) in &adapters.loras {
            let adapter = model.load_lora(&open(path)?, &device).map_err(Error::engine(case))?;
            loras.push(LoraUse { scale: *scale, ..LoraUse::new(Arc::new(adapter)) });
        }
        context.set_loras(&loras);
        if let Some((path, strength, layers)) = &adapters.control_vector {
            let mut vector = ControlVector::new();
            vector.add(&open(path)?, *strength).map_err(Error::engine(case))?;
            let steering = model.steering(&vector, &device, *layers).map_err(Error::engine(case))?;
            context.set_steering(Some(&Arc::new(steering)));
        }
        let mut batch = Batch::new();
        (0..).zip(&tokens).for_each(|(pos, token)| batch.add(*token, pos, &[0], true));
        context.decode(&batch).map_err(fail(case))?;
        let mut logits = Vec::new();
        for i in 0..tokens.len() {
            logits.extend_from_slice(context.logits(i as i32).map_err(fail(case))?);
        }
        Ok(logits)
    }

    /// With adapters, against the reference's with the same, and that they do something.
    fn compare(
        &self,
        checkout: &Checkout,
        what: &str,
        adapters: &RefAdapters,
        flash_attn: FlashAttn,
        plain: Option<&[f32]>,
    ) -> Result<Row, Error> {
        let reference = |n_ubatch| self.reference(checkout, adapters, n_ubatch, flash_attn.is_on());
        let (whole, single) = (reference(512)?, reference(1)?);
        let ours = self.ours(adapters, flash_attn)?;
        let (error, spread) = (nmse(&whole, &ours), nmse(&whole, &single));
        let change = plain.map_or(1.0, |plain| nmse(plain, &ours));
        let note =
            format!("NMSE {error:.1e} <= {:.1e}, spread {spread:.1e}, changes {change:.1e}", bound(spread));
        let holds = error <= bound(spread) && change > 100.0 * bound(spread);
        Ok(Row::judged("logits, adapters", format!("{}, {what}", self.name), holds, note))
    }
}

/// A file of f32 tensors with random values around 0.
fn file(
    metadata: &[(&str, Value)],
    tensors: &[(String, Vec<u64>)],
    scale: f32,
    seed: u64,
) -> Result<Vec<u8>, Error> {
    let fail = Error::engine::<quipu_gguf::Error>;
    let mut writer = GgufWriter::new();
    for (key, value) in metadata {
        writer.metadata.set(key, value.clone());
    }
    for (name, dims) in tensors {
        writer.add_tensor(name, DType::F32, dims).map_err(fail("an adapter"))?;
    }
    let mut bytes = Vec::new();
    let written = writer.write_to(&mut bytes, |i, sink| {
        let mut random = SplitMix::new(seed * 1000 + i as u64);
        let n: u64 = tensors[i].1.iter().product();
        let values: Vec<u8> = (0..n).flat_map(|_| (scale * random.signed()).to_le_bytes()).collect();
        sink.write_all(&values)
    });
    written.map_err(fail("an adapter"))?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(Error::io(path))
}

/// Adapters, one and two and in part, a control vector, and both, for each of some small models.
///
/// # Errors
/// A probe failed, or an engine that refuses.
pub fn audit(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (name, bytes) in models().filter(|(name, _)| NAMES.contains(name)) {
        let subject = Subject::new(name, bytes?)?;
        let (one, two) = (subject.adapter("one.gguf", SEED)?, subject.adapter("two.gguf", SEED + 1)?);
        let control_vector = Some((subject.control_vector()?, 1.5, [1, 2]));
        let plain = subject.ours(&RefAdapters::default(), FlashAttn::Auto)?;
        let cases = [
            ("an adapter", RefAdapters { loras: vec![(one.clone(), 1.0)], control_vector: None }),
            (
                "two adapters",
                RefAdapters { loras: vec![(one.clone(), 0.7), (two, -1.3)], control_vector: None },
            ),
            ("a control vector", RefAdapters { loras: Vec::new(), control_vector: control_vector.clone() }),
            ("both", RefAdapters { loras: vec![(one, 0.5)], control_vector }),
        ];
        for (what, adapters) in cases {
            rows.push(subject.compare(checkout, what, &adapters, FlashAttn::Auto, Some(&plain))?);
        }
    }
    Ok(rows)
}

/// All toys and small models, in F32.
fn models() -> impl Iterator<Item = (&'static str, Result<Vec<u8>, Error>)> {
    let toys = TOYS.iter().map(|toy| (toy.name, toy.gguf(DType::F32, WEIGHT_SEED)));
    // Of those that are seen by their logits, token by token.
    let small = SMALL.iter().filter(|small| !small.is_whole());
    toys.chain(small.map(|small| (small.name, small.gguf(DType::F32, WEIGHT_SEED))))
}

/// Every toy and every small model with its scores as tensors.
///
/// # Errors
/// As [`audit`].
pub fn audit_without_flash(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (name, bytes) in models() {
        let subject = Subject::new(name, bytes?)?;
        rows.push(subject.compare(
            checkout,
            "flash attention off",
            &RefAdapters::default(),
            FlashAttn::Off,
            None,
        )?);
    }
    Ok(rows)
}
