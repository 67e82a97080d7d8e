//! What a flag of the reference is, and where its table lies.

use super::{bench, common, quantize, serve, special};

/// A program of the reference, by the command that answers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// llama-completion.
    Run,
    /// llama-cli.
    Chat,
    /// llama-embedding.
    Embed,
    /// llama-perplexity.
    Perplexity,
    /// llama-imatrix.
    Imatrix,
    /// llama-tokenize.
    Tokenize,
    /// llama-bench.
    Bench,
    /// llama-quantize.
    Quantize,
    /// llama-server.
    Serve,
    /// None; it takes what all of them take.
    Other,
}

/// The programs whose flags are the common ones.
pub(super) const COMMON: &[Tool] = &[
    Tool::Run,
    Tool::Chat,
    Tool::Embed,
    Tool::Perplexity,
    Tool::Imatrix,
    Tool::Tokenize,
    Tool::Serve,
    Tool::Other,
];

/// Those of them that work at a text of the command line, one at a time.
pub(super) const ONE_TEXT: &[Tool] =
    &[Tool::Run, Tool::Chat, Tool::Embed, Tool::Perplexity, Tool::Imatrix, Tool::Tokenize, Tool::Other];

impl Tool {
    /// The program that a command answers to; none if it takes no model as the reference's programs do.
    pub(super) fn of(command: &clap::Command) -> Option<Tool> {
        Some(match command.get_name() {
            "run" => Tool::Run,
            "chat" => Tool::Chat,
            "embed" => Tool::Embed,
            "perplexity" => Tool::Perplexity,
            "imatrix" => Tool::Imatrix,
            "tokenize" => Tool::Tokenize,
            "bench" => Tool::Bench,
            "quantize" => Tool::Quantize,
            "serve" => Tool::Serve,
            "logits" | "detokenize" | "audit-log" => Tool::Other,
            _ => return None,
        })
    }
}

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    One,
    Two,
    /// Nothing; another flag says the opposite, and a variable of both is true for this one.
    On,
    /// Nothing; the opposite.
    Off,
}

impl Takes {
    pub(super) fn n_values(self) -> usize {
        match self {
            Takes::One => 1,
            Takes::Two => 2,
            Takes::Nothing | Takes::On | Takes::Off => 0,
        }
    }

    pub(super) fn words(self) -> &'static str {
        if self == Takes::Two { "two values" } else { "a value" }
    }
}

/// What becomes of a flag here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// It is this one of ours, where the command has it.
    Is(&'static str),
    /// It is these words.
    Words(&'static [&'static str]),
    /// It takes back this one of ours.
    Unset(&'static str),
    /// It changes nothing here: why, for docs/flags.md.
    Nothing(#[cfg_attr(not(test), allow(dead_code))] &'static str),
    /// Of these values each is some words, other values are refused.
    Values(&'static [(&'static str, &'static [&'static str])]),
    /// It is not there: why.
    Refused(&'static str),
}

/// A flag of the reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub tools: &'static [Tool],
    pub names: &'static [&'static str],
    pub takes: Takes,
    /// Environment variable with its value.
    pub env: Option<&'static str>,
    pub answer: Answer,
}

impl Flag {
    pub(super) const fn new(
        tools: &'static [Tool],
        names: &'static [&'static str],
        takes: Takes,
        answer: Answer,
    ) -> Flag {
        Flag { tools, names, takes, env: None, answer }
    }

    pub(super) const fn env(self, env: &'static str) -> Flag {
        Flag { env: Some(env), ..self }
    }

    pub(super) fn is_of(&self, tool: Tool) -> bool {
        self.tools.contains(&tool)
    }
}

/// All flags.
pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    [common::FLAGS, common::SAMPLING, special::FLAGS, serve::FLAGS, bench::FLAGS, quantize::FLAGS]
        .into_iter()
        .flatten()
}

/// The flag of a program that has this name.
pub(super) fn find(tool: Tool, name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.is_of(tool) && flag.names.contains(&name))
}
