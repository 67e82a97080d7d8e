//! What is checked in fits together: sources, PTX, manifest, and the table of kernels.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use quipu_cuda_backend::kernels::{self, KERNELS, Kind};
use sha2::{Digest, Sha256};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Name and hash of every file of these kinds.
fn hashes(dir: &str, extensions: &[&str]) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder(dir)).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|p| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)));
    wanted
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), hash(&fs::read(&p).unwrap())))
        .collect()
}

#[test]
fn the_manifest_names_sources_and_ptx_as_they_are() {
    let manifest = fs::read_to_string(folder("generated/MANIFEST")).unwrap();
    let listed = |kind: &str| -> BTreeMap<String, String> {
        let lines = manifest.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines
            .filter(|words| words[0] == kind)
            .map(|words| (words[2].to_owned(), words[1].to_owned()))
            .collect()
    };
    let advice = "run `cargo xtask cuda-kernels`";
    assert_eq!(listed("source"), hashes("kernels", &["cu", "cuh"]), "{advice}");
    assert_eq!(listed("ptx"), hashes("generated", &["ptx"]), "{advice}");
}

/// Parameters of an entry in PTX, by kind.
fn entry(ptx: &str, name: &str) -> Option<(Vec<Kind>, u32)> {
    let rest = ptx.split(&format!(".visible .entry {name}(")).nth(1)?;
    let (params, after) = rest.split_once(')')?;
    let kinds = params.split(',').map(|param| {
        let words: Vec<&str> = param.split_whitespace().collect();
        match words[1] {
            ".align" if words.last().unwrap().ends_with("[72]") => Kind::Tensor,
            // An address and a 64-bit number look alike.
            ".u64" => Kind::Ptr,
            ".u32" => Kind::I32,
            ".f32" => Kind::F32,
            other => panic!("{name} has a parameter of type {other}"),
        }
    });
    let threads = after.split(".maxntid ").nth(1)?.split(',').next()?.trim().parse().ok()?;
    Some((kinds.collect(), threads))
}

#[test]
fn every_kernel_of_the_table_is_in_the_ptx_with_its_parameters() {
    for kernel in KERNELS {
        let ptx = kernels::ptx(kernel.file).unwrap_or_else(|| panic!("no PTX of {}", kernel.file));
        let (kinds, threads) =
            entry(ptx, kernel.name).unwrap_or_else(|| panic!("{} is missing", kernel.name));
        let expected: Vec<Kind> =
            kernel.params.iter().map(|p| if p.kind == Kind::I64 { Kind::Ptr } else { p.kind }).collect();
        assert_eq!(kinds, expected, "{}", kernel.name);
        assert_eq!(threads, kernel.block, "{}", kernel.name);
    }
}

#[test]
fn every_kernel_of_the_ptx_is_in_the_table() {
    for (file, ptx) in kernels::PTX {
        for line in ptx.lines().filter(|line| line.starts_with(".visible .entry ")) {
            let name = line.trim_start_matches(".visible .entry ").trim_end_matches('(');
            assert_eq!(kernels::find(name).map(|k| k.file), Some(*file), "{name}");
        }
    }
}

#[test]
fn the_results_list_every_kernel() {
    let results = fs::read_to_string(folder("../../docs/gpu-results.md")).unwrap();
    for kernel in KERNELS {
        assert!(results.contains(&format!("| `{}` |", kernel.name)), "{} is not listed", kernel.name);
    }
}
