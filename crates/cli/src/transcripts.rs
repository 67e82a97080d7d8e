//! Logs of generations, as this program and llama-server write them.
//!
//! A log has one JSON object a line; `data: ` before it is passed over. Read are:
//! - `{"prompt": TEXT or [ids], "tokens": [ids], ...}` with the parameters in llama-server's names beside them, in `sampling` or in
//!   `generation_settings`: what a llama-server request with `return_tokens` is answered with is such an object, and the one in
//!   `__verbose` of its other answers;
//! - the pieces of a streamed answer (`"stop": false`), whose tokens are put before those of the answer that ends it;
//! - the event `transcript` of `--events`; other events are passed over.

use std::collections::HashMap;

use quipu::sampler::DEFAULT_SEED;
use quipu::{SamplerParams, Tokenizer, Transcript};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// A generation of a log, before its prompt has become ids.
#[derive(Debug)]
pub(crate) struct Logged {
    prompt: Prompt,
    tokens: Vec<u32>,
    sampling: SamplerParams,
}

#[derive(Debug)]
enum Prompt {
    Ids(Vec<u32>),
    /// With the number of its tokens, if the log has it.
    Text(String, Option<u64>),
}

/// The generations of a log with the numbers of their lines, from 1, or why one cannot be replayed.
pub(crate) fn read(log: &str) -> Vec<(usize, Result<Logged, String>)> {
    let mut found = Vec::new();
    let mut pieces: HashMap<String, Vec<u32>> = HashMap::new();
    for (i, line) in log.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("data:").map_or(line, str::trim);
        if line.is_empty() || line == "[DONE]" {
            continue;
        }
        let logged = match serde_json::from_str(line) {
            Ok(Value::Object(object)) => entry(object, &mut pieces),
            Ok(other) => Err(format!("found {}, expected an object", shown(&other))),
            Err(error) => Err(format!("not JSON: {error}")),
        };
        match logged {
            Ok(None) => {}
            Ok(Some(logged)) => found.push((i + 1, Ok(logged))),
            Err(why) => found.push((i + 1, Err(why))),
        }
    }
    found
}

/// A line's object; `None` if it tells nothing by itself.
fn entry(mut object: Object, pieces: &mut HashMap<String, Vec<u32>>) -> Result<Option<Logged>, String> {
    if let Some(Value::Object(inner)) = object.remove("__verbose") {
        object = inner;
    }
    let is_event = object.contains_key("t_us");
    if is_event && object.get("name") != Some(&"transcript".into()) {
        return Ok(None);
    }
    let slot = object.get("id_slot").or(object.get("index")).map(Value::to_string).unwrap_or_default();
    let mut tokens = match object.get("tokens") {
        Some(value) => ids("tokens", value)?,
        None => {
            return Err("no tokens, expected \"tokens\": [ids] (return_tokens of llama-server)".to_owned());
        }
    };
    if object.get("stop") == Some(&Value::Bool(false)) {
        pieces.entry(slot).or_default().append(&mut tokens);
        return Ok(None);
    }
    if object.contains_key("generation_settings")
        && let Some(mut before) = pieces.remove(&slot)
    {
        before.append(&mut tokens);
        tokens = before;
    }
    let was_shifted = object.get("n_shifts").is_some_and(|n| n != 0);
    if was_shifted || object.get("truncated") == Some(&Value::Bool(true)) {
        return Err("its context was shifted or its prompt cut, expected a text that fits".to_owned());
    }
    let prompt = match object.get("prompt") {
        Some(Value::String(words)) if is_event => Prompt::Ids(ids("prompt", &words.as_str().into())?),
        Some(Value::String(text)) => {
            Prompt::Text(text.clone(), object.get("tokens_evaluated").and_then(Value::as_u64))
        }
        Some(value) => Prompt::Ids(ids("prompt", value)?),
        None => return Err("no prompt, expected \"prompt\": a text or [ids]".to_owned()),
    };
    Ok(Some(Logged { prompt, tokens, sampling: sampling(&object)? }))
}

/// The parameters, wherever they are.
fn sampling(object: &Object) -> Result<SamplerParams, String> {
    let mut params = SamplerParams::default();
    let mut take = |object: &Object| {
        if object.get("lora").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
            return Err("an adapter took part, expected the model alone".to_owned());
        }
        params.take_json(object).map_err(|error| error.to_string())
    };
    match object.get("sampling").or(object.get("generation_settings")) {
        None => take(object)?,
        Some(Value::Object(inner)) => take(inner)?,
        Some(Value::String(text)) if text.is_empty() => {
            return Err("it does not say how its tokens were chosen".to_owned());
        }
        Some(Value::String(text)) => {
            let inner: Object = serde_json::from_str(text).map_err(|error| format!("sampling: {error}"))?;
            take(&inner)?;
        }
        Some(other) => return Err(format!("sampling is {}, expected an object", shown(other))),
    }
    if params.seed == DEFAULT_SEED && params.temp > 0.0 {
        return Err("its seed was a random one, expected the seed of the draws".to_owned());
    }
    Ok(params)
}

/// Ids in an array or as words.
fn ids(name: &str, value: &Value) -> Result<Vec<u32>, String> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let all = match value {
        Value::Array(all) => all.iter().map(id).collect(),
        Value::String(words) => words.split_whitespace().map(|word| word.parse().ok()).collect(),
        _ => None,
    };
    all.ok_or_else(|| format!("{name} is {}, expected token ids", shown(value)))
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { text.chars().take(40).chain(['…']).collect() }
}

impl Logged {
    /// With the prompt's ids. What llama-server calls the prompt is its tokens' text, special tokens included, which gives them
    /// again without the tokenizer's own.
    pub fn transcript(self, tokenizer: &Tokenizer) -> Result<Transcript, String> {
        let Logged { prompt, tokens, sampling } = self;
        let encoded =
            |text: &str, special| tokenizer.encode(text, special, true).map_err(|error| error.to_string());
        let prompt = match prompt {
            Prompt::Ids(ids) => ids,
            Prompt::Text(text, None) => encoded(&text, true)?,
            Prompt::Text(text, Some(expected)) => {
                let ways = [encoded(&text, false)?, encoded(&text, true)?];
                let lengths = [ways[0].len(), ways[1].len()];
                let found = ways.into_iter().find(|ids| ids.len() as u64 == expected);
                found.ok_or_else(|| {
                    format!(
                        "its prompt is {} tokens with this model ({} with special ones), expected {expected} as logged",
                        lengths[0], lengths[1]
                    )
                })?
            }
        };
        Ok(Transcript { prompt, tokens, sampling })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Logged, String> {
        let mut found = read(line);
        assert_eq!(found.len(), 1, "{line}");
        found.remove(0).1
    }

    #[test]
    fn parameters_may_stand_in_three_places() {
        for line in [
            r#"{"prompt": [1, 2], "tokens": [3], "seed": 7, "top_k": 5}"#,
            r#"{"prompt": [1, 2], "tokens": [3], "sampling": {"seed": 7, "top_k": 5}}"#,
            r#"{"prompt": [1, 2], "tokens": [3], "generation_settings": {"seed": 7, "top_k": 5}, "id_slot": 0}"#,
            r#"{"t_us": 1, "name": "transcript", "prompt": "1 2", "tokens": "3", "sampling": "{\"seed\": 7, \"top_k\": 5}", "n_shifts": 0}"#,
        ] {
            let logged = one(line).expect(line);
            assert!(matches!(&logged.prompt, Prompt::Ids(ids) if *ids == [1, 2]), "{logged:?}");
            assert_eq!((logged.tokens, logged.sampling.seed, logged.sampling.top_k), (vec![3], 7, 5));
        }
    }

    #[test]
    fn pieces_of_streams_are_put_together() {
        let log = "data: {\"index\":0,\"content\":\"a\",\"tokens\":[5],\"stop\":false,\"id_slot\":1}\n\n\
                   data: {\"index\":0,\"content\":\"x\",\"tokens\":[9],\"stop\":false,\"id_slot\":2}\n\n\
                   data: {\"index\":0,\"content\":\"b\",\"tokens\":[6],\"stop\":false,\"id_slot\":1}\n\n\
                   data: {\"index\":0,\"content\":\"\",\"tokens\":[],\"stop\":true,\"id_slot\":1,\"prompt\":\"p\",\
                   \"tokens_evaluated\":2,\"generation_settings\":{\"seed\":1}}\n\ndata: [DONE]\n";
        let mut found = read(log);
        assert_eq!((found.len(), found[0].0), (1, 7));
        let logged = found.remove(0).1.expect("a generation");
        assert_eq!(logged.tokens, [5, 6]);
        assert!(matches!(&logged.prompt, Prompt::Text(text, Some(2)) if text == "p"));
    }

    #[test]
    fn answers_to_chats_carry_what_is_needed_within() {
        let line = r#"{"choices": [], "__verbose": {"prompt": "p", "tokens": [1], "generation_settings": {"seed": 3}}}"#;
        assert_eq!(one(line).expect("a generation").sampling.seed, 3);
    }

    #[test]
    fn what_cannot_be_replayed_says_why() {
        for (line, why) in [
            ("{", "not JSON"),
            ("[1]", "expected an object"),
            (r#"{"prompt": "a"}"#, "no tokens"),
            (r#"{"tokens": [1], "seed": 1}"#, "no prompt"),
            (r#"{"prompt": "a", "tokens": [-1], "seed": 1}"#, "tokens is [-1], expected token ids"),
            (r#"{"prompt": [1.5], "tokens": [1], "seed": 1}"#, "prompt is [1.5], expected token ids"),
            (r#"{"prompt": "a", "tokens": [1]}"#, "seed was a random one"),
            (r#"{"prompt": "a", "tokens": [1], "seed": -1}"#, "seed was a random one"),
            (r#"{"prompt": "a", "tokens": [1], "seed": 1, "truncated": true}"#, "shifted"),
            (r#"{"prompt": "a", "tokens": [1], "seed": 1, "lora": [{"id": 0}]}"#, "adapter"),
            (r#"{"prompt": "a", "tokens": [1], "sampling": ""}"#, "how its tokens were chosen"),
            (r#"{"prompt": "a", "tokens": [1], "sampling": 5}"#, "sampling is 5"),
            (r#"{"prompt": "a", "tokens": [1], "seed": 1, "top_k": "x"}"#, "top_k is \"x\""),
        ] {
            let error = one(line).expect_err(line);
            assert!(error.contains(why), "{error}");
        }
        assert!(read(r#"{"t_us": 3, "name": "prompt", "n_prompt": 4}"#).is_empty());
        // Without draws no seed is needed.
        assert!(one(r#"{"prompt": "a", "tokens": [1], "temperature": 0}"#).is_ok());
    }
}
