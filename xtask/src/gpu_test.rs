//! `cargo xtask gpu-test`: builds the executable that checks everything only a GPU can show, and runs it.
//!
//! Without a driver it is built all the same and says that there is none. It needs nothing but itself: copy it (and the
//! models to be measured) to a machine with a GPU and run it there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A model whose logits are compared and whose speed is measured; may be given several times.
    #[arg(short = 'm', long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// How often a model is loaded before memory must be as it was.
    #[arg(long, default_value_t = 1000)]
    loads: usize,
    /// Build only, and say where the executable is.
    #[arg(long)]
    build_only: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(root).args(["build", "--release", "--locked", "-p", "quipu-cuda-backend"]);
    build.args(["--features", "driver", "--example", "gpu_test"]);
    finish(&mut build)?;
    let folder = target.join("gpu-test");
    let program = folder.join("quipu-gpu-test");
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    fs::copy(target.join("release/examples/gpu_test"), &program)
        .map_err(|e| format!("cannot write {}: {e}", program.display()))?;
    println!("built {}", program.display());
    if args.build_only {
        return Ok(());
    }
    let mut test = Command::new(&program);
    test.current_dir(root).args(["--markdown", "docs/gpu-results.md", "--loads", &args.loads.to_string()]);
    for model in &args.models {
        let model = fs::canonicalize(model).map_err(|e| format!("{}: {e}", model.display()))?;
        test.arg("--model").arg(model);
    }
    finish(&mut test)
}

fn finish(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|e| format!("cannot run {name}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed: {status}")) }
}
