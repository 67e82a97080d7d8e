//! `cargo xtask cuda-kernels`: builds the CUDA kernels and writes the PTX that is checked in.
//!
//! The compiler is `$NVCC`, or the one of NVIDIA's wheels, installed by pip under `target/nvcc` at pinned
//! versions and hashes. Building Quipu never needs it: crates read the PTX under `generated/`. Machine code
//! goes to `target/cuda-kernels` only, where it serves to see registers and spills.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing under generated/, but fail if what is there is not what the sources give.
    #[arg(long)]
    check: bool,
    /// Also write a fatbin of all architectures and PTX per file to target/cuda-kernels.
    #[arg(long)]
    fatbin: bool,
    /// Print registers of every kernel and architecture.
    #[arg(long)]
    registers: bool,
}

/// Architectures that kernels must compile for without spills.
const ARCHITECTURES: [&str; 4] = ["80", "89", "90a", "100"];
/// Flags of every compilation.
const FLAGS: [&str; 2] = ["-std=c++17", "-O3"];
/// Virtual architecture of the PTX: the oldest with bf16 and cp.async; drivers compile it for anything newer.
const PTX_ARCHITECTURE: &str = "compute_80";

/// The wheels that make a compiler, for x86-64 Linux. All of one release: ptxas refuses PTX newer than itself.
const WHEELS: [(&str, &str, &str); 5] = [
    ("nvidia-cuda-nvcc", "13.0.88", "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03"),
    ("nvidia-nvvm", "13.0.88", "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0"),
    ("nvidia-cuda-crt", "13.0.88", "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4"),
    ("nvidia-cuda-runtime", "13.0.96", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
    ("nvidia-cuda-cccl", "13.0.85", "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649"),
];

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let backend = root.join("crates/cuda-backend");
    let (kernels, generated) = (backend.join("kernels"), backend.join("generated"));
    let work = target.join("cuda-kernels");
    fs::create_dir_all(&work).map_err(|e| format!("cannot create {}: {e}", work.display()))?;
    let nvcc = compiler(&target)?;
    let sources = sources(&kernels)?;
    let stems: Vec<String> =
        sources.keys().filter_map(|name| name.strip_suffix(".cu")).map(str::to_owned).collect();

    let mut ptx = BTreeMap::new();
    for stem in &stems {
        let out = work.join(format!("{stem}.ptx"));
        let arch = format!("-arch={PTX_ARCHITECTURE}");
        compile(&nvcc, &kernels, stem, &["-ptx", &arch], &out)?;
        let text = fs::read_to_string(&out).map_err(|e| format!("cannot read {}: {e}", out.display()))?;
        ptx.insert(format!("{stem}.ptx"), text);
    }
    let spilled = machine_code(&nvcc, &kernels, &stems, &work, args)?;
    let manifest = manifest(&version(&nvcc)?, &sources, &ptx);
    if args.check {
        let mut stale: Vec<String> = Vec::new();
        for (name, text) in ptx.iter().chain([(&"MANIFEST".to_owned(), &manifest)]) {
            if fs::read_to_string(generated.join(name)).ok().as_ref() != Some(text) {
                stale.push(name.clone());
            }
        }
        if !stale.is_empty() {
            return Err(format!("generated/ is not what the sources give: {}", stale.join(", ")));
        }
        println!("generated/ is what the sources give");
    } else {
        write_all(&generated, &ptx, &manifest)?;
        println!("wrote {} PTX files and MANIFEST to {}", ptx.len(), generated.display());
    }
    if spilled.is_empty() { Ok(()) } else { Err(format!("kernels spill: {}", spilled.join(", "))) }
}

/// `$NVCC`, or the wheels' compiler, installed if it is not there yet.
fn compiler(target: &Path) -> Result<PathBuf, String> {
    if let Some(nvcc) = env::var_os("NVCC") {
        return Ok(nvcc.into());
    }
    let folder = target.join("nvcc");
    let nvcc = folder.join("nvidia/cu13/bin/nvcc");
    if nvcc.is_file() {
        return Ok(nvcc);
    }
    let mut requirements = String::new();
    for (name, version, hash) in WHEELS {
        writeln!(requirements, "{name}=={version} --hash=sha256:{hash}").expect("writing to a string");
    }
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let list = folder.join("requirements.txt");
    fs::write(&list, requirements).map_err(|e| format!("cannot write {}: {e}", list.display()))?;
    println!("installing nvcc {} into {}", WHEELS[0].1, folder.display());
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:"]);
    pip.args(["--require-hashes", "--target"]).arg(&folder).arg("-r").arg(&list);
    output(&mut pip)?;
    if nvcc.is_file() { Ok(nvcc) } else { Err(format!("pip did not install {}", nvcc.display())) }
}

/// The last line that `nvcc --version` prints: its build.
fn version(nvcc: &Path) -> Result<String, String> {
    let text = output(Command::new(nvcc).arg("--version"))?;
    Ok(text.lines().last().unwrap_or_default().trim().to_owned())
}

/// Runs a command; what it printed, standard error included.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|e| format!("cannot run {name}: {e}"))?;
    let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(text.into_owned()) } else { Err(format!("{name} failed:\n{text}")) }
}

/// Names and bytes of the kernels' sources.
fn sources(kernels: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", kernels.display());
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(kernels).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "cu" || e == "cuh") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            out.insert(name, fs::read(&path).map_err(failed)?);
        }
    }
    Ok(out)
}

/// Compiles one file from its folder, so that no path gets into the result.
fn compile(nvcc: &Path, kernels: &Path, stem: &str, flags: &[&str], out: &Path) -> Result<String, String> {
    let mut command = Command::new(nvcc);
    command.current_dir(kernels).args(FLAGS).args(flags).arg("-o").arg(out).arg(format!("{stem}.cu"));
    output(&mut command)
}

/// Compiles for every architecture; the kernels that spill.
fn machine_code(
    nvcc: &Path,
    kernels: &Path,
    stems: &[String],
    work: &Path,
    args: &Args,
) -> Result<Vec<String>, String> {
    let mut spilled = Vec::new();
    for arch in ARCHITECTURES {
        let (mut n_kernels, mut most) = (0, (0, String::new()));
        for stem in stems {
            let code = format!("arch=compute_{arch},code=sm_{arch}");
            let out = work.join(format!("{stem}.sm_{arch}.cubin"));
            let log = compile(nvcc, kernels, stem, &["-Xptxas", "-v", "-cubin", "-gencode", &code], &out)?;
            for usage in usages(&log) {
                n_kernels += 1;
                if usage.spill_bytes > 0 {
                    spilled.push(format!("{} on sm_{arch} ({} bytes)", usage.kernel, usage.spill_bytes));
                }
                if args.registers {
                    println!("sm_{arch} {} {} registers", usage.kernel, usage.registers);
                }
                most = most.max((usage.registers, usage.kernel));
            }
        }
        println!("sm_{arch}: {n_kernels} kernels, at most {} registers ({})", most.0, most.1);
    }
    if args.fatbin {
        for stem in stems {
            let mut flags = vec!["-fatbin".to_owned()];
            for arch in ARCHITECTURES {
                flags.extend(["-gencode".to_owned(), format!("arch=compute_{arch},code=sm_{arch}")]);
            }
            flags.extend(["-gencode".to_owned(), "arch=compute_80,code=compute_80".to_owned()]);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            compile(nvcc, kernels, stem, &flags, &work.join(format!("{stem}.fatbin")))?;
        }
    }
    Ok(spilled)
}

/// What `ptxas -v` says of a kernel.
struct Usage {
    kernel: String,
    registers: u32,
    spill_bytes: u32,
}

fn usages(log: &str) -> Vec<Usage> {
    let number_before = |line: &str, what: &str| -> u32 {
        let head = line.split(what).next().unwrap_or_default();
        head.split_whitespace().last().and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    let (mut out, mut kernel, mut spill_bytes) = (Vec::new(), String::new(), 0);
    for line in log.lines() {
        if line.contains("Compiling entry function") {
            line.split('\'').nth(1).unwrap_or_default().clone_into(&mut kernel);
            spill_bytes = 0;
        } else if line.contains("bytes spill stores") {
            spill_bytes = number_before(line, " bytes spill stores");
        } else if line.contains(" registers") {
            let registers = number_before(line, " registers");
            out.push(Usage { kernel: std::mem::take(&mut kernel), registers, spill_bytes });
        }
    }
    out
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

/// What was built from what.
fn manifest(version: &str, sources: &BTreeMap<String, Vec<u8>>, ptx: &BTreeMap<String, String>) -> String {
    let mut out = format!("nvcc {version}\nflags {} -ptx -arch={PTX_ARCHITECTURE}\n", FLAGS.join(" "));
    for (name, bytes) in sources {
        writeln!(out, "source {} {name}", hash(bytes)).expect("writing to a string");
    }
    for (name, text) in ptx {
        writeln!(out, "ptx {} {name}", hash(text.as_bytes())).expect("writing to a string");
    }
    out
}

/// Replaces the contents of `generated`.
fn write_all(generated: &Path, ptx: &BTreeMap<String, String>, manifest: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot write {}: {e}", generated.display());
    fs::create_dir_all(generated).map_err(failed)?;
    for entry in fs::read_dir(generated).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == "ptx") && !ptx.contains_key(&name) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    for (name, text) in ptx {
        fs::write(generated.join(name), text).map_err(failed)?;
    }
    fs::write(generated.join("MANIFEST"), manifest).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_spills_are_read() {
        let log = "ptxas info    : Compiling entry function 'add' for 'sm_80'\n\
                   ptxas info    : Function properties for add\n\
                       0 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n\
                   ptxas info    : Used 34 registers, used 0 barriers, 512 bytes cmem[0]\n";
        let usages = usages(log);
        assert_eq!(usages.len(), 1);
        assert_eq!((usages[0].kernel.as_str(), usages[0].registers, usages[0].spill_bytes), ("add", 34, 12));
    }
}
