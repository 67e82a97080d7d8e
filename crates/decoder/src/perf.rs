//! Counters and times of a context.

use std::time::Duration;

/// What a context has done so far. Answers to `llama_perf_context_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perf {
    /// Time in calls with several tokens.
    pub t_prompt: Duration,
    /// Time in calls with one token.
    pub t_eval: Duration,
    /// Tokens of calls with several tokens.
    pub n_prompt: usize,
    /// Calls with one token.
    pub n_eval: usize,
    /// Graphs built.
    pub n_graph_builds: usize,
    /// Ubatches that ran on the last ubatch's graph.
    pub n_reused: usize,
    /// Runs of the graph that applies position shifts.
    pub n_shifts: usize,
}

impl Perf {
    /// Accounts one decode call.
    pub(crate) fn add_call(&mut self, n_tokens: usize, time: Duration) {
        if n_tokens == 1 {
            self.n_eval += 1;
            self.t_eval += time;
        } else {
            self.n_prompt += n_tokens;
            self.t_prompt += time;
        }
    }
}
