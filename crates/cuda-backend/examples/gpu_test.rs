//! Everything that only a GPU can show, in one executable: kernels and models against the CPU, memory, speed.
//!
//! `gpu_test [--model FILE]... [--loads N] [--markdown FILE] [--empty]`. Without a driver it says so and leaves with 0, or with
//! 1 if `CUDA_REQUIRED=1`. `--empty` writes the table of a run that did not happen. Needs nothing but itself and the files named.

#[path = "../tests/device/mod.rs"]
mod device;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use device::{argmax, cases};
use quipu_backend::{BufferTable, Device, Scheduler};
use quipu_cpu_backend::CpuDevice;
use quipu_cuda_backend::kernels::KERNELS;
use quipu_cuda_backend::{CudaDevice, Purpose, probe};
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::{GgufFile, GgufSet, SourceKind};
use quipu_graph::{DType, Graph};
use quipu_model::{LoadParams, Model};
use quipu_testing::nmse;

/// Whatever goes wrong outside of the checks.
pub type Failure = Box<dyn std::error::Error>;

/// The demo model, so that there is a real one at hand.
static DEMO: &[u8] = include_bytes!("../../../models/stories-1m.gguf");
/// Floors of a run: equal argmax, share of copy bandwidth in decoding, share of a bf16 GEMM in prefill.
const MIN_SAME: f64 = 0.99;
const MIN_DECODE: f64 = 0.5;
const MIN_PREFILL: f64 = 0.2;
const GIB: f64 = 1_073_741_824.0;

struct Args {
    models: Vec<String>,
    loads: usize,
    markdown: Option<String>,
    empty: bool,
}

fn args() -> Result<Args, Failure> {
    let mut out = Args { models: Vec::new(), loads: 1000, markdown: None, empty: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--model" => out.models.push(value()?),
            "--loads" => out.loads = value()?.parse()?,
            "--markdown" => out.markdown = Some(value()?),
            "--empty" => out.empty = true,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(out)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu_test: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let args = args()?;
    if args.empty {
        return write(&args, &kernel_table(&BTreeMap::new(), "no GPU has run it")).map(|()| true);
    }
    let devices = match probe(|ordinal, message| eprintln!("CUDA device {ordinal}: {message}")) {
        Ok(devices) if !devices.is_empty() => devices,
        other => {
            let why =
                other.err().map_or_else(|| "no CUDA device that can be used".to_owned(), |e| e.to_string());
            let required = std::env::var_os("CUDA_REQUIRED").is_some_and(|value| value == "1");
            println!("{why}{}", if required { "" } else { "; nothing was run" });
            return Ok(!required);
        }
    };
    let gpu = &devices[0];
    let mut report = Report { text: String::new(), good: true };
    let info = gpu.info();
    let (major, minor) = info.compute_capability;
    report.line(&format!(
        "Device: {} ({} multiprocessors, compute capability {major}.{minor}), driver for CUDA {}.{}, {}.",
        info.name,
        info.n_multiprocessors,
        info.driver_version / 1000,
        info.driver_version % 1000 / 10,
        today()
    ));
    report.line("");
    kernels(gpu, &mut report);
    models(gpu, &args.models, 100, &mut report)?;
    loads(gpu, args.loads, &mut report)?;
    bench(gpu, &args, &mut report)?;
    report.line(if report.good { "All checks passed." } else { "Some checks failed." });
    let good = report.good;
    write(&args, &report.text)?;
    Ok(good)
}

/// What goes to the screen at once and into the file at the end.
#[derive(Default)]
pub struct Report {
    /// Markdown so far.
    pub text: String,
    /// Whether every check passed.
    pub good: bool,
}

impl Report {
    fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn verdict(&mut self, good: bool) -> &'static str {
        self.good &= good;
        if good { "passed" } else { "**failed**" }
    }
}

fn write(args: &Args, body: &str) -> Result<(), Failure> {
    let text = format!(
        "# GPU results\n\nWritten by `cargo xtask gpu-test` on a machine with a GPU; see that command for what is checked \
         and how.\n\n{body}"
    );
    match &args.markdown {
        Some(path) => Ok(std::fs::write(path, text)?),
        None => Ok(()),
    }
}

fn kernel_table(results: &BTreeMap<&str, (f64, bool)>, absent: &str) -> String {
    let mut text =
        "## Kernels\n\n| Kernel | Worst NMSE against the CPU backend | Verdict |\n|---|---|---|\n".to_owned();
    for kernel in KERNELS {
        let row = match results.get(kernel.name) {
            Some((worst, true)) => format!("{worst:.1e} | passed"),
            Some((worst, false)) => format!("{worst:.1e} | **failed**"),
            None => format!(" | {absent}"),
        };
        writeln!(text, "| `{}` | {row} |", kernel.name).expect("writing to a string");
    }
    text
}

/// Every op that leads to a kernel.
pub fn kernels(gpu: &CudaDevice, report: &mut Report) {
    let cpu = CpuDevice::default();
    let mut results: BTreeMap<&str, (f64, bool)> = BTreeMap::new();
    gpu.take_used_kernels();
    for case in cases::all() {
        let (worst, passed) = match cases::run(&case, gpu, &cpu) {
            Ok(outcome) => {
                if !outcome.passed() {
                    eprintln!("{}: NMSE {:e} over {:e}", outcome.name, outcome.nmse, outcome.bound);
                }
                (outcome.nmse, outcome.passed())
            }
            Err(error) => {
                eprintln!("{}: {error}", case.name);
                (f64::NAN, false)
            }
        };
        report.good &= passed;
        for kernel in gpu.take_used_kernels() {
            let entry = results.entry(kernel).or_insert((0.0, true));
            entry.0 = if worst.is_nan() { worst } else { entry.0.max(worst) };
            entry.1 &= passed;
        }
    }
    let table = kernel_table(&results, "no GPU has run it: no op of a graph leads to it yet");
    for line in table.lines() {
        report.line(line);
    }
    report.line("");
}

/// All logits of a model for `ids`, the first `prompt` at once.
fn logits(bytes: &GgufSet, gpu: &dyn Device, ids: &[u32], prompt: usize) -> Result<Vec<Vec<f32>>, Failure> {
    let model = Arc::new(Model::load_set(bytes, gpu, &mut LoadParams::default())?);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let params =
        ContextParams { n_ctx: 512, n_threads, n_threads_batch: n_threads, ..ContextParams::default() };
    Ok(device::logits(&mut Context::new(model, gpu, &params)?, ids, prompt))
}

/// Logits of toys, of the demo model and of the files named, against the CPU.
pub fn models(
    gpu: &CudaDevice,
    paths: &[String],
    n_tokens: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    report.line("## Models\n");
    report.line("| Model | Tokens | NMSE of the logits | Equal argmax | Other argmax, but a tie | Verdict |");
    report.line("|---|---|---|---|---|---|");
    let mut sets: Vec<(String, GgufSet, f64)> = Vec::new();
    for (name, types, bound) in [
        ("llama F32", vec![DType::F32], 1e-6),
        ("llama F16", vec![DType::F16], 1e-5),
        ("llama BF16", vec![DType::BF16], 1e-4),
        ("llama Q8_0", vec![DType::Q8_0], 1e-3),
        ("llama Q4_0, Q5_0", vec![DType::Q4_0, DType::Q5_0], 1e-3),
        ("llama Q4_K, Q6_K, Q5_K", vec![DType::Q4_K, DType::Q6_K, DType::Q5_K], 1e-3),
    ] {
        let file = GgufFile::from_vec(device::llama(2, &types))?;
        sets.push((format!("toy {name}"), GgufSet::from(&file), bound));
    }
    sets.push(("the demo model".to_owned(), GgufSet::from(&GgufFile::from_static(DEMO)?), 1e-2));
    for path in paths {
        // Models with random weights are about as far from themselves when activations are rounded in other blocks.
        sets.push((path.clone(), GgufSet::open(path, SourceKind::Mapped)?, 1e-2));
    }
    for (name, set, bound) in &sets {
        let ids = device::tokens(n_tokens);
        let expected = logits(set, &CpuDevice::default(), &ids, n_tokens * 3 / 5)?;
        let found = logits(set, gpu, &ids, n_tokens * 3 / 5)?;
        let error = nmse(&expected.concat(), &found.concat());
        let same = found.iter().zip(&expected).filter(|(a, b)| argmax(a) == argmax(b)).count();
        let ties =
            found.iter().zip(&expected).filter(|(a, b)| argmax(a) != argmax(b) && is_tie(a, b)).count();
        let verdict = report.verdict(error <= *bound && (same + ties) as f64 >= MIN_SAME * ids.len() as f64);
        report.line(&format!("| {name} | {} | {error:.1e} | {same} | {ties} | {verdict} |", ids.len()));
    }
    report.line("");
    Ok(())
}

/// Whether the device's choice is, for the CPU, as good as its own within the error of the row: three times its root mean
/// square. Random weights make many such ties.
fn is_tie(found: &[f32], expected: &[f32]) -> bool {
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let mean = found.iter().zip(expected).map(square).sum::<f64>() / found.len() as f64;
    let gap = f64::from(expected[argmax(expected)] - expected[argmax(found)]);
    gap <= 3.0 * mean.sqrt()
}

/// Loads, decodes and drops a model again and again, and looks at the memory.
pub fn loads(gpu: &CudaDevice, n: usize, report: &mut Report) -> Result<(), Failure> {
    let file = GgufFile::from_vec(device::llama(1, &[DType::Q8_0]))?;
    let once = || -> Result<(), Failure> {
        let model = Arc::new(Model::load(&file, gpu, &mut LoadParams::default())?);
        let mut context = Context::new(model, gpu, &device::params())?;
        let mut batch = Batch::new();
        batch.add(1, 0, &[0], true);
        Ok(context.decode(&batch)?)
    };
    // The first one makes the driver load code, which stays.
    once()?;
    let before = gpu.memory().free;
    for _ in 0..n {
        once()?;
    }
    let after = gpu.memory().free;
    let held: u64 =
        Purpose::ALL.into_iter().filter(|p| *p != Purpose::Staging).map(|p| gpu.ledger().bytes(p)).sum();
    let verdict = report.verdict(before == after && held == 0);
    report.line(&format!(
        "Memory after {n} loads, each with a context and a token: {before} bytes free before, {after} after, {held} in the \
         ledger: {verdict}.\n"
    ));
    Ok(())
}

/// FLOP/s of a 4096-cubed product with bf16 weights, our own kernel's.
fn gemm_rate(gpu: &CudaDevice) -> Result<f64, Failure> {
    const N: usize = 4096;
    let mut graph = Graph::new();
    let w = graph.input("w", DType::BF16, [N, N, 1, 1])?;
    let x = graph.input("x", DType::F32, [N, N, 1, 1])?;
    let out = graph.mul_mat(w, x)?;
    graph.set_output(out);
    graph.build_forward_expand(out);
    let mut buffers = BufferTable::new();
    let mut scheduler = Scheduler::new(vec![gpu.backend(1)?])?;
    scheduler.alloc_graph(&mut graph, &mut buffers)?;
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = Instant::now();
        scheduler.compute(&graph, &mut buffers, None)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (N * N * N) as f64 / best)
}

fn bench(gpu: &CudaDevice, args: &Args, report: &mut Report) -> Result<(), Failure> {
    const N_DECODE: usize = 128;
    const N_PROMPT: usize = 2048;
    let bandwidth = gpu.copy_bandwidth(1 << 30, 10)?;
    let gemm = gemm_rate(gpu)?;
    report.line("## Speed\n");
    report.line(&format!(
        "Copies inside of the device's memory: {:.0} GiB/s, read and written. A bf16 product of 4096 x 4096 x 4096 with our \
         own kernel: {:.1} TFLOP/s.\n",
        bandwidth / GIB,
        gemm / 1e12
    ));
    report.line("| Model | Decode, tokens/s | Weight bytes/s of copy bandwidth | Prefill of 2,048, tokens/s | of the bf16 product |");
    report.line("|---|---|---|---|---|");
    for path in &args.models {
        let set = GgufSet::open(path, SourceKind::Mapped)?;
        let model = Arc::new(Model::load_set(&set, gpu, &mut LoadParams::default())?);
        // Of the token embeddings a token reads one row, unless they are the output matrix too.
        let embeddings = set.tensors().find(|t| t.name == "token_embd.weight").map_or(0, |t| t.n_bytes);
        let tied = set.tensors().all(|t| t.name != "output.weight");
        let bytes = model.load_stats().bytes_total - if tied { 0 } else { embeddings };
        // What every token of a prompt is multiplied with: the layers; the output matrix serves the last one only.
        let in_layers = |t: &&quipu_gguf::TensorInfo| t.name.starts_with("blk.") && t.ne[1] > 1;
        let n_elements: u64 = set.tensors().filter(in_layers).map(|t| t.ne.iter().product::<u64>()).sum();
        let n_elements = n_elements as f64;
        let params =
            ContextParams { n_ctx: 4096, n_batch: N_PROMPT, n_ubatch: N_PROMPT, ..ContextParams::default() };
        let mut context = Context::new(Arc::clone(&model), gpu, &params)?;
        let mut prompt = Batch::new();
        for (i, token) in device::tokens(N_PROMPT).iter().enumerate() {
            prompt.add(*token, i as i32, &[0], i + 1 == N_PROMPT);
        }
        let mut prefill = f64::INFINITY;
        for _ in 0..5 {
            context.memory_mut().clear();
            let start = Instant::now();
            context.decode(&prompt)?;
            prefill = prefill.min(start.elapsed().as_secs_f64());
        }
        context.memory_mut().clear();
        let mut rates = Vec::new();
        let mut position = 0;
        for _ in 0..5 {
            let start = Instant::now();
            for _ in 0..N_DECODE {
                let mut batch = Batch::new();
                batch.add(7, position, &[0], true);
                context.decode(&batch)?;
                position += 1;
            }
            rates.push(N_DECODE as f64 / start.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let decode = rates[rates.len() / 2];
        let of_bandwidth = decode * bytes as f64 / bandwidth;
        let of_gemm = 2.0 * n_elements * N_PROMPT as f64 / prefill / gemm;
        report.line(&format!(
            "| {path} | {decode:.1} | {:.0}% ({}) | {:.0} | {:.0}% ({}) |",
            of_bandwidth * 100.0,
            if of_bandwidth >= MIN_DECODE { "floor 50% met" } else { "below the floor of 50%" },
            N_PROMPT as f64 / prefill,
            of_gemm * 100.0,
            if of_gemm >= MIN_PREFILL { "floor 20% met" } else { "below the floor of 20%" },
        ));
    }
    report.line("");
    Ok(())
}

/// Today's date, UTC.
fn today() -> String {
    let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86400);
    // Days since 1 March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{date:02}", era * 400 + year + u64::from(month <= 2))
}
