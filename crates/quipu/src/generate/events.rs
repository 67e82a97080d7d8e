//! What a generation reports while it runs and when it ends.

use std::time::Duration;

use crate::TokenId;
use crate::generate::logprobs::TokenLogprobs;

/// One step of a generation. The order is: progress of the prompt, then for each token [`Event::Token`] and the
/// text that became certain by it, [`Event::Shifted`] where the context was full, and [`Event::Done`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A piece of the prompt was computed (`return_progress` of the reference's server).
    PromptProgress {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Of those, tokens the session held already.
        n_cached: usize,
        /// Tokens done, those included.
        n_processed: usize,
        /// Time since the generation began.
        elapsed: Duration,
    },
    /// A token was chosen.
    Token {
        /// The token.
        id: TokenId,
        /// Bytes it stands for; they may begin or end within a character.
        piece: Vec<u8>,
        /// Probabilities, if [`crate::GenerateOptions::n_probs`] asked for them.
        logprobs: Option<TokenLogprobs>,
    },
    /// Text that is certain: whole characters that belong to no stop string.
    Text(String),
    /// The context was full and tokens were forgotten.
    Shifted {
        /// Tokens kept at the beginning.
        n_keep: usize,
        /// Tokens forgotten after them.
        n_discard: usize,
        /// Tokens the context holds now.
        n_past: usize,
    },
    /// The end, once, unless there was an error.
    Done(Outcome),
}

/// An [`Event`] that borrows from its sequence, so that handing it out allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventRef<'a> {
    /// As [`Event::PromptProgress`].
    PromptProgress {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Of those, tokens that were held already.
        n_cached: usize,
        /// Tokens done, those included.
        n_processed: usize,
        /// Time since the sequence was made.
        elapsed: Duration,
    },
    /// As [`Event::Token`].
    Token {
        /// The token.
        id: TokenId,
        /// Bytes it stands for.
        piece: &'a [u8],
        /// Probabilities, if asked for.
        logprobs: Option<&'a TokenLogprobs>,
    },
    /// As [`Event::Text`].
    Text(&'a str),
    /// As [`Event::Shifted`].
    Shifted {
        /// Tokens kept at the beginning.
        n_keep: usize,
        /// Tokens forgotten after them.
        n_discard: usize,
        /// Tokens the context holds now.
        n_past: usize,
    },
    /// As [`Event::Done`].
    Done(&'a Outcome),
}

impl EventRef<'_> {
    /// The event with memory of its own.
    pub fn to_event(self) -> Event {
        match self {
            EventRef::PromptProgress { n_prompt, n_cached, n_processed, elapsed } => {
                Event::PromptProgress { n_prompt, n_cached, n_processed, elapsed }
            }
            EventRef::Token { id, piece, logprobs } => {
                Event::Token { id, piece: piece.to_vec(), logprobs: logprobs.cloned() }
            }
            EventRef::Text(text) => Event::Text(text.to_owned()),
            EventRef::Shifted { n_keep, n_discard, n_past } => Event::Shifted { n_keep, n_discard, n_past },
            EventRef::Done(outcome) => Event::Done(outcome.clone()),
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The model produced an end-of-generation token.
    EndOfGeneration,
    /// [`crate::GenerateOptions::max_tokens`] was reached.
    MaxTokens,
    /// A stop string appeared.
    StopString,
    /// The context is full.
    ContextFull,
    /// [`crate::GenerateOptions::time_limit`] passed.
    TimeLimit,
    /// The callback asked to stop.
    Sink,
    /// The cancel token was raised.
    Cancelled,
}

impl StopReason {
    /// One word for logs: `eog`, `max_tokens`, `stop_string`, `context_full`, `time_limit`, `sink`, `cancelled`.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::EndOfGeneration => "eog",
            StopReason::MaxTokens => "max_tokens",
            StopReason::StopString => "stop_string",
            StopReason::ContextFull => "context_full",
            StopReason::TimeLimit => "time_limit",
            StopReason::Sink => "sink",
            StopReason::Cancelled => "cancelled",
        }
    }
}

/// What a generation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The generated text, without stop strings.
    pub text: String,
    /// The generated tokens, an ending end-of-generation token included.
    pub tokens: Vec<TokenId>,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of those, tokens the session held already.
    pub n_cached: usize,
    /// Tokens generated.
    pub n_generated: usize,
    /// How often the context was shifted.
    pub n_shifts: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// The stop string that ended it, if one did.
    pub stop_string: Option<String>,
}
