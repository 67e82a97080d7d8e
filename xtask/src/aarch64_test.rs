//! `cargo xtask aarch64-test`: the kernels' batteries and recorded logits on AArch64, in emulation where the machine is another.
//!
//! It needs the target (`rustup target add aarch64-unknown-linux-gnu`), a linker for it and qemu's user emulation; on Debian
//! `gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user`. On a machine that is AArch64 itself it is `cargo test` of the same targets.

use std::path::Path;
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kernels only, without whole models.
    #[arg(long)]
    short: bool,
}

const TRIPLE: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian's cross C library lies.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// What is run, as arguments of `cargo test`. Emulation is some fifty times slower than the machine, so no test of time is among them.
const KERNELS: [&[&str]; 3] = [
    &["-p", "quipu-quant", "--lib", "--test", "goldens"],
    &["-p", "quipu-cpu-backend", "--test", "matmul"],
    &["-p", "quipu-cpu-backend", "--test", "ops", "--test", "attention"],
];
const MODELS: [&[&str]; 2] =
    [&["-p", "quipu-decoder", "--test", "decode"], &["-p", "quipu-parity", "--test", "replay", "logits"]];

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let native = cfg!(all(target_arch = "aarch64", target_os = "linux"));
    if !native {
        check_tools()?;
    }
    let models: &[&[&str]] = if args.short { &[] } else { &MODELS };
    let mut failed = Vec::new();
    for tests in KERNELS.iter().chain(models) {
        println!("== {}", tests.join(" "));
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--locked"]).args(*tests);
        if !native {
            command.args(["--target", TRIPLE]);
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
            let runner = format!("{EMULATOR} -cpu max -L {SYSROOT}");
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
            command.env("CC_aarch64_unknown_linux_gnu", LINKER);
        }
        let status = command.status().map_err(|error| format!("cargo: {error}"))?;
        if !status.success() {
            failed.push(tests.join(" "));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed on AArch64: {}", failed.join("; "))) }
}

/// Names what is missing and how it is installed.
fn check_tools() -> Result<(), String> {
    for tool in [LINKER, EMULATOR] {
        if !Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Err(format!(
                "no {tool}; on Debian `apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user` installs it"
            ));
        }
    }
    if !Path::new(SYSROOT).is_dir() {
        return Err(format!("no {SYSROOT}; on Debian `apt-get install libc6-dev-arm64-cross` installs it"));
    }
    let sysroot = Command::new("rustc").args(["--print", "target-libdir", "--target", TRIPLE]).output();
    let libraries = sysroot.map_err(|error| format!("rustc: {error}"))?;
    if !Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Err(format!("no standard library; `rustup target add {TRIPLE}` installs it"));
    }
    Ok(())
}
