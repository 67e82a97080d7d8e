//! The `quipu` command line: a thin shell over the `quipu` crate.
//!
//! Results go to stdout and nothing else does; what a person should know beside them goes to stderr. Every
//! failure is one line on stderr and exit code 1 (2 where `grammar-check` and `audit-log` refuse what they are given: 1 is an answer there, or a file that cannot be read).
#![forbid(unsafe_code)]

mod adapters;
mod chat;
mod chat_template;
mod commands;
mod context;
mod csv;
mod fail;
mod flags;
mod generation;
mod input;
mod models;
mod options;
mod output;
mod questions;
mod reasoning;
mod sampling;
mod signals;
mod transcripts;
mod warnings;
mod work;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::fail::Failure;

/// Where there is no memory, the program ends as after any other failure.
#[global_allocator]
static ALLOCATOR: quipu::gguf::ExitOnOutOfMemory = quipu::gguf::ExitOnOutOfMemory::new("quipu");

/// Runs GGUF language models on this machine, module for module like llama.cpp.
///
/// Every command that takes a model reads a GGUF file (-m), and without one the small model that is built in. `quipu run -p "Once upon a time"`
/// continues a text, `quipu chat` talks; `quantize`, `imatrix`, `split`, `merge` and `convert` make files, the others measure and show.
/// Flags are called as in llama.cpp (docs/flags.md has them all), and its LLAMA_ARG_* variables count. `quipu models` shows the models
/// that other programs have put on this machine; -m takes their names.
#[derive(Debug, Parser)]
#[command(name = "quipu", version, propagate_version = true, args_override_self = true)]
struct Cli {
    /// Show the devices that models can be computed on.
    #[arg(long, exclusive = true)]
    list_devices: bool,
    #[command(subcommand)]
    command: Option<Command>,
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
    /// Turn a Hugging Face LoRA adapter into a GGUF file, as convert_lora_to_gguf.py does.
    ConvertLora(commands::convert_lora::Args),
    /// Answer llama-server's and OpenAI's requests over HTTP.
    Serve(Box<commands::serve::Args>),
    /// Show, compare and migrate gemma.cpp's .sbs files.
    Sbs(commands::sbs::Args),
    /// Show the models that are on this machine, and the names that -m takes.
    Models(commands::models::Args),
    /// Print completions for a shell.
    Completions(commands::completions::Args),
    /// Write manual pages into a folder.
    Man(commands::man::Args),
}

fn main() -> ExitCode {
    quipu::gguf::ExitOnOutOfMemory::install();
    output::break_closed_stdout();
    work::run(command)
}

/// Does what the command line says.
fn command() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Some(command) = cli.command.filter(|_| !cli.list_devices) else {
        return ended(commands::list_devices::run());
    };
    // A server ends in its own way, and writes no files.
    if !matches!(command, Command::Serve(_)) {
        signals::remove_unfinished_files();
    }
    let done: Result<(), Failure> = match command {
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
        Command::ConvertLora(args) => commands::convert_lora::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Sbs(args) => commands::sbs::run(&args),
        Command::Models(args) => commands::models::run(&args),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(&args, &Cli::command()),
    };
    // Who was given an output for good, such as a recorder of events, never drops it.
    quipu::gguf::remove_unfinished();
    ended(done)
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(format_args!("quipu: {failure}"));
            failure.exit_code()
        }
    }
}

/// What the command line says, or how the program ends instead.
fn parse() -> Result<Cli, ExitCode> {
    let mut parser = Cli::command();
    parser.build();
    let words = match flags::normalise(std::env::args_os(), &parser, |name| std::env::var_os(name)) {
        Ok(words) => words,
        Err(message) => return Err(misused(&parser, &message)),
    };
    if words.iter().any(|word| word == flags::LIST_DEVICES) {
        return Ok(Cli { list_devices: true, command: None });
    }
    let parsed = parser.clone().try_get_matches_from(words);
    match parsed.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) if cli.command.is_none() && !cli.list_devices => {
            output::note(parser.render_help());
            Err(ExitCode::FAILURE)
        }
        Ok(cli) => Ok(cli),
        // Help and version are answers, everything else is a failure like any other.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            Err(ExitCode::SUCCESS)
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Err(ExitCode::FAILURE)
        }
        Err(error) => {
            // What is wrong comes first; advice and usage follow behind an empty line.
            let text = error.render().to_string();
            let wrong: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let wrong = wrong.join(" ");
            Err(misused(&parser, wrong.strip_prefix("error: ").unwrap_or(&wrong)))
        }
    }
}

/// A command line that makes no sense.
fn misused(parser: &clap::Command, message: &str) -> ExitCode {
    let command = std::env::args_os().nth(1).and_then(|word| parser.find_subcommand(word));
    let command = command.map_or(String::new(), |command| format!(" {}", command.get_name()));
    let message = message.replace(['\n', '\r'], " ");
    output::note(format_args!("error: {message}; see quipu{command} --help"));
    ExitCode::FAILURE
}
