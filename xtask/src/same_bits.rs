//! `cargo xtask same-bits`: whether this tree computes the bits of an earlier commit, and in how much memory.
//!
//! Both binaries compute the logits of the same tokens, all at once and one by one, with several numbers of threads. The files must be
//! equal, byte for byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use quipu_testing::{SplitMix, nmse};

use crate::bench_vs::{build_quipu, peak_resident};
use crate::synth_model;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The commit to compare with; it is built in a worktree of its own, unless there is `--base-binary`.
    #[arg(long)]
    base: String,
    /// A `quipu` that was built from that commit.
    #[arg(long)]
    base_binary: Option<PathBuf>,
    /// A `quipu` that was built from this tree; built if not given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Models; without any, models of the shape are made in Q4_K_M, Q8_0 and F16, and removed again.
    #[arg(short = 'm', long)]
    model: Vec<PathBuf>,
    /// The shape of models that are made, as for synth-model.
    #[arg(long, default_value = "llama-3.2-1b")]
    shape: String,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
    threads: Vec<usize>,
    /// Tokens.
    #[arg(short = 'n', long, default_value_t = 8)]
    n_tokens: usize,
}

/// The types of the models that are made.
const TYPES: [&str; 3] = ["Q4_K_M", "Q8_0", "F16"];
/// Ubatches: all tokens at once, and one by one.
const UBATCHES: [usize; 2] = [512, 1];

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let base = match &args.base_binary {
        Some(path) => path.clone(),
        None => build_base(&args.base)?,
    };
    let ours = match &args.binary {
        Some(path) => path.clone(),
        None => build_quipu()?,
    };
    let tokens = dir.path().join("tokens");
    let mut random = SplitMix::new(1);
    // Every vocabulary has the first few hundred.
    let ids: Vec<String> = (0..args.n_tokens).map(|_| (3 + random.below(250)).to_string()).collect();
    std::fs::write(&tokens, ids.join(" ")).map_err(|error| format!("{}: {error}", tokens.display()))?;
    let runs = Runs { args, base: &base, ours: &ours, dir: dir.path(), tokens: &tokens };
    println!("base {} against this tree, {} tokens", args.base, args.n_tokens);
    println!("| model | threads | ubatch | logits | bits | peak MiB, base | peak MiB | ratio |");
    println!("| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |");
    let mut n_different = 0;
    for model in &args.model {
        let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        n_different += runs.compare(&name, model)?;
    }
    if args.model.is_empty() {
        for file_type in TYPES {
            let path = dir.path().join(format!("{file_type}.gguf"));
            synth_model::write(&args.shape, file_type, 1, &path)?;
            n_different += runs.compare(&format!("{} {file_type}", args.shape), &path)?;
            std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if n_different > 0 { Err(format!("{n_different} runs have other bits")) } else { Ok(()) }
}

struct Runs<'a> {
    args: &'a Args,
    base: &'a Path,
    ours: &'a Path,
    dir: &'a Path,
    tokens: &'a Path,
}

impl Runs<'_> {
    /// Prints a line for each number of threads and each ubatch; returns how many runs differ.
    fn compare(&self, name: &str, model: &Path) -> Result<usize, String> {
        let mut n_different = 0;
        for n_threads in &self.args.threads {
            for n_ubatch in UBATCHES {
                let (expected, base_peak) = self.logits(self.base, model, *n_threads, n_ubatch)?;
                let (found, peak) = self.logits(self.ours, model, *n_threads, n_ubatch)?;
                let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
                let bits = difference(&expected, &found);
                n_different += usize::from(bits.is_some());
                println!(
                    "| {name} | {n_threads} | {n_ubatch} | {} | {} | {:.1} | {:.1} | {:.3} |",
                    found.len() / 4,
                    bits.unwrap_or_else(|| "equal".to_owned()),
                    mib(base_peak),
                    mib(peak),
                    peak as f64 / base_peak.max(1) as f64,
                );
            }
        }
        Ok(n_different)
    }

    /// The file that `quipu logits` writes, and the largest resident size on the way.
    fn logits(
        &self,
        binary: &Path,
        model: &Path,
        n_threads: usize,
        n_ubatch: usize,
    ) -> Result<(Vec<u8>, u64), String> {
        let out = self.dir.join("logits");
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", binary.display());
        let mut child = Command::new(binary)
            .arg("logits")
            .arg("-m")
            .arg(model)
            .arg("--tokens")
            .arg(self.tokens)
            .arg("-o")
            .arg(&out)
            .args(["--ubatch", &n_ubatch.to_string(), "-t", &n_threads.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_resident(child.id()));
            if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if !status.success() {
            return Err(failed(&status));
        }
        let bytes = std::fs::read(&out).map_err(|error| format!("{}: {error}", out.display()))?;
        std::fs::remove_file(&out).map_err(|error| format!("{}: {error}", out.display()))?;
        Ok((bytes, peak))
    }
}

/// What differs; `None` if nothing does.
fn difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let (expected, found) = (floats(expected), floats(found));
    let differing = expected.iter().zip(&found).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    Some(format!("{differing} differ, NMSE {:.1e}", nmse(&expected, &found)))
}

/// Builds `quipu` of a commit in a worktree that is removed again.
fn build_base(commit: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let path = tree.path().join("base");
    let git = |command: &mut Command| {
        let status = command.current_dir(&root).status().map_err(|error| format!("git: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("git: {status}")) }
    };
    git(Command::new("git").args(["worktree", "add", "--detach"]).arg(&path).arg(commit))?;
    let target = root.join("target/same-bits");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "quipu-cli", "--target-dir"])
        .arg(&target)
        .current_dir(&path)
        .status();
    git(Command::new("git").args(["worktree", "remove", "--force"]).arg(&path))?;
    match built {
        Ok(status) if status.success() => Ok(target.join("release/quipu")),
        Ok(status) => Err(format!("building {commit}: {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn one_bit_is_a_difference() {
        let one = 1.0f32.to_le_bytes();
        assert_eq!(difference(&one, &one), None);
        let mut other = one;
        other[0] ^= 1;
        assert_eq!(difference(&one, &other).as_deref(), Some("1 differ, NMSE 1.4e-14"));
        assert!(difference(&one, &[]).is_some());
    }
}
