//! Metrics as the reference prints them at the end of a run (`llama_perf_context_print`).

use std::fmt;
use std::time::Duration;

use super::Metrics;

/// Displays metrics on seven lines, the last one without a line break.
///
/// ```
/// let summary = quipu::telemetry::Summary(quipu::telemetry::Metrics::default()).to_string();
/// assert!(summary.ends_with("graphs reused =          0"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Summary(pub Metrics);

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = &self.0;
        writeln!(f, "        load time = {:10.2} ms", ms(m.load))?;
        rate(f, "prompt eval time", m.t_prompt, m.n_prompt, "tokens")?;
        rate(f, "       eval time", m.t_eval, m.n_eval, "runs  ")?;
        writeln!(f, "    sampling time = {:10.2} ms / {:5} tokens", ms(m.t_sample), m.n_sample)?;
        writeln!(f, "  detokenize time = {:10.2} ms", ms(m.t_detokenize))?;
        writeln!(f, "       total time = {:10.2} ms / {:5} tokens", ms(m.total), m.n_prompt + m.n_eval)?;
        write!(f, "    graphs reused = {:10}", m.n_reused)
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A time, what it was spent on, and its speed. No tokens count as one, and no time gives no speed.
fn rate(f: &mut fmt::Formatter<'_>, label: &str, time: Duration, n: u64, unit: &str) -> fmt::Result {
    let (time, n) = (ms(time), n.max(1));
    let (each, speed) = (time / n as f64, if time > 0.0 { 1e3 / time * n as f64 } else { 0.0 });
    writeln!(
        f,
        " {label} = {time:10.2} ms / {n:5} {unit} ({each:8.2} ms per token, {speed:8.2} tokens per second)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_reference_prints_them() {
        let metrics = Metrics {
            load: Duration::from_micros(10_530),
            total: Duration::from_micros(111_130),
            n_prompt: 10,
            t_prompt: Duration::from_micros(810),
            n_eval: 299,
            t_eval: Duration::from_micros(102_680),
            n_reused: 297,
            ..Metrics::default()
        };
        let text = Summary(metrics).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "        load time =      10.53 ms");
        assert_eq!(
            lines[1],
            " prompt eval time =       0.81 ms /    10 tokens (    0.08 ms per token, 12345.68 tokens per second)"
        );
        assert_eq!(
            lines[2],
            "        eval time =     102.68 ms /   299 runs   (    0.34 ms per token,  2911.96 tokens per second)"
        );
        assert_eq!(lines[5], "       total time =     111.13 ms /   309 tokens");
        assert_eq!(lines[6], "    graphs reused =        297");
    }
}
