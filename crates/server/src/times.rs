//! How long a text took.

use std::time::Duration;

/// Counts and times of one text (`result_timings`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    /// Tokens of the prompt that were held.
    pub n_cached: usize,
    /// Tokens of it that were computed.
    pub n_prompt: usize,
    /// Time until the first token.
    pub prompt: Duration,
    /// Tokens generated.
    pub n_generated: usize,
    /// Time since the first token.
    pub generated: Duration,
}
