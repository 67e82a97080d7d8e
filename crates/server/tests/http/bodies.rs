//! Bodies that nobody meant: an answer, never a panic, and the server goes on.

use crate::common::{options, start};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Any JSON value, not deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-10i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

const NAMES: [&str; 24] = [
    "prompt",
    "messages",
    "n_predict",
    "temperature",
    "top_k",
    "stop",
    "grammar",
    "json_schema",
    "logit_bias",
    "samplers",
    "n_probs",
    "stream",
    "seed",
    "n",
    "response_format",
    "response_fields",
    "mirostat",
    "dry_sequence_breakers",
    "content",
    "tokens",
    "input",
    "tools",
    "stream_options",
    "chat_template_kwargs",
];

const ROUTES: [&str; 8] = [
    "/completion",
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/infill",
    "/v1/embeddings",
];

#[test]
fn whatever_a_body_holds_there_is_an_answer() {
    let mut with = options();
    with.defaults.max_tokens = Some(2);
    let server = start(with);
    let fields = prop::collection::vec((0..NAMES.len(), value()), 0..5);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let cases = (0..ROUTES.len(), fields);
    runner
        .run(&cases, |(route, fields)| {
            let mut body = json!({ "prompt": "The", "messages": [{ "role": "user", "content": "x" }] });
            for (name, value) in fields {
                body[NAMES[name]] = value;
            }
            // Long texts are another test's business.
            if body["n_predict"].as_f64().is_some_and(|n| !(0.0..8.0).contains(&n)) {
                body["n_predict"] = 2.into();
            }
            let answer = server.post(ROUTES[route], &body);
            prop_assert!([200, 400, 500, 501].contains(&answer.status), "{} {body}", answer.status);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            prop_assert!(
                !text.contains("could not be worked on") && !text.contains("computing failed"),
                "{body}: {text}"
            );
            Ok(())
        })
        .expect("answers");
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(
        server.post("/completion", &json!({ "prompt": "The fox", "n_predict": 4 })).json()["tokens_predicted"],
        4
    );
}
