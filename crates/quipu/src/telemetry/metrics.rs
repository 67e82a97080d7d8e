//! The numbers: plain data, added up by a session or by a recorder.

use std::time::Duration;

/// Counters and times of a session ([`crate::Session::metrics`]) or of all of them ([`super::Recorder::metrics`]).
///
/// The first group answers to `llama_perf_context_data`, the second to `server_metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Time that loading the model took.
    pub load: Duration,
    /// Time since the start of loading, of a recorder since it was made.
    pub total: Duration,
    /// Tokens computed in calls with several tokens.
    pub n_prompt: u64,
    /// Time of those calls.
    pub t_prompt: Duration,
    /// Calls with one token.
    pub n_eval: u64,
    /// Time of those calls.
    pub t_eval: Duration,
    /// Ubatches computed.
    pub n_ubatches: u64,
    /// Graphs built.
    pub n_graph_builds: u64,
    /// Ubatches that ran on the graph before them.
    pub n_reused: u64,
    /// Cells of the KV cache in use after the last call.
    pub kv_used: u64,
    /// Cells of the KV cache.
    pub n_cells: u64,

    /// Prompts computed to their end.
    pub n_prompts: u64,
    /// Tokens of prompts that were computed; those the session held already do not count.
    pub prompt_tokens: u64,
    /// Time from the start of a generation to the end of its prompt.
    pub prompt_time: Duration,
    /// Generations that ended.
    pub n_generations: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Time from the end of a prompt to the end of its generation.
    pub generated_time: Duration,
    /// Generations under way.
    pub n_active: u64,
    /// Decode calls.
    pub n_decode: u64,
    /// Most cells of the KV cache in use after a call.
    pub n_tokens_max: u64,
    /// Context shifts.
    pub n_shifts: u64,
    /// Tokens sampled under a recorder.
    pub n_sample: u64,
    /// Time of that.
    pub t_sample: Duration,
    /// Time spent turning tokens into text under a recorder.
    pub t_detokenize: Duration,
}

impl Metrics {
    /// A prompt came to its end.
    pub(crate) fn add_prompt(&mut self, n_computed: u64, time: Duration) {
        self.n_prompts += 1;
        self.prompt_tokens += n_computed;
        self.prompt_time += time;
    }

    /// A generation came to its end.
    pub(crate) fn add_generation(&mut self, n_generated: u64, time: Duration) {
        self.n_generations += 1;
        self.generated_tokens += n_generated;
        self.generated_time += time;
    }

    /// A decode call; the rules are those of `llama_perf_context`.
    pub(crate) fn add_decode(&mut self, n_tokens: u64, time: Duration) {
        self.n_decode += 1;
        if n_tokens == 1 {
            self.n_eval += 1;
            self.t_eval += time;
        } else {
            self.n_prompt += n_tokens;
            self.t_prompt += time;
        }
    }

    /// The fill of the KV cache after a call.
    pub(crate) fn set_kv(&mut self, used: u64, n_cells: u64) {
        self.kv_used = used;
        self.n_cells = n_cells;
        self.n_tokens_max = self.n_tokens_max.max(used);
    }
}
