//! Answers that are given at once.

use quipu::{StopReason, Tokenizer};
use serde_json::{Map, Value, json};

use crate::answer::parts::{
    FINGERPRINT, entries_of_text, finish_reason, probabilities, seconds, stop_type, timings, usage,
};
use crate::answer::{Head, Style, Text, settings};

/// The answer to a request whose texts are these, by index, at least one.
pub(crate) fn whole(head: &Head, texts: &[Text], tokenizer: &Tokenizer) -> Value {
    let mut answers: Vec<Value> = texts.iter().map(|text| one(head, text, tokenizer)).collect();
    if answers.len() == 1 {
        return answers.remove(0);
    }
    if head.style == Style::Native {
        return answers.into();
    }
    // The choices of all, in the answer of the first.
    let mut choices: Vec<Value> = answers.iter_mut().map(|answer| answer["choices"][0].take()).collect();
    choices.truncate(texts.len());
    let mut first = answers.swap_remove(0);
    first["choices"] = choices.into();
    first
}

fn one(head: &Head, text: &Text, tokenizer: &Tokenizer) -> Value {
    match head.style {
        Style::Native => native(head, text, tokenizer, false),
        Style::Text => {
            let logprobs = logprobs(head, text, tokenizer).unwrap_or(Value::Null);
            let choice = json!({
                "text": text.finished.outcome.text,
                "index": text.index,
                "logprobs": logprobs,
                "finish_reason": finish_reason(text.finished.outcome.stop),
            });
            openai(head, text, tokenizer, &choice, "text_completion")
        }
        Style::Chat => {
            let mut choice = json!({
                "finish_reason": finish_reason(text.finished.outcome.stop),
                "index": text.index,
                "message": { "role": "assistant", "content": format!("{}{}", head.begun, text.finished.outcome.text) },
            });
            if let Some(logprobs) = logprobs(head, text, tokenizer) {
                choice["logprobs"] = logprobs;
            }
            openai(head, text, tokenizer, &choice, "chat.completion")
        }
    }
}

fn openai(head: &Head, text: &Text, tokenizer: &Tokenizer, choice: &Value, object: &str) -> Value {
    let mut answer = json!({
        "choices": [choice],
        "created": seconds(),
        "model": *head.model,
        "system_fingerprint": FINGERPRINT,
        "object": object,
        "usage": usage(&text.finished.outcome),
        "id": head.id,
    });
    if head.wanted.verbose {
        answer["__verbose"] = native(head, text, tokenizer, false);
    }
    answer["timings"] = timings(&text.finished.times);
    answer
}

fn logprobs(head: &Head, text: &Text, tokenizer: &Tokenizer) -> Option<Value> {
    if head.wanted.options.n_probs == 0 {
        return None;
    }
    let entries = entries_of_text(&text.entries, &text.finished, tokenizer);
    Some(json!({ "content": probabilities(entries, head.wanted.options.post_sampling_probs) }))
}

/// llama-server's own final answer; at the end of a stream its text was told already.
pub(super) fn native(head: &Head, text: &Text, tokenizer: &Tokenizer, in_stream: bool) -> Value {
    let outcome = &text.finished.outcome;
    let wanted = &head.wanted;
    let tokens: &[_] = if wanted.return_tokens && !in_stream { &outcome.tokens } else { &[] };
    let n_held = outcome.n_prompt + outcome.n_generated.saturating_sub(1);
    let is_truncated = outcome.n_shifts > 0 || outcome.stop == StopReason::ContextFull;
    let mut answer = json!({
        "index": text.index,
        "content": if in_stream { "" } else { &outcome.text },
        "tokens": tokens,
        "id_slot": text.finished.slot,
        "stop": true,
        "model": *head.model,
        "tokens_predicted": outcome.n_generated,
        "tokens_evaluated": outcome.n_prompt,
        "generation_settings": settings(&wanted.options, wanted.stream, wanted.timings_per_token, false),
        "prompt": head.prompts.get(text.index).cloned().unwrap_or_default(),
        "has_new_line": outcome.text.contains('\n'),
        "truncated": is_truncated,
        "stop_type": stop_type(outcome.stop),
        "stopping_word": outcome.stop_string.as_deref().unwrap_or(""),
        "tokens_cached": n_held,
        "timings": timings(&text.finished.times),
    });
    if !in_stream && wanted.options.n_probs > 0 {
        let entries = entries_of_text(&text.entries, &text.finished, tokenizer);
        answer["completion_probabilities"] = probabilities(entries, wanted.options.post_sampling_probs);
    }
    if wanted.response_fields.is_empty() { answer } else { only(&answer, &wanted.response_fields) }
}

/// These fields alone; one inside of others is asked for as `a/b`, and stands under that name (`json_get_nested_values`).
fn only(answer: &Value, paths: &[String]) -> Value {
    let mut found = Map::new();
    for path in paths {
        let value = path.split('/').try_fold(answer, |value, name| value.get(name));
        if let Some(value) = value {
            found.insert(path.clone(), value.clone());
        }
    }
    Value::Object(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_path_and_what_is_not_there_is_left_out() {
        let answer = json!({ "content": "x", "generation_settings": { "n_predict": 8 } });
        let paths = ["generation_settings/n_predict", "content", "nothing/here"].map(str::to_owned);
        assert_eq!(only(&answer, &paths).to_string(), r#"{"generation_settings/n_predict":8,"content":"x"}"#);
    }
}
