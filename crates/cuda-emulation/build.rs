//! Compiles the kernels' sources with the host's C++ compiler; without one, the crate says so at run time.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=emulation");
    println!("cargo:rerun-if-env-changed=CXX");
    // Who starts to require a compiler may have installed one since the last build.
    println!("cargo:rerun-if-env-changed=QUIPU_REQUIRE_CXX");
    println!("cargo:rustc-check-cfg=cfg(emulated)");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let kernels = here.join("../cuda-backend/kernels");
    println!("cargo:rerun-if-changed={}", kernels.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    match compile(&here, &kernels, &out) {
        Ok(()) => {
            println!("cargo:rustc-cfg=emulated");
            println!("cargo:rustc-link-search=native={}", out.display());
            println!("cargo:rustc-link-lib=static=quipu_emulation");
        }
        // A compiler that is there but fails is a mistake in the kernels, and fails the build.
        Err(Failure::NoCompiler(name)) => {
            println!("cargo:warning=no C++ compiler ({name}): the kernels' emulation tests will skip");
        }
        Err(Failure::Broken(message)) => panic!("{message}"),
    }
}

enum Failure {
    NoCompiler(String),
    Broken(String),
}

/// One translation unit of all kernels, so that their registrations are linked with the way in.
fn compile(here: &Path, kernels: &Path, out: &Path) -> Result<(), Failure> {
    let broken = |what: &str, e: std::io::Error| Failure::Broken(format!("{what}: {e}"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(kernels)
        .map_err(|e| broken("cannot list the kernels", e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "cu"))
        .collect();
    files.sort();
    let mut unit =
        String::from("#define QUIPU_EMULATE 1\n#include \"emulation.cpp\"\n#include \"quants.cuh\"\n");
    for file in &files {
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        // Files repeat each other's helper names.
        writeln!(unit, "namespace file_{stem} {{\n#include \"{stem}.cu\"\n}}").expect("writing to a string");
    }
    let source = out.join("unit.cpp");
    std::fs::write(&source, unit).map_err(|e| broken("cannot write the unit", e))?;
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let object = out.join("unit.o");
    let status = Command::new(&compiler)
        .args(["-std=c++17", "-O2", "-fPIC", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off"])
        .args(["-fno-threadsafe-statics", "-Wno-unknown-pragmas", "-w", "-c", "-I"])
        .arg(here.join("emulation"))
        .arg("-I")
        .arg(kernels)
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status();
    match status {
        Err(_) => return Err(Failure::NoCompiler(compiler)),
        Ok(status) if !status.success() => {
            return Err(Failure::Broken(format!("{compiler} cannot compile the kernels")));
        }
        Ok(_) => {}
    }
    let archive = out.join("libquipu_emulation.a");
    // An archive that is there would keep members of the build before.
    let _ = std::fs::remove_file(&archive);
    let archiver = env::var("AR").unwrap_or_else(|_| "ar".to_owned());
    match Command::new(&archiver).arg("crs").arg(&archive).arg(&object).status() {
        Err(_) => Err(Failure::NoCompiler(archiver)),
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::Broken(format!("{archiver} cannot archive the kernels"))),
    }
}
