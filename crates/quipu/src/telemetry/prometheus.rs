//! Metrics in Prometheus' text format, under the names of the reference's server.

use std::fmt::Write;
use std::time::Duration;

use super::Metrics;

/// Writes metrics in Prometheus' text exposition format (version 0.0.4): the reference server's names with
/// `quipu:` in place of `llamacpp:`, and after them what the reference does not count.
pub fn prometheus(metrics: &Metrics) -> String {
    let m = metrics;
    let counters = [
        ("prompt_tokens_total", "Number of prompt tokens processed.", m.prompt_tokens as f64),
        ("prompt_seconds_total", "Prompt process time", seconds(m.prompt_time)),
        ("tokens_predicted_total", "Number of generation tokens processed.", m.generated_tokens as f64),
        ("tokens_predicted_seconds_total", "Predict process time", seconds(m.generated_time)),
        ("n_decode_total", "Total number of decode calls", m.n_decode as f64),
        ("n_tokens_max", "Largest observed n_tokens.", m.n_tokens_max as f64),
        ("generations_total", "Generations that ended.", m.n_generations as f64),
        ("ubatches_total", "Ubatches computed.", m.n_ubatches as f64),
        ("graphs_built_total", "Graphs built.", m.n_graph_builds as f64),
        ("graphs_reused_total", "Ubatches that ran on the graph before them.", m.n_reused as f64),
        ("context_shifts_total", "Context shifts.", m.n_shifts as f64),
        ("sample_seconds_total", "Sampling time", seconds(m.t_sample)),
        ("detokenize_seconds_total", "Detokenizing time", seconds(m.t_detokenize)),
    ];
    let per_second = |n: u64, time| if seconds(time) > 0.0 { n as f64 / seconds(time) } else { 0.0 };
    let gauges = [
        (
            "prompt_tokens_seconds",
            "Average prompt throughput in tokens/s.",
            per_second(m.prompt_tokens, m.prompt_time),
        ),
        (
            "predicted_tokens_seconds",
            "Average generation throughput in tokens/s.",
            per_second(m.generated_tokens, m.generated_time),
        ),
        ("requests_processing", "Number of requests processing.", m.n_active as f64),
        ("kv_cache_tokens", "Cells of the KV cache in use.", m.kv_used as f64),
        (
            "kv_cache_usage_ratio",
            "KV-cache usage. 1 means 100 percent usage.",
            if m.n_cells > 0 { m.kv_used as f64 / m.n_cells as f64 } else { 0.0 },
        ),
        ("model_load_seconds", "Time that loading the model took.", seconds(m.load)),
    ];
    let mut text = String::new();
    for (kind, rows) in [("counter", &counters[..]), ("gauge", &gauges[..])] {
        for (name, help, value) in rows {
            write!(text, "# HELP quipu:{name} {help}\n# TYPE quipu:{name} {kind}\nquipu:{name} {value}\n")
                .expect("a String takes everything");
        }
    }
    text
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
