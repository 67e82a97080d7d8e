//! Writes the generated Hugging Face models and `cases.json`, which `parity/convert/reference.py` reads.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use quipu_parity::convert;

fn main() -> Result<(), String> {
    let root = std::env::args().nth(1).map(PathBuf::from).ok_or("expected a folder to write to")?;
    let text = |error: std::io::Error| format!("{}: {error}", root.display());
    std::fs::create_dir_all(&root).map_err(text)?;
    let mut cases = Vec::new();
    let only = std::env::args().nth(2);
    let wanted = |folder: &str| only.as_deref().is_none_or(|only| folder.starts_with(only));
    for case in convert::cases().filter(|case| wanted(case.folder)) {
        case.write(&root).map_err(text)?;
        cases.push(serde_json::json!({ "folder": case.folder, "pre": case.pre, "base": case.base }));
    }
    let list = serde_json::Value::Array(cases).to_string();
    std::fs::write(root.join("cases.json"), list).map_err(text)
}
