//! Quantised files: what `quipu quantize` writes against what llama-quantize writes, byte for byte.
//!
//! The models are made here, small and in shapes that reach the branches of the type mixtures: many layers,
//! experts, grouped queries, widths that are no multiple of 256. `goldens/quantize.json` records the hash of
//! llama-quantize's file for each case.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use quipu_gguf::{GgufFile, GgufSet, GgufWriter, Inputs, MetadataOverride, OverrideValue, Value};
use quipu_model::quantize::{FileType, Imatrix, ImatrixEntry, QuantizeParams, plan, quantize};
use quipu_quant::{DType, quantize_row};
use quipu_testing::{SplitMix, fnv1a};
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::golden_files::{folder, read_json, write_json};
use crate::report::{Row, Verdict};

/// Share of blocks that may differ where the reference's compiler contracts multiplications and additions.
const MAX_CONTRACTED: f64 = 1e-5;
/// Rows of every matrix.
const N_ROWS: u64 = 16;

/// A model to quantise.
#[derive(Clone, Copy, Debug)]
struct Source {
    name: &'static str,
    architecture: &'static str,
    n_layer: u32,
    n_expert: u32,
    n_head: u32,
    n_head_kv: u32,
    /// Columns of every matrix.
    width: u64,
    tied: bool,
    dtype: DType,
}

const SOURCES: [Source; 5] = [
    Source {
        name: "llama-9",
        architecture: "llama",
        n_layer: 9,
        n_expert: 0,
        n_head: 8,
        n_head_kv: 2,
        width: 256,
        tied: false,
        dtype: DType::F32,
    },
    Source {
        name: "llama-moe",
        architecture: "llama",
        n_layer: 2,
        n_expert: 8,
        n_head: 8,
        n_head_kv: 8,
        width: 256,
        tied: true,
        dtype: DType::F16,
    },
    Source {
        name: "falcon-17",
        architecture: "falcon",
        n_layer: 17,
        n_expert: 0,
        n_head: 8,
        n_head_kv: 8,
        width: 256,
        tied: false,
        dtype: DType::BF16,
    },
    Source {
        name: "qwen2-96",
        architecture: "qwen2",
        n_layer: 2,
        n_expert: 0,
        n_head: 4,
        n_head_kv: 4,
        width: 96,
        tied: true,
        dtype: DType::F32,
    },
    Source {
        name: "llama-40",
        architecture: "llama",
        n_layer: 1,
        n_expert: 0,
        n_head: 4,
        n_head_kv: 2,
        width: 40,
        tied: false,
        dtype: DType::F16,
    },
];

impl Source {
    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![self.width, 32]),
            ("output_norm.weight".to_owned(), vec![self.width]),
        ];
        if !self.tied {
            tensors.push(("output.weight".to_owned(), vec![self.width, 32]));
        }
        let attention: &[&str] = match self.architecture {
            "falcon" => &["attn_qkv", "attn_output"],
            _ => &["attn_q", "attn_k", "attn_v", "attn_output"],
        };
        // Not in the order of their numbers, which is the one they are written in.
        for il in (0..self.n_layer).rev() {
            let mut add = |part: &str, ne: Vec<u64>| tensors.push((format!("blk.{il}.{part}.weight"), ne));
            add("attn_norm", vec![self.width]);
            for part in attention {
                add(part, vec![self.width, N_ROWS]);
            }
            if self.n_expert == 0 {
                for part in ["ffn_gate", "ffn_up", "ffn_down"] {
                    add(part, vec![self.width, N_ROWS]);
                }
                continue;
            }
            let n_expert = u64::from(self.n_expert);
            add("ffn_gate_inp", vec![self.width, n_expert]);
            for part in ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"] {
                add(part, vec![self.width, N_ROWS / 4, n_expert]);
            }
        }
        tensors
    }

    /// The file; the same bytes everywhere.
    fn gguf(&self) -> Result<Vec<u8>, Error> {
        let fail = Error::engine::<quipu_gguf::Error>(self.name);
        let mut writer = GgufWriter::new();
        let metadata = &mut writer.metadata;
        metadata.set("general.architecture", Value::from(self.architecture));
        metadata.set("general.file_type", Value::U32(1));
        let mut number = |key: &str, value: u32| {
            metadata.set(&format!("{}.{key}", self.architecture), Value::U32(value));
        };
        number("context_length", 128);
        number("embedding_length", self.n_head * 16);
        number("block_count", self.n_layer);
        number("feed_forward_length", N_ROWS as u32);
        number("attention.head_count", self.n_head);
        number("attention.head_count_kv", self.n_head_kv);
        number("rope.dimension_count", 16);
        if self.n_expert > 0 {
            number("expert_count", self.n_expert);
            number("expert_used_count", 2);
        }
        for key in ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"] {
            metadata.set(&format!("{}.{key}", self.architecture), Value::F32(1e-5));
        }
        metadata.set("tokenizer.ggml.model", Value::from("none"));
        let tensors = self.tensors();
        let dtype_of = |ne: &[u64]| if ne.len() == 1 { DType::F32 } else { self.dtype };
        for (name, ne) in &tensors {
            writer.add_tensor(name, dtype_of(ne), ne).map_err(&fail)?;
        }
        let mut out = Vec::new();
        writer
            .write_to(&mut out, |i, sink| {
                let (name, ne) = &tensors[i];
                sink.write_all(&values(name, ne, dtype_of(ne)))
            })
            .map_err(&fail)?;
        Ok(out)
    }

    /// Sums for every matrix, some columns of no weight, and one expert that was never chosen.
    fn imatrix(&self) -> Imatrix {
        let mut entries = BTreeMap::new();
        for (name, ne) in self.tensors() {
            if ne.len() < 2 || !name.starts_with("blk.") {
                continue;
            }
            let mut random = SplitMix::new(fnv1a(name.as_bytes()) ^ 1);
            let n_mat = ne.get(2).copied().unwrap_or(1) as usize;
            let sum = |random: &mut SplitMix| {
                if random.below(16) == 0 { 0.0 } else { random.normal().abs() * 40.0 }
            };
            let sums = (0..ne[0] as usize * n_mat).map(|_| sum(&mut random)).collect();
            let mut counts = vec![64; n_mat];
            if n_mat > 1 {
                counts[1] = 0;
            }
            entries.insert(name, ImatrixEntry { sums, counts });
        }
        let datasets = vec!["some text.txt".to_owned()];
        Imatrix { entries, datasets, chunk_count: 7, chunk_size: 8, is_legacy: false }
    }
}

/// Normal values with an outlier here and there and a stretch of zeros.
fn values(name: &str, ne: &[u64], dtype: DType) -> Vec<u8> {
    let mut random = SplitMix::new(fnv1a(name.as_bytes()));
    let n: u64 = ne.iter().product();
    let value = |i: u64, random: &mut SplitMix| match random.below(1000) {
        // Whole blocks of zeros: parts of one are the subject of QUANT-IQ3S.
        _ if i % 4096 < 256 => 0.0,
        0 => 8.0 * random.normal(),
        _ => 0.1 * random.normal(),
    };
    let values: Vec<f32> = (0..n).map(|i| value(i, &mut random)).collect();
    let mut out = vec![0; dtype.row_bytes(values.len()).unwrap_or(0)];
    let written = quantize_row(dtype, &values, &mut out);
    debug_assert!(written.is_ok(), "{written:?}");
    out
}

/// What is varied beside the file type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Plain,
    /// With an importance matrix in the GGUF form.
    Imatrix,
    /// With one in the older form.
    LegacyImatrix,
    /// Other options: overrides of types and metadata.
    Options,
}

impl Variant {
    const ALL: [Variant; 4] = [Variant::Plain, Variant::Imatrix, Variant::LegacyImatrix, Variant::Options];

    fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::Imatrix => "imatrix",
            Variant::LegacyImatrix => "legacy imatrix",
            Variant::Options => "options",
        }
    }

    /// The options as llama-quantize takes them.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Variant::Plain => &[],
            Variant::Imatrix | Variant::LegacyImatrix => &["--imatrix", "imatrix"],
            Variant::Options => &[
                "--pure",
                "--leave-output-tensor",
                "--token-embedding-type",
                "q8_0",
                "--tensor-type",
                "ffn_(up|gate)=q4_1",
                "--override-kv",
                "general.name=str:a name",
                "--override-kv",
                "x.y=int:-3",
            ],
        }
    }

    /// The same options for the engine.
    fn params(self, file_type: FileType, imatrix: &Imatrix) -> QuantizeParams {
        let mut params = QuantizeParams { file_type, n_threads: 2, ..QuantizeParams::default() };
        match self {
            Variant::Plain => {}
            Variant::Imatrix | Variant::LegacyImatrix => params.set_imatrix(imatrix, "imatrix", &[], &[]),
            Variant::Options => {
                params.pure = true;
                params.leave_output_tensor = true;
                params.token_embedding_type = Some(DType::Q8_0);
                params.tensor_types = vec![("ffn_(up|gate)".to_owned(), DType::Q4_1)];
                let set = |key: &str, value| MetadataOverride { key: key.to_owned(), value };
                params.overrides = vec![
                    set("general.name", OverrideValue::Str("a name".to_owned())),
                    set("x.y", OverrideValue::Int(-3)),
                ];
            }
        }
        params
    }
}

/// One case: a model, a file type, options.
#[derive(Clone, Copy, Debug)]
struct Case {
    source: &'static Source,
    file_type: FileType,
    variant: Variant,
}

impl Case {
    fn name(&self) -> String {
        format!("{} {} {}", self.source.name, self.file_type, self.variant.name())
    }

    /// The file Quipu writes, or why it refuses.
    fn ours(&self, input: &[u8]) -> Result<Result<Vec<u8>, String>, Error> {
        let name = self.name();
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let output = dir.path().join("out.gguf");
        let imatrix = self.written_imatrix(dir.path())?;
        let file = GgufFile::from_vec(input.to_vec()).map_err(Error::engine(&name))?;
        let set = GgufSet::from(&file);
        let params = self.variant.params(self.file_type, &imatrix);
        let done = plan(&set, &params).and_then(|plan| {
            quantize(&set, &plan, &params, std::slice::from_ref(&output), &Inputs::new(), |_, _| true)
        });
        match done {
            Ok(()) => Ok(Ok(std::fs::read(&output).map_err(Error::io(&output))?)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// The file llama-quantize writes, or its last words.
    fn theirs(&self, checkout: &Checkout, input: &[u8]) -> Result<Result<Vec<u8>, String>, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let (source, output) = (dir.path().join("in.gguf"), dir.path().join("out.gguf"));
        std::fs::write(&source, input).map_err(Error::io(&source))?;
        self.written_imatrix(dir.path())?;
        let mut program = Command::new(checkout.programs().join("llama-quantize"));
        program.current_dir(dir.path()).args(self.variant.arguments());
        program.args(["in.gguf", "out.gguf", self.file_type.name(), "2"]);
        match run(&mut program) {
            Ok(_) => Ok(Ok(std::fs::read(&output).map_err(Error::io(&output))?)),
            Err(Error::Program { message, .. }) => Ok(Err(message)),
            Err(error) => Err(error),
        }
    }

    /// Writes the importance matrix into `dir` in the case's form, and reads it back.
    fn written_imatrix(&self, dir: &Path) -> Result<Imatrix, Error> {
        let path = dir.join("imatrix");
        let imatrix = self.source.imatrix();
        let mut bytes = Vec::new();
        if self.variant == Variant::LegacyImatrix {
            imatrix.write_legacy(&mut bytes).map_err(Error::io(&path))?;
        } else {
            imatrix.write_gguf(&mut bytes).map_err(Error::engine(self.source.name))?;
        }
        std::fs::write(&path, bytes).map_err(Error::io(&path))?;
        Imatrix::open(&path).map_err(Error::engine(self.source.name))
    }
}

/// Every source in every file type, plain and with an importance matrix; the other variants with fewer types.
fn cases() -> impl Iterator<Item = Case> {
    SOURCES.iter().flat_map(|source| {
        FileType::ALL.into_iter().flat_map(move |file_type| {
            Variant::ALL.into_iter().filter_map(move |variant| {
                let few =
                    matches!(file_type, FileType::Q4_K_M | FileType::Q8_0 | FileType::IQ2_M | FileType::F16);
                let taken = matches!(variant, Variant::Plain | Variant::Imatrix) || few;
                taken.then_some(Case { source, file_type, variant })
            })
        })
    })
}

/// `quantize.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct QuantizeGolden {
    /// How the goldens were made.
    provenance: BTreeMap<String, String>,
    /// FNV-1a of each source.
    sources: BTreeMap<String, String>,
    /// FNV-1a of llama-quantize's file for each case; "refused" where it wrote none.
    files: BTreeMap<String, String>,
}

const REFUSED: &str = "refused";

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", fnv1a(bytes))
}

/// Records llama-quantize's answers.
///
/// # Errors
/// Its program could not be run.
pub fn record(checkout: &Checkout, provenance: BTreeMap<String, String>) -> Result<(), Error> {
    let mut golden = QuantizeGolden { provenance, sources: BTreeMap::new(), files: BTreeMap::new() };
    for case in cases() {
        let input = case.source.gguf()?;
        golden.sources.insert(case.source.name.to_owned(), hash(&input));
        let theirs = case.theirs(checkout, &input)?;
        golden.files.insert(case.name(), theirs.map_or(REFUSED.to_owned(), |bytes| hash(&bytes)));
    }
    write_json(&folder().join("quantize.json"), &golden)
}

/// Compares with the recorded hashes.
///
/// # Errors
/// Goldens that cannot be read.
pub fn replay() -> Result<Vec<Row>, Error> {
    let golden: QuantizeGolden = read_json(&folder().join("quantize.json"))?;
    let mut rows = Vec::new();
    for case in cases() {
        let name = case.name();
        let Some(recorded) = golden.files.get(&name) else {
            rows.push(Row::new("quantize", name, Verdict::Skipped("not recorded".to_owned()), ""));
            continue;
        };
        let input = case.source.gguf()?;
        if golden.sources.get(case.source.name) != Some(&hash(&input)) {
            rows.push(Row::judged("quantize", name, false, "the source is not the one recorded"));
            continue;
        }
        let ours = case.ours(&input)?;
        let found = ours.as_ref().map_or_else(|_| REFUSED.to_owned(), |bytes| hash(bytes));
        let note = format!("file {found}, llama-quantize {recorded}");
        rows.push(Row::judged("quantize", name, found == *recorded, note));
    }
    Ok(rows)
}

/// Compares with llama-quantize itself, byte by byte, and where files differ block by block.
///
/// # Errors
/// Its program could not be run.
pub fn audit(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    if !checkout.programs().join("llama-quantize").is_file() {
        let why = "the build has no llama-quantize".to_owned();
        return Ok(vec![Row::new("quantize", "all file types", Verdict::Skipped(why), "")]);
    }
    let mut rows = Vec::new();
    for case in cases() {
        let input = case.source.gguf()?;
        rows.push(match (case.ours(&input)?, case.theirs(checkout, &input)?) {
            (Ok(ours), Ok(theirs)) => compare(&case.name(), &ours, &theirs)?,
            (Err(_), Err(_)) => Row::judged("quantize", case.name(), true, "both refuse"),
            (Err(why), Ok(_)) => {
                Row::judged("quantize", case.name(), false, format!("only Quipu refuses: {why}"))
            }
            (Ok(_), Err(why)) => {
                Row::judged("quantize", case.name(), false, format!("only llama-quantize refuses: {why}"))
            }
        });
    }
    Ok(rows)
}

fn compare(name: &str, ours: &[u8], theirs: &[u8]) -> Result<Row, Error> {
    if ours == theirs {
        return Ok(Row::judged("quantize", name, true, format!("{} bytes", ours.len())));
    }
    let open = |bytes: &[u8]| GgufFile::from_vec(bytes.to_vec()).map_err(Error::engine(name));
    let (ours, theirs) = (open(ours)?, open(theirs)?);
    if ours.gguf() != theirs.gguf() {
        return Ok(Row::judged("quantize", name, false, "metadata or tensor types differ"));
    }
    let (mut n_blocks, mut n_differing) = (0usize, 0usize);
    for (i, tensor) in ours.tensors().iter().enumerate() {
        let len = tensor.dtype.block_bytes();
        let data = |file: &GgufFile| {
            file.tensor_data(i).map(std::borrow::Cow::into_owned).map_err(Error::engine(name))
        };
        let (a, b) = (data(&ours)?, data(&theirs)?);
        n_blocks += a.len() / len;
        n_differing += a.chunks(len).zip(b.chunks(len)).filter(|(a, b)| a != b).count();
    }
    let note = format!("{n_differing} of {n_blocks} blocks differ");
    let mut row = Row::judged("quantize", name, false, note);
    if n_differing as f64 <= MAX_CONTRACTED * n_blocks as f64 {
        row.allowed_by = Some("QUANT-FMA".to_owned());
    }
    Ok(row)
}
