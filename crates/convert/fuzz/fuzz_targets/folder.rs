//! A folder with any bytes in one of its files is converted or refused. The first byte says in which; the others are whole.
#![no_main]

use std::cell::OnceCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use quipu_convert::{ConvertOptions, convert};

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
    "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 3}"#;
const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null, "truncation": null, "padding": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;
const HEADER: &[u8] = br#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]}}"#;
const FILES: [&str; 8] = [
    "config.json",
    "tokenizer.json",
    "README.md",
    "tokenizer_config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "model.safetensors",
    "tokenizer.model",
];

thread_local! {
    static DIR: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let name = FILES[usize::from(*which) % FILES.len()];
    DIR.with(|dir| {
        let root = dir.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path();
        let dir = root.join("model");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("writable");
        fs::write(dir.join("config.json"), CONFIG).expect("writable");
        let weights = [&(HEADER.len() as u64).to_le_bytes()[..], HEADER, &[0; 48]].concat();
        fs::write(dir.join("model.safetensors"), weights).expect("writable");
        fs::write(dir.join("tokenizer.json"), TOKENIZER).expect("writable");
        fs::write(dir.join(name), bytes).expect("writable");
        let pre = Some("llama-bpe".to_owned());
        let _ = convert(&dir, &root.join("out.gguf"), &ConvertOptions { pre, ..ConvertOptions::default() });
        // Nothing is left but the folder and perhaps the file.
        assert!(fs::read_dir(root).expect("readable").count() <= 2);
    });
});
