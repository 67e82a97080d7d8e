//! Questions with expected answers, one JSON object a line.
//!
//! Read are `{"prompt": TEXT, "answer": TEXT or [TEXT, ...]}`, and what gemma.cpp's evals read: TriviaQA's
//! `{"question": TEXT, "answer": {"aliases": [TEXT, ...]}}`. Other fields are passed over.

use serde_json::{Map, Value};

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Number of its line, from 1.
    pub line: usize,
    pub prompt: String,
    /// The right answers.
    pub answers: Vec<String>,
}

/// The questions of a file, or the first line that is none and why.
pub(crate) fn read(text: &str) -> Result<Vec<Question>, String> {
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let question = match serde_json::from_str(line) {
            Ok(Value::Object(object)) => question(i + 1, &object),
            Ok(_) => Err("no JSON object".to_owned()),
            Err(error) => Err(format!("not JSON: {error}")),
        };
        found.push(question.map_err(|why| format!("line {}: {why}", i + 1))?);
    }
    if found.is_empty() { Err("no questions, expected one JSON object a line".to_owned()) } else { Ok(found) }
}

fn question(line: usize, object: &Map<String, Value>) -> Result<Question, String> {
    let prompt = object.get("prompt").or(object.get("question")).and_then(Value::as_str);
    let prompt = prompt.ok_or("no prompt, expected \"prompt\": a text")?.to_owned();
    let given = object.get("answer").or(object.get("answers"));
    let given = given.and_then(|answer| answer.get("aliases")).or(given);
    let answers: Option<Vec<String>> = match given {
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(all)) => all.iter().map(|answer| answer.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    // Every text contains the empty one.
    let answers = answers.filter(|all| !all.is_empty() && all.iter().all(|answer| !answer.trim().is_empty()));
    let answers =
        answers.ok_or("no answer, expected \"answer\": a text or a list of texts, none of them empty")?;
    Ok(Question { line, prompt, answers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_in_three_forms() {
        let text = r#"
            {"prompt": "a", "answer": "b", "id": 7}

            {"prompt": "a", "answers": ["b", "c"]}
            {"question": "a", "answer": {"aliases": ["b", "c"], "value": "b"}}"#;
        let found = read(text).expect("questions");
        assert_eq!(found.iter().map(|q| q.line).collect::<Vec<_>>(), [2, 4, 5]);
        assert!(found.iter().all(|q| q.prompt == "a" && q.answers[0] == "b"));
        assert_eq!(found[2].answers, ["b", "c"]);
    }

    #[test]
    fn what_is_no_question_is_told_with_its_line() {
        for (text, why) in [
            ("", "no questions"),
            ("{}\n", "line 1: no prompt"),
            ("\n[1]", "line 2: no JSON object"),
            ("{", "line 1: not JSON"),
            (r#"{"prompt": "a"}"#, "no answer"),
            (r#"{"prompt": "a", "answer": ""}"#, "no answer"),
            (r#"{"prompt": "a", "answer": [1]}"#, "no answer"),
            (r#"{"prompt": 1, "answer": "b"}"#, "no prompt"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
