//! `quipu sbs` and the ways between `.sbs` and GGUF.

use std::path::Path;
use std::process::{Command, Output};

use quipu_gemma::gguf::sentencepiece_of;
use quipu_gemma::{
    BlobWriter, Model, ModelConfig, PromptWrapping, SbsFile, SbsWriter, TensorInfos, Type, config_of,
    used_tensors,
};

fn quipu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One layer of 32.
fn config() -> ModelConfig {
    let mut config = config_of(Model::Gemma3_270M, Type::Sfp, PromptWrapping::GemmaIt).expect("known");
    (config.num_layers, config.model_dim, config.vocab_size) = (1, 32, 8);
    config.attention_window_sizes = vec![16];
    config.layer_configs.truncate(1);
    let layer = &mut config.layer_configs[0];
    (layer.model_dim, layer.ff_hidden_dim, layer.heads, layer.kv_heads, layer.qkv_dim) = (32, 32, 2, 1, 16);
    config
}

fn write_toy(path: &Path, first: f32) {
    let config = config();
    let infos = TensorInfos::new(&config);
    let mut writer = SbsWriter::new(Vec::new()).expect("memory");
    for (name, _) in used_tensors(&config) {
        if ["att_w_0", "qkv1_w_0", "qkv2_w_0", "gating1_w_0", "gating2_w_0"].contains(&name.as_str()) {
            continue;
        }
        let info = infos.find(&name).expect("a tensor");
        let (rows, cols) = info.extents();
        let dtype = if info.min_size == Type::I8 { Type::Sfp } else { info.min_size };
        let mut values: Vec<f32> = (0..rows * cols).map(|i| (i % 29) as f32 / 32.0 - 0.5).collect();
        values[0] = first;
        writer.encode(&name, dtype, rows, cols, &mut values).expect("good");
    }
    let metadata = quipu::gguf::Metadata::default();
    assert!(sentencepiece_of(&metadata).is_err(), "a vocabulary is not made of nothing");
    std::fs::write(path, writer.finish(&config, None).expect("memory")).expect("writable");
}

#[test]
fn a_file_is_shown_compared_and_migrated() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let (a, b, c) = (path("a.sbs"), path("b.sbs"), path("c.sbs"));
    write_toy(Path::new(&a), 0.25);
    write_toy(Path::new(&b), 0.5);

    let shown = quipu(&["sbs", "inspect", &a, "--distortion", "nuq"]);
    assert!(shown.status.success(), "{}", stderr(&shown));
    let text = stdout(&shown);
    for expected in ["SBS V2, single file", "gemma3-270m-sfp-it", "qkv_ein_0        sfp   64 x 32", "as nuq:"]
    {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert!(!quipu(&["sbs", "inspect", &a, "--distortion", "q4_k"]).status.success());
    let shown = stdout(&quipu(&["sbs", "inspect", &a, "--analyze"]));
    let (_, of_qkv) = shown.split_once("qkv_ein_0").expect("a tensor");
    // 64 rows of 32 values, a 29th of which is a multiple of 1/32 each.
    let lines: Vec<&str> = of_qkv.lines().collect();
    assert!(lines[1].contains("but zero, -0.5000 to 0.375"), "{shown}");
    assert!(lines[2].contains("outliers 0 (0.000 %)") && lines[3].contains("groups of 256"), "{shown}");
    assert!(lines[4].contains("exponents: ") && lines[5].contains("mantissas: "), "{shown}");

    let migrated = quipu(&["sbs", "migrate", &a, &c]);
    assert!(migrated.status.success(), "{}", stderr(&migrated));
    assert!(stderr(&migrated).contains("no tokenizer"));
    assert!(std::fs::read(&a).expect("there") == std::fs::read(&c).expect("there"));
    assert!(!quipu(&["sbs", "migrate", &a, &a]).status.success(), "an input is not written over");

    let same = quipu(&["sbs", "compare", &a, &c]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let differ = quipu(&["sbs", "compare", &a, &b]);
    assert_eq!(differ.status.code(), Some(1));
    assert!(stdout(&differ).contains("c_embedding: "), "{}", stdout(&differ));
    let mut writer = BlobWriter::new(Vec::new()).expect("memory");
    writer.add("other", &[1]).expect("good");
    std::fs::write(&b, writer.finish().expect("memory")).expect("writable");
    assert_eq!(quipu(&["sbs", "compare", &a, &b]).status.code(), Some(2));
    std::fs::write(&b, [0; 1000]).expect("writable");
    assert_eq!(quipu(&["sbs", "compare", &a, &b]).status.code(), Some(2));
    let refused = quipu(&["sbs", "inspect", &b]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("not a .sbs file"), "{}", stderr(&refused));
    assert_eq!(stderr(&refused).lines().count(), 1);
}

#[test]
fn a_model_without_tokenizer_is_not_converted_and_one_that_gemma_does_not_know_neither() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let (sbs, gguf, back) = (path("a.sbs"), path("a.gguf"), path("b.sbs"));
    write_toy(Path::new(&sbs), 0.25);
    let refused = quipu(&["convert", &sbs, "-o", &gguf]);
    assert!(!refused.status.success() && stderr(&refused).contains("no tokenizer"), "{}", stderr(&refused));
    assert!(!Path::new(&gguf).exists());
    // Eight pieces: {piece: "a", score: 0}.
    let tokenizer: Vec<u8> = (b'a'..b'i').flat_map(|c| [0x0a, 3, 0x0a, 1, c]).collect();
    let model = path("tokenizer.model");
    std::fs::write(&model, tokenizer).expect("writable");
    let done = quipu(&["convert", &sbs, "-o", &gguf, "--tokenizer", &model]);
    assert!(done.status.success(), "{}", stderr(&done));
    let inspected = stdout(&quipu(&["inspect", &gguf]));
    assert!(inspected.contains("blk.0.attn_k.weight"), "{inspected}");
    let refused = quipu(&["convert", &gguf, "-o", &back]);
    assert!(stderr(&refused).contains("1 layers of 32"), "{}", stderr(&refused));
    assert!(quipu(&["convert", &gguf, "-o", &back, "--weight", "q4_0"]).status.code() == Some(1));
    assert!(SbsFile::open(&sbs).expect("good").tokenizer().expect("readable").is_none());
}
