//! Pieces that several answers have.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quipu::{Outcome, StopReason, TokenLogprobs, Tokenizer};
use serde_json::{Value, json};

use crate::answer::TokenEntry;
use crate::times::Times;
use crate::worker::Finished;

/// What the build is called; clients expect a `b` at its beginning.
pub(crate) const FINGERPRINT: &str = concat!("b", env!("CARGO_PKG_VERSION"), "-quipu");

/// Now, in seconds.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Counts and times (`result_timings`).
pub(super) fn timings(times: &Times) -> Value {
    let (prompt, generated) = (milliseconds(times.prompt), milliseconds(times.generated));
    json!({
        "cache_n": times.n_cached,
        "prompt_n": times.n_prompt,
        "prompt_ms": prompt,
        "prompt_per_token_ms": ratio(prompt, times.n_prompt as f64),
        "prompt_per_second": ratio(1e3 * times.n_prompt as f64, prompt),
        "predicted_n": times.n_generated,
        "predicted_ms": generated,
        "predicted_per_token_ms": ratio(generated, times.n_generated as f64),
        "predicted_per_second": ratio(1e3 * times.n_generated as f64, generated),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Nothing of nothing is nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// OpenAI's counts.
pub(super) fn usage(outcome: &Outcome) -> Value {
    json!({
        "completion_tokens": outcome.n_generated,
        "prompt_tokens": outcome.n_prompt,
        "total_tokens": outcome.n_generated + outcome.n_prompt,
        "prompt_tokens_details": { "cached_tokens": outcome.n_cached },
    })
}

/// Why it ended, in llama-server's words.
pub(super) fn stop_type(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfGeneration => "eos",
        StopReason::StopString => "word",
        StopReason::MaxTokens | StopReason::ContextFull | StopReason::TimeLimit => "limit",
        _ => "none",
    }
}

/// Why it ended, in OpenAI's words.
pub(super) fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfGeneration | StopReason::StopString => "stop",
        _ => "length",
    }
}

/// The probabilities of tokens (`probs_vector_to_json`).
pub(super) fn probabilities(entries: &[TokenEntry], post_sampling: bool) -> Value {
    let all = entries.iter().filter_map(|entry| {
        let TokenLogprobs { logprob, top } = entry.logprobs.as_ref()?;
        let mut value = one(entry.id, &entry.piece, *logprob, post_sampling);
        let top = top.iter().map(|token| one(token.id, &token.bytes, token.logprob, post_sampling));
        value[if post_sampling { "top_probs" } else { "top_logprobs" }] = top.collect();
        Some(value)
    });
    all.collect()
}

fn one(id: quipu::TokenId, bytes: &[u8], logprob: f32, post_sampling: bool) -> Value {
    let mut value = json!({ "id": id, "token": whole_characters(bytes), "bytes": bytes });
    if post_sampling {
        value["prob"] = if logprob == f32::MIN { 0.0f32 } else { logprob.exp() }.into();
    } else {
        value["logprob"] = logprob.into();
    }
    value
}

/// The text up to where a character is cut; what is no text at all is replaced.
fn whole_characters(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The entries that belong to the text: those of a stop string do not.
pub(super) fn entries_of_text<'a>(
    entries: &'a [TokenEntry],
    finished: &Finished,
    tokenizer: &Tokenizer,
) -> &'a [TokenEntry] {
    let stop = finished.outcome.stop_string.as_deref();
    let dropped = stop.and_then(|stop| tokenizer.encode(stop, false, true).ok()).map_or(0, |ids| ids.len());
    &entries[..entries.len() - dropped.min(entries.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_character_is_left_out_and_no_text_is_replaced() {
        assert_eq!(whole_characters("aé".as_bytes()), "aé");
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), "a");
        assert_eq!(whole_characters(b"\xff!"), "\u{fffd}!");
    }

    #[test]
    fn times_of_nothing_are_zero() {
        let value = timings(&Times::default());
        assert_eq!(
            (&value["prompt_per_second"], &value["predicted_per_token_ms"]),
            (&json!(0.0), &json!(0.0))
        );
        let times = Times { n_prompt: 4, prompt: Duration::from_millis(2), ..Times::default() };
        assert_eq!(timings(&times)["prompt_per_second"], 2000.0);
    }
}
