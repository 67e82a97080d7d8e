//! The `quipu` command line: a thin shell over the `quipu` crate.
//!
//! Results go to stdout and nothing else does; what a person should know beside them goes to stderr. Every
//! failure is one line on stderr and exit code 1 (2 where `grammar-check` and `audit-log` refuse what they are given: 1 is an answer there).
#![forbid(unsafe_code)]

mod adapters;
mod chat_template;
mod commands;
mod csv;
mod fail;
mod generation;
mod input;
mod options;
mod output;
mod questions;
mod sampling;
mod signals;
mod transcripts;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::fail::Failure;

/// Where there is no memory, the program ends as after any other failure.
#[global_allocator]
static ALLOCATOR: quipu::gguf::ExitOnOutOfMemory = quipu::gguf::ExitOnOutOfMemory::new("quipu");

/// Runs GGUF language models, module for module like llama.cpp.
#[derive(Debug, Parser)]
#[command(name = "quipu", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Continue a prompt; only the text goes to stdout.
    Run(commands::run::Args),
    /// Talk with the model through its chat template.
    Chat(commands::chat::Args),
    /// Print the prompt that a chat template makes of a conversation.
    Render(commands::render::Args),
    /// Print the token ids of a text, one line per input.
    Tokenize(commands::tokenize::Args),
    /// Turn the ids on stdin into text.
    Detokenize(commands::detokenize::Args),
    /// Write teacher-forced logits of every position as little-endian f32.
    Logits(commands::logits::Args),
    /// Write one embedding per input line.
    Embed(commands::embed::Args),
    /// Measure perplexity on a text file, as llama-perplexity does.
    Perplexity(commands::perplexity::Args),
    /// Show a GGUF file's metadata, tensors and type histogram.
    Inspect(commands::inspect::Args),
    /// Tell whether a text is a sentence of a GBNF grammar, as llama's gbnf-validator does, or JSON of a schema.
    GrammarCheck(commands::grammar_check::Args),
    /// Convert a model to another mixture of tensor types, as llama-quantize does.
    Quantize(commands::quantize::Args),
    /// Collect an importance matrix over a text, as llama-imatrix does.
    Imatrix(commands::imatrix::Args),
    /// Split a GGUF file into several, as llama-gguf-split does.
    Split(commands::split::Args),
    /// Merge the files of a split model into one, as llama-gguf-split does.
    Merge(commands::merge::Args),
    /// Replay logged generations and say whether this model would have said the same.
    AuditLog(commands::audit_log::Args),
    /// Ask questions with expected answers and count the right ones.
    Eval(commands::eval::Args),
    /// Measure tokens per second, with llama-bench's tests, columns and units.
    Bench(commands::bench::Args),
    /// Turn a Hugging Face model directory into a GGUF file, as convert_hf_to_gguf.py does; or GGUF into gemma.cpp's .sbs, and back.
    Convert(commands::convert::Args),
    /// Show, compare and migrate gemma.cpp's .sbs files.
    Sbs(commands::sbs::Args),
}

/// Short flags of several letters, which the reference has and the parser does not.
fn long_form(arg: OsString) -> OsString {
    match arg.to_str() {
        Some("-jf") => "--json-schema-file".into(),
        Some("-fa") => "--flash-attn".into(),
        Some("-ngl") => "--n-gpu-layers".into(),
        Some("-dev") => "--device".into(),
        Some("-sm") => "--split-mode".into(),
        Some("-ts") => "--tensor-split".into(),
        Some("-mg") => "--main-gpu".into(),
        Some("-ot") => "--override-tensor".into(),
        _ => arg,
    }
}

fn main() -> ExitCode {
    quipu::gguf::ExitOnOutOfMemory::install();
    work::run(command)
}

/// Does what the command line says.
fn command() -> ExitCode {
    let cli = match Cli::try_parse_from(std::env::args_os().map(long_form)) {
        Ok(cli) => cli,
        // Help and version are answers, everything else is a failure like any other.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let _ = error.print();
            return ExitCode::FAILURE;
        }
    };
    signals::remove_unfinished_files();
    let done: Result<(), Failure> = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Render(args) => commands::render::run(&args),
        Command::Tokenize(args) => commands::tokenize::run(&args),
        Command::Detokenize(args) => commands::detokenize::run(&args),
        Command::Logits(args) => commands::logits::run(&args),
        Command::Embed(args) => commands::embed::run(&args),
        Command::Perplexity(args) => commands::perplexity::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::GrammarCheck(args) => commands::grammar_check::run(&args),
        Command::Quantize(args) => commands::quantize::run(&args),
        Command::Imatrix(args) => commands::imatrix::run(&args),
        Command::Split(args) => commands::split::run(&args),
        Command::Merge(args) => commands::merge::run(&args),
        Command::AuditLog(args) => commands::audit_log::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Convert(args) => commands::convert::run(&args),
        Command::Sbs(args) => commands::sbs::run(&args),
    };
    // Who was given an output for good, such as a recorder of events, never drops it.
    quipu::gguf::remove_unfinished();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(format_args!("quipu: {failure}"));
            failure.exit_code()
        }
    }
}
