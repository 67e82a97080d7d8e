//! `cargo xtask bench-vs`: Quipu and llama.cpp on one model in one run.
//!
//! The two take turns, a fresh process each time, so that a noisy machine is noisy for both. Medians and
//! their ratio are what is printed; ratios above 1 mean Quipu is faster.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A llama.cpp checkout that was built (its llama-bench is searched in build*/bin), or a build folder.
    #[arg(long, env = "LLAMA_CPP_DIR")]
    llama_cpp: PathBuf,
    /// The model.
    #[arg(short = 'm', long)]
    model: PathBuf,
    /// Prompt length; 0 leaves the test out.
    #[arg(short = 'p', long, default_value_t = 512)]
    n_prompt: usize,
    /// Tokens to generate; 0 leaves the test out.
    #[arg(short = 'n', long, default_value_t = 128)]
    n_gen: usize,
    /// Threads of both; 0 = one for each core.
    #[arg(short = 't', long, default_value_t = 0)]
    n_threads: usize,
    /// Turns of each engine.
    #[arg(short = 'r', long, default_value_t = 5)]
    repetitions: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Our binary; built if not given.
    #[arg(long)]
    quipu: Option<PathBuf>,
}

/// Samples of one engine: tokens per second by test, and the largest resident size seen.
#[derive(Debug, Default)]
struct Samples {
    prompt: Vec<f64>,
    generation: Vec<f64>,
    peak_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let theirs = find_llama_bench(&args.llama_cpp)?;
    let ours = match &args.quipu {
        Some(path) => path.clone(),
        None => build_quipu()?,
    };
    let n_threads = match args.n_threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    };
    let numbers = [args.n_prompt, args.n_gen, n_threads].map(|n| n.to_string());
    let model = args.model.display().to_string();
    let shared =
        ["-m", &model, "-p", &numbers[0], "-n", &numbers[1], "-t", &numbers[2], "-r", "1", "-o", "json"];
    let (mut llama, mut quipu) = (Samples::default(), Samples::default());
    for turn in 0..args.repetitions {
        eprintln!("turn {} of {}", turn + 1, args.repetitions);
        sample(Command::new(&theirs).args(shared), &mut llama)?;
        sample(Command::new(&ours).arg("bench").args(shared), &mut quipu)?;
    }
    report(args, n_threads, &quipu, &llama);
    Ok(())
}

fn report(args: &Args, n_threads: usize, quipu: &Samples, llama: &Samples) {
    let tests = [
        (format!("pp{}", args.n_prompt), median(&quipu.prompt), median(&llama.prompt)),
        (format!("tg{}", args.n_gen), median(&quipu.generation), median(&llama.generation)),
    ];
    if args.json {
        let rows: Vec<Value> = tests
            .iter()
            .filter_map(|(name, q, l)| {
                let (q, l) = (q.as_ref()?, l.as_ref()?);
                Some(serde_json::json!({"test": name, "quipu_ts": q, "llama_cpp_ts": l, "ratio": q / l}))
            })
            .collect();
        let out = serde_json::json!({
            "model": args.model.display().to_string(),
            "n_threads": n_threads,
            "repetitions": args.repetitions,
            "tests": rows,
            "quipu_peak_bytes": quipu.peak_bytes,
            "llama_cpp_peak_bytes": llama.peak_bytes,
        });
        println!("{out:#}");
        return;
    }
    println!("{}, {n_threads} threads, medians of {}", args.model.display(), args.repetitions);
    println!("| test | quipu t/s | llama.cpp t/s | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    for (name, q, l) in tests {
        if let (Some(q), Some(l)) = (q, l) {
            println!("| {name} | {q:.2} | {l:.2} | {:.2} |", q / l);
        }
    }
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    println!("| peak MiB | {:.0} | {:.0} | {:.2} |", mib(quipu.peak_bytes), mib(llama.peak_bytes), {
        quipu.peak_bytes as f64 / llama.peak_bytes.max(1) as f64
    });
}

/// The middle sample, or the mean of the two middle ones.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let upper = *sorted.get(n / 2)?;
    Some(if n % 2 == 1 { upper } else { f64::midpoint(sorted[n / 2 - 1], upper) })
}

/// Runs one process to its end and adds what it measured.
fn sample(command: &mut Command, samples: &mut Samples) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: &dyn std::fmt::Display| format!("{name}: {what}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    // The output is small enough for the pipe, so the process can be watched until it ends.
    while child.try_wait().map_err(|error| failed(&error))?.is_none() {
        samples.peak_bytes = samples.peak_bytes.max(peak_resident(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    let rows: Value = serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))?;
    for row in rows.as_array().into_iter().flatten() {
        let Some(speed) = row["avg_ts"].as_f64() else { continue };
        if row["n_gen"].as_u64() == Some(0) {
            samples.prompt.push(speed);
        } else {
            samples.generation.push(speed);
        }
    }
    Ok(())
}

/// Largest resident size of a running process so far; 0 where the system does not say.
pub(crate) fn peak_resident(pid: u32) -> u64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn find_llama_bench(dir: &Path) -> Result<PathBuf, String> {
    let mut places = vec![dir.join("bin/llama-bench"), dir.join("llama-bench")];
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("build") {
            places.push(entry.path().join("bin/llama-bench"));
        }
    }
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        format!("{}: no llama-bench in it or in build*/bin, build llama.cpp first", dir.display())
    })
}

/// Builds this tree's `quipu` in release mode and returns where it is.
pub(crate) fn build_quipu() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "-p", "quipu-cli", "--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "quipu")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built no quipu binary".to_owned())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
