//! Memory of commands: each does its work in the address space that docs/reliability.md states for it.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use quipu::DType;
use quipu::gguf::{GgufWriter, Value};

const MIB: u64 = 1 << 20;
/// What every command may take beside the program: its work's stack, and what is small.
const LITTLE: u64 = 16 * MIB;

fn limited(bytes: u64, args: &[&str]) -> Output {
    let script = format!("ulimit -v {} || exit 126; exec \"$@\"", bytes >> 10);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_quipu")]).args(args).stdin(Stdio::null());
    command.env_remove("RUST_BACKTRACE").output().expect("sh runs")
}

/// What the program needs to say its version: the loader, its code and debug information.
fn program() -> u64 {
    let mut bytes = 16 * MIB;
    while !limited(bytes, &["--version"]).status.success() {
        bytes += 2 * MIB;
    }
    bytes
}

/// A model file of `n_matrices` matrices of `rows` rows, in F16.
fn model(path: &Path, n_matrices: usize, rows: u64) -> u64 {
    let mut writer = GgufWriter::new();
    writer.metadata.set("general.architecture", Value::from("llama"));
    writer.metadata.set("llama.block_count", Value::U32(n_matrices as u32));
    for i in 0..n_matrices {
        writer.add_tensor(&format!("blk.{i}.ffn_up.weight"), DType::F16, &[256, rows]).expect("a tensor");
    }
    let zeros = vec![0u8; 512 * rows as usize];
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes, |_, out| out.write_all(&zeros)).expect("it fits");
    fs::write(path, &bytes).expect("writable");
    bytes.len() as u64
}

/// A checkpoint of one matrix in F32 and its folder; bytes of the checkpoint.
fn checkpoint(dir: &Path, rows: usize) -> u64 {
    let pieces: Vec<u8> = (0..rows).flat_map(piece).collect();
    let config = format!(
        "{{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 256, \"intermediate_size\": 256, \
         \"num_hidden_layers\": 1, \"num_attention_heads\": 1, \"vocab_size\": {rows}}}"
    );
    let n = rows * 256 * 4;
    let header = format!(
        "{{\"model.embed_tokens.weight\":{{\"dtype\":\"F32\",\"shape\":[{rows},256],\"data_offsets\":[0,{n}]}}}}"
    );
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend_from_slice(header.as_bytes());
    weights.resize(weights.len() + n, 0);
    fs::create_dir_all(dir).expect("a folder");
    fs::write(dir.join("config.json"), config).expect("writable");
    fs::write(dir.join("tokenizer.model"), pieces).expect("writable");
    fs::write(dir.join("model.safetensors"), &weights).expect("writable");
    weights.len() as u64
}

/// A piece of a SentencePiece model.
fn piece(id: usize) -> Vec<u8> {
    let text = if id == 0 { "<unk>".to_owned() } else { format!("t{id}") };
    let mut message = vec![0x0a, text.len() as u8];
    message.extend_from_slice(text.as_bytes());
    message.push(0x15);
    message.extend_from_slice(&(-(id as f32)).to_le_bytes());
    if id == 0 {
        message.extend_from_slice(&[0x18, 2]);
    }
    [vec![0x0a, message.len() as u8], message].concat()
}

#[track_caller]
fn assert_enough(bytes: u64, args: &[&str]) {
    let output = limited(bytes, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?} in {} MiB: {stderr}", bytes / MIB);
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn inspect_takes_the_mapping_and_ten_headers() {
    let (dir, program) = (tempfile::tempdir().expect("a folder"), program());
    for (n_matrices, rows) in [(1, 2048), (8, 8192), (4096, 4)] {
        let path = dir.path().join("m.gguf");
        let n_bytes = model(&path, n_matrices, rows);
        let header = n_bytes - n_matrices as u64 * rows * 512;
        assert_enough(program + LITTLE + n_bytes + 10 * header, &["inspect", &text(&path)]);
    }
}

#[test]
fn quantize_takes_the_mapping_a_tensor_and_little_for_each_thread() {
    let (dir, program) = (tempfile::tempdir().expect("a folder"), program());
    let out = text(&dir.path().join("q.gguf"));
    for (n_matrices, rows, n_threads) in [(1, 2048, 1), (8, 8192, 2), (1, 65536, 4)] {
        let path = dir.path().join("m.gguf");
        let n_bytes = model(&path, n_matrices, rows);
        let tensor = rows * 256 * 34 / 32;
        let bound = program + LITTLE + n_bytes + tensor + n_threads * 3 * MIB;
        assert_enough(bound, &["quantize", &text(&path), &out, "Q8_0", &n_threads.to_string()]);
    }
}

#[test]
fn convert_takes_the_checkpoint_and_the_vocabulary() {
    let (dir, program) = (tempfile::tempdir().expect("a folder"), program());
    let out = text(&dir.path().join("out.gguf"));
    for rows in [2048, 16384, 65536] {
        let folder: PathBuf = dir.path().join(rows.to_string());
        let n_bytes = checkpoint(&folder, rows);
        let vocabulary = fs::metadata(folder.join("tokenizer.model")).expect("there").len();
        let bound = program + LITTLE + n_bytes + 40 * vocabulary;
        assert_enough(bound, &["convert", &text(&folder), "-o", &out, "--outtype", "f16"]);
    }
}
