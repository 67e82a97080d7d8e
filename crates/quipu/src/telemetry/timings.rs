//! Time spent in decode calls.

use std::time::Duration;

/// Time spent in a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokens of prompts that were computed; reused ones do not count.
    pub n_prompt: usize,
    /// Time they took.
    pub prompt: Duration,
    /// Tokens computed one by one.
    pub n_eval: usize,
    /// Time they took.
    pub eval: Duration,
}

impl Timings {
    /// Prompt tokens per second; 0 if there were none.
    pub fn prompt_per_second(&self) -> f64 {
        per_second(self.n_prompt, self.prompt)
    }

    /// Generated tokens per second; 0 if there were none.
    pub fn eval_per_second(&self) -> f64 {
        per_second(self.n_eval, self.eval)
    }
}

fn per_second(n: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() }
}
