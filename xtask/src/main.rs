//! Developer tasks: `cargo xtask <task>`.
#![forbid(unsafe_code)]

mod aarch64_test;
mod bench_tokenizers;
mod bench_vs;
mod cuda_kernels;
mod fuzz;
mod gpu_test;
mod miri;
mod parity;
mod same_bits;
mod synth_model;
mod toolchain;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "xtask", about = "Developer tasks of Quipu")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write a model of a real model's shape with seeded random weights.
    SynthModel(synth_model::Args),
    /// Audit Quipu against llama.cpp, live or from recorded goldens.
    Parity(parity::Args),
    /// Write docs/architectures.md from the code's table and the recorded goldens.
    Architectures,
    /// Measure Quipu and llama.cpp on one model in one run, interleaved.
    BenchVs(bench_vs::Args),
    /// Compare the bits of logits, and memory, with an earlier commit.
    SameBits(same_bits::Args),
    /// Measure tokenizers: Quipu, llama.cpp and two crates on the same text.
    BenchTokenizers(bench_tokenizers::Args),
    /// Run the tests of the crates at the bottom under Miri.
    Miri(miri::Args),
    /// Run the kernels' batteries and recorded logits on AArch64, emulated if need be.
    Aarch64Test(aarch64_test::Args),
    /// Build and run the fuzz targets.
    Fuzz(fuzz::Args),
    /// Build the CUDA kernels and write the PTX that is checked in.
    CudaKernels(cuda_kernels::Args),
    /// Build and run what only a GPU can show: kernels, models, memory, speed.
    GpuTest(gpu_test::Args),
    /// Run random command lines under faults: nothing is lost, nothing aborts.
    Torture(torture::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::SynthModel(args) => synth_model::run(&args),
        Task::Parity(args) => parity::run(&args),
        Task::Architectures => architectures(),
        Task::BenchVs(args) => bench_vs::run(&args),
        Task::SameBits(args) => same_bits::run(&args),
        Task::Miri(args) => miri::run(&args),
        Task::Aarch64Test(args) => aarch64_test::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::BenchTokenizers(args) => bench_tokenizers::run(&args),
        Task::CudaKernels(args) => cuda_kernels::run(&args),
        Task::GpuTest(args) => gpu_test::run(&args),
        Task::Torture(args) => torture::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Writes docs/architectures.md.
fn architectures() -> Result<(), String> {
    let page = quipu_parity::architectures::page().map_err(|error| error.to_string())?;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architectures.md");
    std::fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))
}
