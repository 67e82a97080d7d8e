//! Texts that Python's jinja2 makes, set up as transformers does, recorded: the kinds of expression one by one, random
//! ones, and the templates that models come with.
//!
//! `expected` is null where jinja2 fails; then this engine must fail too. The templates of models are not part of the
//! project: of their prompts only hashes are kept, and they are compared where the templates lie in `../shared`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use quipu_chat::{ChatTemplate, Error, Variables};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"))
}

/// Renders at the moment at which the recordings were made: 2024-02-29 13:05:09.
fn render(source: &str, values: &Map<String, Value>, bos: &str, eos: &str) -> Result<String, Error> {
    let mut variables = Variables::new(Value::Array(Vec::new()), None, false, values.clone());
    variables.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_211_909);
    ChatTemplate::new(source, bos, eos)?.render_with(&variables)
}

fn check(file: &str) {
    let context: Map<String, Value> = serde_json::from_str(&golden("context.json")).expect("an object");
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in lines(&golden(file)) {
        let source = case["template"].as_str().expect("a template");
        let got = render(source, &context, "", "");
        count += 1;
        match (&got, case["expected"].as_str()) {
            (Ok(got), Some(want)) if got == want => {}
            (Err(_), None) => {}
            (got, want) => wrong.push(format!("{source:?}\n  want {want:?}\n  got  {got:?}")),
        }
    }
    assert!(count > 500, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_kind_is_as_in_python() {
    check("kinds.jsonl");
}

#[test]
fn random_templates_are_as_in_python() {
    check("random.jsonl");
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    path.exists().then_some(path)
}

fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let start = digest.iter().take(8).fold(0u64, |start, byte| start << 8 | u64::from(*byte));
    format!("{start:016x}")
}

#[test]
fn templates_of_models_are_as_in_python() {
    let Some(folder) = shared("templates") else {
        println!("skipped: no ../shared/templates");
        return;
    };
    let conversations: Vec<Value> = lines(&golden("conversations.jsonl")).collect();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for record in lines(&golden("real_templates.jsonl")) {
        let name = record["template"].as_str().expect("a name");
        let source = match std::fs::read(folder.join(name)).map(String::from_utf8) {
            Ok(Ok(source)) if short_hash(&source) == record["sha256"] => source,
            _ => {
                println!("skipped: {name} is not the file of the recording");
                continue;
            }
        };
        let prompts = record["prompts"].as_array().expect("a list");
        for (conversation, want) in conversations.iter().zip(prompts) {
            let values = conversation["variables"].as_object().expect("an object");
            let got = render(&source, values, "<s>", "</s>");
            compared += 1;
            match (&got, want.as_str()) {
                (Ok(got), Some(want)) if short_hash(got) == want => {}
                (Err(_), None) => {}
                _ => wrong.push(format!("{name} with {}", conversation["name"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_reported_cases_are_as_in_python() {
    let Some(path) = shared("field/templates.jsonl") else {
        println!("skipped: no ../shared/field/templates.jsonl");
        return;
    };
    for case in lines(&std::fs::read_to_string(path).expect("readable")) {
        let text = |key: &str| case[key].as_str().expect("a string");
        let variables =
            Variables::new(case["messages"].clone(), None, case["add_generation_prompt"] == true, Map::new());
        let got = ChatTemplate::new(text("template"), text("bos"), text("eos"))
            .and_then(|template| template.render_with(&variables));
        assert_eq!(got.as_deref(), Ok(text("expected")), "{}", text("id"));
    }
}
