//! The measurements of llama-bench: prompt processing and text generation in tokens per second.

use std::time::Instant;

use crate::error::Error;
use crate::session::Session;

/// One test and its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchTest {
    /// Tokens of the prompt; 0 in a generation test.
    pub n_prompt: usize,
    /// Tokens generated one by one; 0 in a prompt test.
    pub n_gen: usize,
    /// Nanoseconds of each repetition.
    pub samples_ns: Vec<u64>,
}

impl BenchTest {
    /// The name llama-bench gives it: `pp512`, `tg128`.
    pub fn name(&self) -> String {
        if self.n_gen == 0 { format!("pp{}", self.n_prompt) } else { format!("tg{}", self.n_gen) }
    }

    /// Tokens per second of each repetition.
    pub fn samples_ts(&self) -> Vec<f64> {
        let n = (self.n_prompt + self.n_gen) as f64;
        self.samples_ns.iter().map(|ns| 1e9 * n / (*ns).max(1) as f64).collect()
    }

    /// Mean tokens per second.
    pub fn avg_ts(&self) -> f64 {
        mean(&self.samples_ts())
    }

    /// Standard deviation of tokens per second over the repetitions.
    pub fn stddev_ts(&self) -> f64 {
        let samples = self.samples_ts();
        if samples.len() < 2 {
            return 0.0;
        }
        let mean = mean(&samples);
        let squares: f64 = samples.iter().map(|s| (s - mean) * (s - mean)).sum();
        (squares / (samples.len() - 1) as f64).sqrt()
    }
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

/// Runs one test `repetitions` times after a warm-up of the same kind, on pseudo-random tokens. Exactly one
/// of `n_prompt` and `n_gen` should be above 0.
///
/// # Errors
/// More tokens than the session's context holds, or a failed computation.
pub fn run_bench(
    session: &mut Session,
    n_prompt: usize,
    n_gen: usize,
    repetitions: usize,
) -> Result<BenchTest, Error> {
    let needed = n_prompt.max(n_gen);
    if needed > session.n_ctx() {
        return Err(Error::TooManyTokens { n_tokens: needed, n_ctx: session.n_ctx() });
    }
    let n_vocab = session.model().hparams().n_vocab as u32;
    let mut state = 1u32;
    // A linear congruential sequence: what the tokens are does not matter, that they vary does.
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % n_vocab
    };
    let prompt: Vec<u32> = (0..n_prompt).map(|_| next()).collect();
    let mut samples_ns = Vec::new();
    for repetition in 0..=repetitions {
        session.reset();
        let start = Instant::now();
        if n_prompt > 0 {
            let n_batch = session.context().params().n_batch;
            for chunk in prompt.chunks(n_batch) {
                session.engine.extend(chunk, false)?;
            }
        }
        // One token is warm-up enough for generation.
        let n = if repetition == 0 { n_gen.min(1) } else { n_gen };
        for _ in 0..n {
            session.engine.extend(&[next()], false)?;
        }
        if repetition > 0 {
            samples_ns.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    session.reset();
    Ok(BenchTest { n_prompt, n_gen, samples_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        let test = BenchTest { n_prompt: 0, n_gen: 10, samples_ns: vec![1_000_000_000, 500_000_000] };
        assert_eq!(test.name(), "tg10");
        assert_eq!(test.samples_ts(), [10.0, 20.0]);
        assert_eq!(test.avg_ts(), 15.0);
        assert!((test.stddev_ts() - 50f64.sqrt()).abs() < 1e-12);
    }
}
