//! Writes the malformed files of `tests/malformed`: `cargo run -p quipu-gguf --example malformed`.

#[path = "../tests/support/malformed.rs"]
mod malformed;

fn main() -> std::io::Result<()> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/malformed");
    let dir = std::path::PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| default.into()));
    std::fs::create_dir_all(&dir)?;
    let files = malformed::files();
    for (name, bytes) in &files {
        std::fs::write(dir.join(format!("{name}.gguf")), bytes)?;
    }
    println!("{} files in {}", files.len(), dir.display());
    Ok(())
}
