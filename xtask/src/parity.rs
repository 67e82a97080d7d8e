//! `cargo xtask parity`: the audit, live against a llama.cpp checkout or replayed from the recorded goldens.

use std::path::{Path, PathBuf};

use quipu_parity::checkout::Checkout;
use quipu_parity::gemma::{self, GemmaCheckout};
use quipu_parity::{
    Report, adapters, alloc, architectures, cache_types, convert, generation, gguf, goldens, imatrix, loader,
    logits, memory, models, nodes, quant, quantize, sampler, state_files, tokenizer, verdicts,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A llama.cpp checkout that was built; without one the recorded goldens are replayed.
    #[arg(long, env = "LLAMA_CPP_DIR")]
    llama_cpp: Option<PathBuf>,
    /// Its build folder, if it is not in the checkout.
    #[arg(long, env = "LLAMA_CPP_BUILD")]
    build: Option<PathBuf>,
    /// Only this module: gguf, quant, quantize, convert, loader, verdicts, tokenizer, sampler, alloc, memory, logits (with
    /// layers), architectures, nodes, generation or gemma.
    #[arg(long)]
    module: Option<String>,
    /// Only these architectures, without what is recorded of parts that are taken out (module architectures).
    #[arg(long, value_name = "NAME")]
    architecture: Vec<String>,
    /// Audit every GGUF file of this folder, and nothing else unless --module names it: tokens, predictions, perplexity, chats.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// A folder of GGUF files that llama.cpp wrote, to be read and written again (module gguf).
    #[arg(long, value_name = "DIR")]
    gguf_folder: Vec<PathBuf>,
    /// A gemma.cpp checkout, with highway and sentencepiece beside it or in its build folder, for module gemma; it is compiled
    /// here, which takes minutes the first time.
    #[arg(long, value_name = "DIR", env = "GEMMA_CPP_DIR")]
    gemma_cpp: Option<PathBuf>,
    /// A GGUF file of a Gemma to run in both (module gemma, with --gemma-cpp).
    #[arg(long, value_name = "FILE", requires = "gemma_cpp")]
    gemma_model: Option<PathBuf>,
    /// Write report.md and report.json there.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Record the goldens anew from the checkout instead of auditing; the value is the date to note.
    #[arg(long, value_name = "DATE")]
    record: Option<String>,
    /// Cases of each kind in module memory.
    #[arg(long, value_name = "N", default_value_t = memory::N_CASES)]
    cases: usize,
}

const MODULES: [&str; 16] = [
    "gguf",
    "quant",
    "quantize",
    "convert",
    "loader",
    "verdicts",
    "tokenizer",
    "sampler",
    "alloc",
    "memory",
    "logits",
    "architectures",
    "adapters",
    "nodes",
    "generation",
    "gemma",
];

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let text = |error: quipu_parity::Error| error.to_string();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let checkout = match &args.llama_cpp {
        Some(dir) => {
            let probes = root.join("target/parity-probes");
            Some(Checkout::locate(dir, args.build.as_deref(), &probes).map_err(text)?)
        }
        None => None,
    };
    let gemma_cpp = match &args.gemma_cpp {
        Some(dir) => {
            Some(GemmaCheckout::locate(dir, &root.join("target/parity-probes/gemma.cpp")).map_err(text)?)
        }
        None => None,
    };
    if let Some(module) = &args.module
        && !MODULES.contains(&module.as_str())
    {
        return Err(format!("module '{module}' is unknown, expected one of: {}", MODULES.join(", ")));
    }
    if let (Some(date), Some("gemma")) = (&args.record, args.module.as_deref()) {
        let checkout = gemma_cpp.as_ref().ok_or("--record of module gemma needs --gemma-cpp")?;
        return gemma::record(checkout, date).map_err(text);
    }
    if let Some(date) = &args.record {
        let checkout = checkout.as_ref().ok_or("--record needs --llama-cpp")?;
        return match args.module.as_deref() {
            Some("gguf") => gguf::record(checkout, date),
            Some("loader") => loader::record(checkout, date),
            Some("verdicts") => verdicts::record(checkout, date),
            Some("tokenizer") => tokenizer::record(checkout, date),
            Some("memory") => memory::record(checkout),
            Some("architectures") => architectures::record(checkout, date),
            module => goldens::record(checkout, date, module),
        }
        .map_err(text);
    }
    let wanted = |module: &str| match &args.module {
        Some(only) => only == module,
        None => args.models.is_none(),
    };
    let checkout = checkout.as_ref();
    let mut report = Report::default();
    if wanted("gguf") {
        let models = args.llama_cpp.iter().map(|dir| dir.join("models"));
        let folders: Vec<PathBuf> = models.chain(args.gguf_folder.iter().cloned()).collect();
        report.rows.extend(gguf::audit(checkout, &folders).map_err(text)?);
    }
    if wanted("quant") {
        report.rows.extend(quant::audit(checkout).map_err(text)?);
    }
    if wanted("quantize") {
        report.rows.extend(match checkout {
            Some(checkout) => quantize::audit(checkout).map_err(text)?,
            None => quantize::replay().map_err(text)?,
        });
        report.rows.extend(imatrix::audit(checkout).map_err(text)?);
    }
    if wanted("convert") {
        // Recorded in either case: the script needs Python and torch, not a build.
        report.rows.extend(convert::replay().map_err(text)?);
    }
    if wanted("loader") {
        report.rows.extend(loader::audit(checkout).map_err(text)?);
    }
    if wanted("verdicts") {
        report.rows.extend(verdicts::audit(checkout).map_err(text)?);
    }
    if wanted("tokenizer") {
        report.rows.extend(tokenizer::tokenizers(checkout).map_err(text)?);
    }
    if wanted("sampler") {
        report.rows.extend(sampler::audit(checkout).map_err(text)?);
    }
    if wanted("alloc") {
        report.rows.extend(alloc::planner(checkout).map_err(text)?);
    }
    if wanted("memory") {
        report.rows.extend(memory::audit(checkout, args.cases).map_err(text)?);
        if let Some(checkout) = checkout {
            report.rows.extend(state_files::audit(checkout).map_err(text)?);
        }
    }
    if wanted("logits") {
        report.rows.extend(match checkout {
            Some(checkout) => {
                let mut rows = logits::audit_reference_toys(checkout).map_err(text)?;
                rows.extend(logits::audit_toys(checkout, &mut |case| eprintln!("{case}")).map_err(text)?);
                rows.extend(cache_types::audit(checkout).map_err(text)?);
                rows
            }
            None => goldens::replay_logits(None).map_err(text)?,
        });
        report.rows.extend(goldens::knock_outs().map_err(text)?);
    }
    if wanted("architectures") {
        report.rows.extend(match checkout {
            Some(checkout) => {
                let progress = &mut |case: &str| eprintln!("{case}");
                architectures::audit(checkout, &args.architecture, progress).map_err(text)?
            }
            None => architectures::replay().map_err(text)?,
        });
        if args.architecture.is_empty() {
            report.rows.extend(architectures::knock_outs().map_err(text)?);
        }
    }
    if let Some(checkout) = checkout.filter(|_| wanted("adapters")) {
        report.rows.extend(adapters::audit_without_flash(checkout).map_err(text)?);
        report.rows.extend(adapters::audit(checkout).map_err(text)?);
    }
    if wanted("nodes") {
        report.rows.extend(match checkout {
            Some(checkout) => nodes::audit(checkout).map_err(text)?,
            None => nodes::replay(None).map_err(text)?,
        });
    }
    if wanted("generation") {
        report.rows.extend(match checkout {
            Some(checkout) => generation::audit(checkout, &mut |line| eprintln!("{line}")).map_err(text)?,
            None => goldens::replay_generation().map_err(text)?,
        });
    }
    if wanted("gemma") {
        let mut progress = |case: &str| eprintln!("{case}");
        report.rows.extend(match (&gemma_cpp, &args.gemma_model) {
            (Some(checkout), Some(model)) => {
                gemma::audit_model(checkout, model, &mut progress).map_err(text)?
            }
            (Some(checkout), None) => gemma::audit(checkout, &mut progress).map_err(text)?,
            (None, _) => gemma::replay().map_err(text)?,
        });
        report.rows.extend(gemma::knock_outs().map_err(text)?);
    }
    if let Some(folder) = &args.models {
        let rows = models::audit(checkout, folder, &mut |line| eprintln!("{line}")).map_err(text)?;
        report.rows.extend(rows);
    }
    finish(args, &root, &report, checkout)
}

fn finish(args: &Args, root: &Path, report: &Report, checkout: Option<&Checkout>) -> Result<(), String> {
    let reference = checkout.map_or("recorded goldens".to_owned(), Checkout::revision_or_recorded);
    let markdown = format!("Reference: {reference}\n\n{}", report.markdown());
    println!("{markdown}");
    if let Some(dir) = &args.report {
        let io = |error: std::io::Error| format!("{}: {error}", dir.display());
        std::fs::create_dir_all(dir).map_err(io)?;
        std::fs::write(dir.join("report.md"), &markdown).map_err(io)?;
        let json = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
        std::fs::write(dir.join("report.json"), json).map_err(io)?;
    }
    let list = root.join("docs/parity/deviations.md");
    let listed = std::fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    match report.unlisted(&listed).count() {
        0 => Ok(()),
        n => Err(format!("{n} deviations are not in docs/parity/deviations.md")),
    }
}
