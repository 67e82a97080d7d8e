//! Small models as `.sbs` files, for `damage` and for gemma.cpp's tools: `toy FOLDER`.

#[path = "../tests/common/mod.rs"]
mod common;

use quipu_gemma::{Type, write_v1};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::PathBuf::from(std::env::args().nth(1).ok_or("FOLDER")?);
    for weight in [Type::Sfp, Type::Bf16, Type::I8, Type::Nuq] {
        std::fs::write(folder.join(format!("toy-{weight}.sbs")), common::sbs_bytes(weight))?;
    }
    let blobs = common::prefixed_blobs(&[0.5, 2.0, 1.0, 4.0, 0.25, 8.0, 1.0, 3.0]);
    let named: Vec<(&str, &[u8])> =
        blobs.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
    std::fs::write(folder.join("toy-2024.sbs"), write_v1(Vec::new(), &named)?)?;
    Ok(())
}
