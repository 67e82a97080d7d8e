//! Node by node: every result of a real graph, computed from the reference's own operands.
//!
//! Whole models are compared within what the reference is from itself, which for quantised types is 1e-6 and hides a kernel that is off
//! by one in a hundred. Here each result is compared as soon as it is there, and then replaced by the reference's, so that
//! the next node starts from the reference's numbers and errors cannot hide behind each other.
//!
//! Nodes are told apart by their op, the weight they read, if any, and their shape; of equal ones the first belongs to the first.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use quipu_backend::{BufferTable, Error as BackendError};
use quipu_cpu_backend::{CpuDevice, CpuOptions};
use quipu_gguf::GgufFile;
use quipu_graph::{DType, Graph, RULES, Storage, TensorId};
use quipu_testing::{AfterNode, EachNode, HookedDevice, TinyLlama, fnv1a, nmse};
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, LogitsRequest, RefTensor, floats};
use crate::engine;
use crate::error::Error;
use crate::golden_files::{folder, read_json, write_json};
use crate::report::{Row, Verdict};
use crate::toy::{TOYS, TYPES, tokens};

/// Tokens of a comparison, and how many of them make the first ubatch: products of six columns and of one take different kernels.
const N_TOKENS: usize = 7;
const N_UBATCH: usize = 6;
/// NMSE on the reference's own operands.
const BOUND: f64 = 1e-9;
/// The same where the reference computes in f16: attention of few tokens.
const F16_BOUND: f64 = 1e-6;
/// Types of the recorded toy's matrices, in turn over all its tensors. The first falls to the embedding table, the others to products.
const MIXED: [DType; 12] = [
    DType::Q2_K,
    DType::Q8_0,
    DType::Q6_K,
    DType::Q5_0,
    DType::F16,
    DType::Q5_K,
    DType::Q4_0,
    DType::BF16,
    DType::Q3_K,
    DType::MXFP4,
    DType::IQ4_NL,
    DType::Q4_K,
];

/// The recorded toy: two layers, rows of 256 and 512.
const MIXED_LLAMA: TinyLlama<'static> =
    TinyLlama { n_layer: 2, n_vocab: 96, n_embd: 256, n_ff: 512, n_head: 4, n_head_kv: 2, types: &MIXED };

/// What a node is known by in both graphs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    op: String,
    /// The weight among its operands; empty if there is none.
    weight: String,
    ne: [usize; 4],
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.op, self.weight, self.ne)
    }
}

impl Key {
    /// Of a node with arithmetic whose result is f32 in one piece.
    fn of(graph: &Graph, id: TensorId) -> Option<Key> {
        let tensor = &graph[id];
        if tensor.dtype != DType::F32 || !tensor.is_contiguous() || tensor.op.rule().is_metadata() {
            return None;
        }
        let is_weight =
            |name: &str| name.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "weight" | "bias"));
        let weight = tensor
            .src
            .iter()
            .map(|src| &graph[*src])
            .find(|source| matches!(source.storage, Storage::External { .. }) && is_weight(&source.name));
        let weight = weight.map(|source| source.name.clone()).unwrap_or_default();
        Some(Key { op: tensor.op.rule().name.to_owned(), weight, ne: tensor.ne })
    }

    /// Of a tensor of the reference; `None` for views and what we have no op for.
    fn of_reference(tensor: &RefTensor) -> Option<Key> {
        let rule = RULES.iter().find(|rule| rule.name == tensor.op)?;
        let key = Key { op: tensor.op.clone(), weight: tensor.weight.clone(), ne: tensor.ne };
        (!rule.is_metadata()).then_some(key)
    }

    fn bound(&self) -> f64 {
        if self.op == "FLASH_ATTN_EXT" { F16_BOUND } else { BOUND }
    }
}

/// A result of ours against the reference's.
#[derive(Clone, Debug)]
struct Compared {
    key: Key,
    error: f64,
}

/// Puts the reference's results in the place of ours as soon as they are compared.
#[derive(Clone, Debug)]
struct Forcing {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    expected: BTreeMap<Key, VecDeque<Vec<f32>>>,
    compared: Vec<Compared>,
    /// Ours that the reference does not have.
    n_own: usize,
    /// A weight whose product comes out one in a hundred too large.
    spoiled: Option<String>,
}

impl AfterNode for Forcing {
    fn after(&self, graph: &Graph, id: TensorId, buffers: &mut BufferTable) -> Result<(), BackendError> {
        let Some(key) = Key::of(graph, id) else { return Ok(()) };
        let Ok(mut state) = self.state.lock() else { return Ok(()) };
        let Some(expected) = state.expected.get_mut(&key).and_then(VecDeque::pop_front) else {
            state.n_own += 1;
            return Ok(());
        };
        let tensor = &graph[id];
        let mut bytes = vec![0; tensor.n_bytes()];
        buffers.read_tensor(tensor, 0, &mut bytes)?;
        let mut found = floats(&bytes);
        if key.op == "MUL_MAT" && state.spoiled.as_ref() == Some(&key.weight) {
            for value in &mut found {
                *value *= 1.01;
            }
        }
        state.compared.push(Compared { error: nmse(&expected, &found), key });
        let bytes: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        buffers.write_tensor(tensor, &bytes)
    }
}

/// Computes the toy beside the reference's results.
fn compare(
    case: &str,
    file: &GgufFile,
    tokens: &[u32],
    reference: impl Iterator<Item = (Key, Vec<f32>)>,
    spoiled: Option<&str>,
) -> Result<State, Error> {
    let mut state = State { spoiled: spoiled.map(str::to_owned), ..State::default() };
    for (key, values) in reference {
        state.expected.entry(key).or_default().push_back(values);
    }
    let hook = Forcing { state: Arc::new(Mutex::new(state)) };
    let device = HookedDevice { inner: CpuDevice::new(CpuOptions::default()), hook: EachNode(hook) };
    engine::logits_on(&device, case, file, tokens, N_UBATCH)?;
    let mut state =
        device.hook.0.state.lock().map_err(|_| Error::Engine {
            case: case.to_owned(),
            message: "a comparison panicked".to_owned(),
        })?;
    Ok(std::mem::take(&mut *state))
}

/// A row for each node.
fn rows(case: &str, state: &State) -> Vec<Row> {
    let compared = state.compared.iter().map(|Compared { key, error }| {
        let bound = key.bound();
        let note = format!("NMSE {error:.1e} <= {bound:.0e}");
        Row::judged("nodes", format!("{case}: {key}"), *error <= bound, note)
    });
    let missing = state.expected.iter().filter(|(key, left)| key.op == "MUL_MAT" && !left.is_empty());
    let missing = missing.map(|(key, _)| {
        Row::judged("nodes", format!("{case}: {key}"), false, "our graph has no such product")
    });
    compared.chain(missing).collect()
}

/// One row for a whole graph: its worst product and its worst other node.
fn summary(case: &str, state: &State) -> Row {
    let rows = rows(case, state);
    let bad = rows.iter().find(|row| row.verdict != Verdict::Equal);
    let of = |is_product: bool| state.compared.iter().filter(move |c| (c.key.op == "MUL_MAT") == is_product);
    let worst = |is_product: bool| {
        of(is_product).max_by(|a, b| (a.error / a.key.bound()).total_cmp(&(b.error / b.key.bound())))
    };
    let say = |worst: Option<&Compared>| {
        worst.map_or("none".to_owned(), |worst| format!("{} NMSE {:.1e}", worst.key, worst.error))
    };
    let note = format!(
        "{} products, worst {}; {} others, worst {}; {} only in ours",
        of(true).count(),
        say(worst(true)),
        of(false).count(),
        say(worst(false)),
        state.n_own,
    );
    Row::judged("nodes", case, bad.is_none() && of(true).count() > 0, note)
}

/// Every toy in every type, node by node, against a checkout.
///
/// # Errors
/// A probe that failed, or an engine that refuses.
pub fn audit(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    let mixed =
        against(checkout, "llama, mixed types", &MIXED_LLAMA.gguf(), &MIXED_LLAMA.tokens(N_TOKENS, 1))?;
    let mut rows = vec![mixed];
    let cases = TOYS.iter().flat_map(|toy| TYPES.map(|dtype| (toy, dtype)));
    for (toy, dtype) in cases.filter(|(toy, dtype)| toy.fits(*dtype)) {
        let bytes = toy.gguf(dtype, crate::logits::WEIGHT_SEED)?;
        let tokens = tokens(crate::logits::TOKEN_SEED, N_TOKENS);
        rows.push(against(checkout, &format!("{} {dtype}", toy.name), &bytes, &tokens)?);
    }
    Ok(rows)
}

fn against(checkout: &Checkout, case: &str, bytes: &[u8], tokens: &[u32]) -> Result<Row, Error> {
    let reference = reference(checkout, bytes, tokens)?;
    let file = GgufFile::from_vec(bytes.to_vec()).map_err(Error::engine(case))?;
    let state = compare(case, &file, tokens, reference.into_iter(), None)?;
    Ok(summary(case, &state))
}

/// What the reference computes, in its order.
fn reference(checkout: &Checkout, bytes: &[u8], tokens: &[u32]) -> Result<Vec<(Key, Vec<f32>)>, Error> {
    let mut file = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
    file.write_all(bytes).map_err(Error::io(file.path()))?;
    let request =
        LogitsRequest { model: file.path(), tokens, n_ubatch: N_UBATCH, prefixes: &[""], flash_attn: true };
    let (_, tensors) = checkout.logits(&request)?;
    let keyed = tensors.into_iter().filter_map(|tensor| Some((Key::of_reference(&tensor)?, tensor.values)));
    Ok(keyed.collect())
}

/// `nodes/index.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    provenance: BTreeMap<String, String>,
    /// FNV-1a of the toy's file, in hexadecimal.
    model_hash: String,
    /// In the reference's order; their values lie one behind the other in `nodes.bin`.
    nodes: Vec<Key>,
}

/// Records the mixed toy's nodes.
///
/// # Errors
/// A probe failed or a file could not be written.
pub(crate) fn record(checkout: &Checkout, provenance: BTreeMap<String, String>) -> Result<(), Error> {
    let bytes = MIXED_LLAMA.gguf();
    let nodes = reference(checkout, &bytes, &MIXED_LLAMA.tokens(N_TOKENS, 1))?;
    let dir = folder().join("nodes");
    std::fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    let values: Vec<u8> = nodes.iter().flat_map(|(_, values)| values).flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(dir.join("nodes.bin"), values).map_err(Error::io(&dir))?;
    let nodes = nodes.into_iter().map(|(key, _)| key).collect();
    let index = Index { provenance, model_hash: format!("{:016x}", fnv1a(&bytes)), nodes };
    write_json(&dir.join("index.json"), &index)
}

/// Compares with the recorded nodes. With `spoiled`, the product of that weight comes out one in a hundred too large.
///
/// # Errors
/// Goldens that cannot be read, or an engine that refuses.
pub fn replay(spoiled: Option<&str>) -> Result<Vec<Row>, Error> {
    let case = "llama, mixed types";
    let dir = folder().join("nodes");
    let index: Index = read_json(&dir.join("index.json"))?;
    let bytes = MIXED_LLAMA.gguf();
    if format!("{:016x}", fnv1a(&bytes)) != index.model_hash {
        return Ok(vec![Row::judged(
            "nodes",
            case,
            false,
            "the toy is not the one the golden was made with",
        )]);
    }
    let values = read_values(&dir.join("nodes.bin"), &index)?;
    let file = GgufFile::from_vec(bytes).map_err(Error::engine(case))?;
    let tokens = MIXED_LLAMA.tokens(N_TOKENS, 1);
    let state = compare(case, &file, &tokens, index.nodes.into_iter().zip(values), spoiled)?;
    Ok(rows(case, &state))
}

fn read_values(path: &Path, index: &Index) -> Result<Vec<Vec<f32>>, Error> {
    let all = floats(&std::fs::read(path).map_err(Error::io(path))?);
    let mut rest = all.as_slice();
    let mut values = Vec::new();
    for key in &index.nodes {
        let n = key.ne.iter().try_fold(1usize, |n, ne| n.checked_mul(*ne));
        let Some((own, others)) = n.and_then(|n| rest.split_at_checked(n)) else {
            return Err(Error::Golden {
                name: path.display().to_string(),
                message: format!("{key} is not among the {} values recorded", all.len()),
            });
        };
        values.push(own.to_vec());
        rest = others;
    }
    Ok(values)
}
