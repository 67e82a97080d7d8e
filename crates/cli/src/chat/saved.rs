//! Conversations in files: what was said as JSON, and beside it what was computed of it, so that going on costs nothing.
//!
//! The JSON is the conversation. The state (the sequence file of llama.cpp, with a checksum) only saves time: it is read if the model and
//! the context are those it was computed with, as far as their descriptions tell, and otherwise the prompt is computed again.

use std::path::{Path, PathBuf};

use quipu::Session;
use quipu::gguf::Inputs;
use serde_json::{Value, json};

use super::talk::{Talk, Turn};
use crate::fail::Failure;
use crate::input::read_text;
use crate::output::Output;

/// What the JSON begins with, and its version.
const MARK: &str = "quipu_chat";
const VERSION: u64 = 1;

/// What was said, read from a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub system: Option<String>,
    pub turns: Vec<Turn>,
    /// What its state was computed with.
    computed_by: String,
}

/// What a state is good for: the same weights in the same kind of context.
pub(crate) fn fingerprint(session: &Session, context: &str) -> String {
    let model = session.model();
    let file = Path::new(model.name()).file_name().map(|name| name.to_string_lossy().into_owned());
    let n_bytes = model.load_stats().bytes_total;
    format!(
        "{}, {}, {n_bytes} bytes, {} tokens, {context}",
        file.unwrap_or_default(),
        model.description(),
        session.n_ctx()
    )
}

/// Writes a conversation, and beside it what the session holds of it.
pub(crate) fn save(
    path: &Path,
    talk: &Talk,
    session: &mut Session,
    computed_by: &str,
    inputs: &Inputs,
) -> Result<(), Failure> {
    use std::io::Write as _;

    let turn = |turn: &Turn| {
        let mut object = json!({ "user": turn.user, "assistant": turn.answer });
        if let Some(thoughts) = &turn.thoughts {
            object["reasoning"] = thoughts.clone().into();
        }
        object
    };
    let turns: Vec<Value> = talk.turns.iter().map(turn).collect();
    let all = json!({ MARK: VERSION, "computed_by": computed_by, "system": talk.system, "turns": turns });
    let mut output = Output::create(path, inputs)?;
    let text = serde_json::to_string_pretty(&all).map_err(|error| Failure::Input(error.to_string()))?;
    writeln!(output, "{text}").map_err(|error| output.failed(error))?;
    // First the state: a conversation that is there has it.
    session.save_state(state_path(path))?;
    output.finish()
}

/// Reads a conversation and, if it was computed by the same, its state. Without the state the session has forgotten everything.
/// After an error nothing has changed but that.
pub(crate) fn load(path: &Path, session: &mut Session, computed_by: &str) -> Result<(Saved, bool), Failure> {
    let named = |why: String| Failure::Input(format!("{}: {why}", path.display()));
    let saved = parse(&read_text(path)?).map_err(named)?;
    let state = state_path(path);
    if saved.computed_by != computed_by || !state.exists() {
        return Ok((saved, false));
    }
    let done = session.load_state(&state);
    done.map_err(|error| Failure::Input(format!("{}: {error}", state.display())))?;
    Ok((saved, true))
}

/// The file beside it.
fn state_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".state");
    name.into()
}

fn parse(text: &str) -> Result<Saved, String> {
    let all: Value = serde_json::from_str(text)
        .map_err(|error| format!("no conversation: {error} (is the file whole?)"))?;
    match all.get(MARK) {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(version) => return Err(format!("a conversation of version {version}, expected {VERSION}")),
        None => return Err(format!("no conversation: there is no {MARK}, which /save writes")),
    }
    let text = |object: &Value, key: &str, at: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("{at}{key} is {other}, expected a text")),
    };
    let turns = all.get("turns").and_then(Value::as_array).ok_or("turns is no list")?;
    let turn = |(i, turn): (usize, &Value)| {
        let at = format!("turn {}: ", i + 1);
        let needed = |key| text(turn, key, &at)?.ok_or(format!("{at}there is no {key}"));
        Ok(Turn {
            user: needed("user")?,
            answer: needed("assistant")?,
            thoughts: text(turn, "reasoning", &at)?,
        })
    };
    Ok(Saved {
        system: text(&all, "system", "")?,
        turns: turns.iter().enumerate().map(turn).collect::<Result<_, String>>()?,
        computed_by: text(&all, "computed_by", "")?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_read_or_refused_with_a_reason() {
        let text = r#"{"quipu_chat": 1, "computed_by": "x", "system": null,
            "turns": [{"user": "a", "assistant": "b", "reasoning": "c"}]}"#;
        let saved = parse(text).expect("a conversation");
        let turn = Turn { user: "a".into(), answer: "b".into(), thoughts: Some("c".into()) };
        assert_eq!(saved, Saved { system: None, turns: vec![turn], computed_by: "x".into() });
        for (text, why) in [
            (&text[..60], "is the file whole"),
            ("[]", "there is no quipu_chat"),
            (r#"{"quipu_chat": 2}"#, "version 2, expected 1"),
            (r#"{"quipu_chat": 1, "turns": 3}"#, "turns is no list"),
            (r#"{"quipu_chat": 1, "turns": [{"user": "a"}]}"#, "turn 1: there is no assistant"),
            (r#"{"quipu_chat": 1, "turns": [{"user": 1}]}"#, "turn 1: user is 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
