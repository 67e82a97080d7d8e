//! The flags about a model's thoughts, with llama.cpp's names.

use quipu::sampler::{ReasoningParams, Vocabulary};
use quipu::{SamplerParams, Tokenizer};

use crate::chat::thoughts::Tags;

/// Whether and how long a model thinks before it answers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reasoning")]
pub(crate) struct ReasoningArgs {
    /// Whether the template asks for thoughts (-rea): on, off, or auto = as the template has it.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    reasoning: Reasoning,
    /// Most tokens of thoughts; -1 = no bound, 0 = none.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(-1..))]
    reasoning_budget: i32,
    /// What the model is made to say when the budget is used up, before the tag that ends thoughts.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reasoning_budget_message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Reasoning {
    On,
    Off,
    Auto,
}

impl ReasoningArgs {
    /// What templates see as `enable_thinking`.
    pub fn is_wanted(&self) -> bool {
        self.reasoning != Reasoning::Off
    }

    /// Bounds the thoughts between these tags.
    pub fn apply(&self, sampling: &mut SamplerParams, tags: Tags, tokenizer: &Tokenizer) {
        if self.reasoning_budget >= 0 {
            let vocabulary: &dyn Vocabulary = tokenizer;
            sampling.reasoning = ReasoningParams::from_tags(
                self.reasoning_budget,
                tags.start,
                &[tags.end],
                &self.reasoning_budget_message,
                vocabulary,
            );
        }
    }
}
