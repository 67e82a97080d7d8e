//! The house stays as drawn: a crate uses only crates above it, and unsafe code stays in its rooms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// From the ground up: each crate may use those before it.
const ORDER: [&str; 21] = [
    "quipu-std-sort",
    "quipu-quant",
    "quipu-gguf",
    "quipu-graph",
    "quipu-alloc",
    "quipu-backend",
    "quipu-cpu-backend",
    "quipu-cuda-driver-shim",
    "quipu-cuda-backend",
    "quipu-batch",
    "quipu-tokenizer",
    "quipu-sampler",
    "quipu-kv-cache",
    "quipu-model",
    "quipu-decoder",
    "quipu-chat",
    "quipu",
    "quipu-convert",
    "quipu-gemma",
    "quipu-server",
    "quipu-cli",
];

/// The crates whose business is memory, intrinsics or foreign calls.
const MAY_BE_UNSAFE: [&str; 4] = ["gguf", "cpu-backend", "cuda-driver-shim", "cuda-backend"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Normal (not dev or build) dependencies of every workspace package.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("a list");
            let normal = dependencies.iter().filter(|d| d["kind"].is_null()).map(name).collect();
            (name(package), normal)
        })
        .collect()
}

#[test]
fn crates_use_only_crates_above_them() {
    let dependencies = dependencies();
    for (place, package) in ORDER.iter().enumerate() {
        let used = &dependencies[*package];
        for other in used.iter().filter(|name| name.starts_with("quipu")) {
            assert!(
                ORDER[..place].contains(&other.as_str()),
                "{package} uses {other}, which is not above it"
            );
        }
    }
    // The emulation of CUDA kernels and what tests share are for tests: no crate of the house may use them otherwise.
    let tools = ["quipu-parity", "quipu-benches", "quipu-cuda-emulation", "quipu-testing", "xtask"];
    for package in dependencies.keys() {
        assert!(
            ORDER.contains(&package.as_str()) || tools.contains(&package.as_str()),
            "{package} has no place in the house"
        );
    }
}

#[test]
fn only_the_cuda_backend_uses_cust_and_nothing_of_it_is_built_by_default() {
    let dependencies = dependencies();
    for (package, used) in &dependencies {
        let uses = used.iter().any(|name| name == "cust" || name == "quipu-cuda-driver-shim");
        assert!(!uses || package == "quipu-cuda-backend", "{package} uses the CUDA driver");
    }
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && tree.contains("quipu-cuda-backend"), "{tree}");
    assert!(!tree.lines().any(|line| line.starts_with("cust")), "the default build compiles cust");
}

#[test]
fn tokenizer_and_sampler_are_small_alone() {
    for package in ["quipu-tokenizer", "quipu-sampler"] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "-p", package, "--no-default-features", "--edges", "normal", "--prefix", "none"])
            .arg("--offline")
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && tree.starts_with(package), "{tree}");
        let large = |line: &str| ["quipu-gguf", "regex", "memmap2"].iter().any(|name| line.starts_with(name));
        assert!(!tree.lines().any(large), "{tree}");
    }
}

#[test]
fn the_allocator_knows_no_graphs_and_no_buffers() {
    let used = &dependencies()["quipu-alloc"];
    assert!(!used.iter().any(|name| name.starts_with("quipu")), "quipu-alloc uses {used:?}");
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    for package in ORDER {
        let dir = package.strip_prefix("quipu-").unwrap_or("quipu");
        let source = root().join("crates").join(dir).join("src");
        let file = [source.join("lib.rs"), source.join("main.rs")].into_iter().find(|path| path.exists());
        let text = std::fs::read_to_string(file.expect("a crate has a root file")).expect("readable");
        let forbids = text.contains("#![forbid(unsafe_code)]");
        assert!(forbids || MAY_BE_UNSAFE.contains(&dir), "{package} does not forbid unsafe code");
    }
}
