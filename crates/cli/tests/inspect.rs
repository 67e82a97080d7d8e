//! `quipu inspect`: models in one file and in several, of architectures that are not run, and vocabularies alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu::gguf::{Array, GgufWriter, StringArray, Value};
use quipu_quant::DType;

fn inspect(args: &[&str]) -> String {
    let out =
        Command::new(env!("CARGO_BIN_EXE_quipu")).arg("inspect").args(args).output().expect("it starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// Compares with the file in `snapshots/`; run with `UPDATE_SNAPSHOTS=1` to accept new texts.
fn snapshot(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, found).expect("writable");
    }
    assert_eq!(found, std::fs::read_to_string(&path).expect("the snapshot"), "{name}");
}

/// Writes a file whose tensors are zeros.
fn write(path: &Path, metadata: &[(&str, Value)], tensors: &[(&str, DType, &[u64])]) {
    let mut writer = GgufWriter::new();
    for (key, value) in metadata {
        writer.metadata.set(key, value.clone());
    }
    for (name, dtype, ne) in tensors {
        writer.add_tensor(name, *dtype, ne).expect("a new name");
    }
    let size = |(_, dtype, ne): &(&str, DType, &[u64])| {
        let rows: u64 = ne[1..].iter().product();
        dtype.row_bytes(ne[0] as usize).expect("whole blocks") * rows as usize
    };
    let sizes: Vec<usize> = tensors.iter().map(size).collect();
    let mut out = Vec::new();
    writer.write_to(&mut out, |i, sink| sink.write_all(&vec![0; sizes[i]])).expect("memory is writable");
    std::fs::write(path, out).expect("writable");
}

fn hparams(arch: &str) -> Vec<(String, Value)> {
    let mut keys = vec![("general.architecture".to_owned(), Value::from(arch))];
    let sizes = [
        ("context_length", 4096),
        ("embedding_length", 64),
        ("block_count", 2),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ];
    keys.extend(sizes.map(|(key, n)| (format!("{arch}.{key}"), Value::U32(n))));
    keys.push(("general.file_type".to_owned(), Value::U32(7)));
    keys
}

fn borrowed(keys: &[(String, Value)]) -> Vec<(&str, Value)> {
    keys.iter().map(|(key, value)| (key.as_str(), value.clone())).collect()
}

fn both(name: &str, path: &Path) {
    let path = path.to_str().expect("a plain path");
    snapshot(&format!("inspect-{name}.txt"), &inspect(&[path]));
    snapshot(&format!("inspect-{name}.json"), &inspect(&[path, "--json"]));
}

#[test]
fn a_split_model_is_shown_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |no: usize| -> PathBuf { dir.path().join(format!("toy-{no:05}-of-00002.gguf")) };
    let piece = |no: u16| {
        [("split.no", Value::U16(no)), ("split.count", Value::U16(2)), ("split.tensors.count", Value::I32(3))]
    };
    let mut first = hparams("llama");
    first.extend(piece(0).map(|(key, value)| (key.to_owned(), value)));
    write(&path(1), &borrowed(&first), &[("token_embd.weight", DType::Q8_0, &[64, 10])]);
    let rest: [(&str, DType, &[u64]); 2] =
        [("blk.0.attn_norm.weight", DType::F32, &[64]), ("blk.0.ffn_up.weight", DType::Q4_K, &[256, 2])];
    write(&path(2), &piece(1), &rest);
    both("split", &path(1));
    // A later piece by itself.
    assert!(inspect(&[path(2).to_str().unwrap()]).contains("tensors: 2"));
}

#[test]
fn architectures_that_are_not_run_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.gguf");
    let mut keys = hparams("gpt7");
    keys.push(("gpt7.attention.sliding_window".to_owned(), Value::U32(512)));
    write(&path, &borrowed(&keys), &[("mystery", DType::IQ2_XS, &[256, 3])]);
    both("unknown", &path);
}

#[test]
fn a_vocabulary_alone_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.gguf");
    let mut tokens = StringArray::with_capacity(3);
    for token in ["a", "b\n", "c\"d"] {
        tokens.push(token.as_bytes());
    }
    let keys = [
        ("general.architecture", Value::from("llama")),
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
    ];
    write(&path, &keys, &[]);
    both("vocab", &path);
}

#[test]
fn states_and_tensors_that_no_graph_reads_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("states.gguf");
    let mut keys = vec![("general.architecture".to_owned(), Value::from("mamba"))];
    let sizes = [
        ("vocab_size", 10),
        ("context_length", 1024),
        ("embedding_length", 8),
        ("block_count", 1),
        ("feed_forward_length", 0),
        ("attention.head_count", 0),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 16),
        ("ssm.state_size", 4),
        ("ssm.time_step_rank", 2),
    ];
    keys.extend(sizes.map(|(key, n)| (format!("mamba.{key}"), Value::U32(n))));
    keys.push(("mamba.attention.layer_norm_rms_epsilon".to_owned(), Value::F32(1e-5)));
    let tensors: [(&str, DType, &[u64]); 12] = [
        ("token_embd.weight", DType::F32, &[8, 10]),
        ("output_norm.weight", DType::F32, &[8]),
        ("blk.0.attn_norm.weight", DType::F32, &[8]),
        ("blk.0.ssm_in.weight", DType::F32, &[8, 32]),
        ("blk.0.ssm_conv1d.weight", DType::F32, &[4, 16]),
        ("blk.0.ssm_conv1d.bias", DType::F32, &[16]),
        ("blk.0.ssm_x.weight", DType::F32, &[16, 10]),
        ("blk.0.ssm_dt.weight", DType::F32, &[2, 16]),
        ("blk.0.ssm_dt.bias", DType::F32, &[16]),
        ("blk.0.ssm_a", DType::F32, &[4, 16]),
        ("blk.0.ssm_d", DType::F32, &[16]),
        ("blk.0.ssm_out.weight", DType::F32, &[16, 8]),
    ];
    write(&path, &borrowed(&keys), &tensors);
    let shown: serde_json::Value =
        serde_json::from_str(&inspect(&[path.to_str().unwrap(), "--json"])).expect("JSON");
    // Three inputs and four values of each of 16 channels, whatever the length, and nothing for each token.
    assert_eq!(shown["memory"]["states"], (3 + 4) * 16 * 4);
    assert_eq!(shown["memory"]["kv_cache"], serde_json::json!([]));
    assert_eq!(shown["unused_tensors"], serde_json::json!([]));
    assert!(inspect(&[path.to_str().unwrap()]).contains("  states of a sequence 448 bytes\n"));

    // The reference's graph of this one does without an output matrix.
    let path = dir.path().join("unused.gguf");
    let mut keys = hparams("llama-embed");
    keys.push(("llama-embed.feed_forward_length".to_owned(), Value::U32(32)));
    keys.push(("llama-embed.vocab_size".to_owned(), Value::U32(10)));
    keys.push(("llama-embed.attention.layer_norm_rms_epsilon".to_owned(), Value::F32(1e-5)));
    keys.iter_mut().filter(|(key, _)| key.ends_with("block_count")).for_each(|(_, n)| *n = Value::U32(1));
    let tensors: [(&str, DType, &[u64]); 12] = [
        ("token_embd.weight", DType::F32, &[64, 10]),
        ("output_norm.weight", DType::F32, &[64]),
        ("output.weight", DType::F32, &[64, 10]),
        ("blk.0.attn_norm.weight", DType::F32, &[64]),
        ("blk.0.attn_q.weight", DType::F32, &[64, 64]),
        ("blk.0.attn_k.weight", DType::F32, &[64, 32]),
        ("blk.0.attn_v.weight", DType::F32, &[64, 32]),
        ("blk.0.attn_output.weight", DType::F32, &[64, 64]),
        ("blk.0.ffn_norm.weight", DType::F32, &[64]),
        ("blk.0.ffn_gate.weight", DType::F32, &[64, 32]),
        ("blk.0.ffn_up.weight", DType::F32, &[64, 32]),
        ("blk.0.ffn_down.weight", DType::F32, &[32, 64]),
    ];
    write(&path, &borrowed(&keys), &tensors);
    let text = inspect(&[path.to_str().unwrap()]);
    assert!(text.contains("\nunused tensors: 1\n  output.weight\n"), "{text}");
}
