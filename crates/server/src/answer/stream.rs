//! Answers that are given as they come: the JSON of each event of a stream.

use std::time::Duration;

use quipu::Tokenizer;
use serde_json::{Value, json};

use crate::answer::parts::{FINGERPRINT, finish_reason, probabilities, seconds, timings, usage};
use crate::answer::whole::native;
use crate::answer::{Head, Style, Text, TokenEntry};
use crate::times::Times;
use crate::worker::{Finished, Told, What};

/// Makes the chunks of one request's texts.
#[derive(Debug)]
pub(crate) struct Chunks {
    head: Head,
    texts: Vec<State>,
    n_ended: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the role was told.
    has_begun: bool,
    /// Whether something of the prompt's progress was told.
    has_progress: bool,
    last: Option<TokenEntry>,
    n_prompt: usize,
    n_generated: usize,
}

impl Chunks {
    /// For a request of so many texts.
    pub fn new(head: Head, n_texts: usize) -> Chunks {
        Chunks { head, texts: (0..n_texts).map(|_| State::default()).collect(), n_ended: 0 }
    }

    /// Whether every text has ended.
    pub fn is_over(&self) -> bool {
        self.n_ended >= self.texts.len()
    }

    /// Adds the chunks that tell this. An error is the caller's to tell.
    pub fn take(&mut self, told: Told, tokenizer: &Tokenizer, out: &mut Vec<Value>) {
        let Told { index, what } = told;
        let Some(state) = self.texts.get_mut(index) else { return };
        match what {
            What::Started => {}
            What::Failed(_) => self.n_ended += 1,
            What::Progress { n_prompt, n_cached, n_processed, elapsed } => {
                state.n_prompt = n_prompt;
                // The first report comes before any work.
                let before = (!state.has_progress).then_some((n_cached, Duration::ZERO));
                state.has_progress = true;
                let reports = before.into_iter().chain([(n_processed, elapsed)]);
                for (n_processed, elapsed) in reports.filter(|_| self.head.wanted.return_progress) {
                    let progress = json!({
                        "total": n_prompt,
                        "cache": n_cached,
                        "processed": n_processed,
                        "time_ms": elapsed.as_millis() as u64,
                    });
                    let mut chunk = match self.head.style {
                        Style::Native => native_chunk(index, "", &[], state),
                        Style::Text => text_chunk(&self.head, index, "", &Value::Null),
                        Style::Chat => chat_chunk(&self.head, index, &begin(), &Value::Null),
                    };
                    chunk["prompt_progress"] = progress;
                    out.push(chunk);
                }
            }
            What::Token { id, piece, logprobs } => {
                state.n_generated += 1;
                state.last = Some(TokenEntry { id, piece, logprobs });
            }
            What::Text(text, times) => part(&self.head, state, index, &text, &times, out),
            What::Done(finished) => {
                self.n_ended += 1;
                end(&self.head, state, index, *finished, tokenizer, out);
            }
        }
    }
}

/// Text that became certain.
fn part(head: &Head, state: &mut State, index: usize, text: &str, times: &Times, out: &mut Vec<Value>) {
    let entry = state.last.take();
    let probabilities = entry
        .as_ref()
        .filter(|_| head.wanted.options.n_probs > 0)
        .map(|entry| probabilities(std::slice::from_ref(entry), head.wanted.options.post_sampling_probs));
    let ids: Vec<_> = entry.iter().map(|entry| entry.id).collect();
    let mut chunk = match head.style {
        Style::Native => {
            let mut chunk = native_chunk(index, text, &ids, state);
            if let Some(probabilities) = probabilities {
                chunk["completion_probabilities"] = probabilities;
            }
            chunk
        }
        Style::Text => {
            let logprobs = probabilities.map_or(Value::Null, |content| json!({ "content": content }));
            text_chunk(head, index, text, &logprobs)
        }
        Style::Chat => {
            let begun = if state.has_begun { "" } else { &*head.begun };
            if !state.has_begun {
                out.push(chat_chunk(head, index, &begin(), &Value::Null));
            }
            let content = format!("{begun}{text}");
            let mut chunk = chat_chunk(head, index, &json!({ "content": content }), &Value::Null);
            if let Some(content) = probabilities {
                chunk["choices"][0]["logprobs"] = json!({ "content": content });
            }
            chunk
        }
    };
    state.has_begun = true;
    if head.wanted.timings_per_token {
        chunk["timings"] = timings(times);
    }
    out.push(chunk);
}

/// The end of a text.
fn end(
    head: &Head,
    state: &State,
    index: usize,
    finished: Finished,
    tokenizer: &Tokenizer,
    out: &mut Vec<Value>,
) {
    let reason = finish_reason(finished.outcome.stop);
    let times = timings(&finished.times);
    let usage = usage(&finished.outcome);
    let text = Text { index, entries: Vec::new(), finished };
    match head.style {
        Style::Native => out.push(native(head, &text, tokenizer, true)),
        Style::Text => {
            let mut chunk = json!({
                "choices": [{ "text": "", "index": index, "logprobs": null, "finish_reason": reason }],
                "created": seconds(),
                "model": *head.model,
                "system_fingerprint": FINGERPRINT,
                "object": "text_completion",
                "usage": usage,
                "id": head.id,
            });
            if head.wanted.verbose {
                chunk["__verbose"] = native(head, &text, tokenizer, true);
            }
            chunk["timings"] = times;
            out.push(chunk);
        }
        Style::Chat => {
            if !state.has_begun {
                out.push(chat_chunk(head, index, &begin(), &Value::Null));
                if !head.begun.is_empty() {
                    out.push(chat_chunk(head, index, &json!({ "content": *head.begun }), &Value::Null));
                }
            }
            let mut last = chat_chunk(head, index, &json!({}), &reason.into());
            if head.wanted.verbose {
                last["__verbose"] = native(head, &text, tokenizer, true);
            }
            if head.wanted.include_usage {
                out.push(last);
                last = chat_chunk(head, index, &Value::Null, &Value::Null);
                last["choices"] = json!([]);
                last["usage"] = usage;
            }
            last["timings"] = times;
            out.push(last);
        }
    }
}

/// What a chat's first chunk says.
fn begin() -> Value {
    json!({ "role": "assistant", "content": null })
}

fn native_chunk(index: usize, text: &str, ids: &[quipu::TokenId], state: &State) -> Value {
    json!({
        "index": index,
        "content": text,
        "tokens": ids,
        "stop": false,
        "id_slot": -1,
        "tokens_predicted": state.n_generated,
        "tokens_evaluated": state.n_prompt,
    })
}

fn text_chunk(head: &Head, index: usize, text: &str, logprobs: &Value) -> Value {
    json!({
        "choices": [{ "text": text, "index": index, "logprobs": logprobs, "finish_reason": null }],
        "created": seconds(),
        "model": *head.model,
        "system_fingerprint": FINGERPRINT,
        "object": "text_completion",
        "id": head.id,
    })
}

fn chat_chunk(head: &Head, index: usize, delta: &Value, finish_reason: &Value) -> Value {
    json!({
        "choices": [{ "finish_reason": finish_reason, "index": index, "delta": delta }],
        "created": seconds(),
        "id": head.id,
        "model": *head.model,
        "system_fingerprint": FINGERPRINT,
        "object": "chat.completion.chunk",
    })
}
