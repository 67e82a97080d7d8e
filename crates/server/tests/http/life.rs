//! A server whose context is too small for all, and one that goes down.

use std::io::Read;
use std::time::Duration;

use serde_json::json;

use crate::common::{options, receive, send, start};
use quipu_server::ServerOptions;

/// Four want twice what the context holds. Nobody gets an error, and nobody loses a text.
#[test]
fn a_full_context_costs_nobody_a_text() {
    let mut with = options();
    with.engine.context.n_ctx = 256;
    let server = start(with);
    let ask = |prompt: &str| {
        let body = json!({ "prompt": prompt, "n_predict": 120, "ignore_eos": true });
        let answer = server.post("/completion", &body);
        (answer.status, answer.json())
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            ["The fox", "The dog", "Once upon", "Tom"].map(|p| scope.spawn(move || ask(p))).into();
        for one in asked {
            let (status, answer) = one.join().expect("an answer");
            assert_eq!((status, &answer["tokens_predicted"]), (200, &json!(120)), "{answer}");
        }
    });
    // One alone is cut where the context ends, as in the reference.
    let (_, answer) = {
        let body = json!({ "prompt": "The fox", "n_predict": 400, "ignore_eos": true });
        let answer = server.post("/completion", &body);
        (answer.status, answer.json())
    };
    assert_eq!((&answer["stop_type"], &answer["truncated"]), (&json!("limit"), &json!(true)));
    assert!(answer["content"].as_str().is_some_and(|text| text.len() > 200));
}

#[test]
fn a_server_that_goes_down_says_so_to_its_readers() {
    let server = start(ServerOptions { drain: Duration::ZERO, ..options() });
    let body = json!({ "prompt": "The fox", "n_predict": -1, "ignore_eos": true, "stream": true });
    let mut stream = server.connect();
    send(&mut stream, "POST", "/v1/completions", "", body.to_string().as_bytes());
    let mut some = [0; 16];
    stream.read_exact(&mut some).expect("a beginning");
    let mut whole = server.connect();
    let body = json!({ "prompt": "The dog", "n_predict": -1, "ignore_eos": true });
    send(&mut whole, "POST", "/completion", "", body.to_string().as_bytes());
    std::thread::sleep(Duration::from_millis(30));
    let down = std::thread::spawn(move || drop(server));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an end");
    let rest = String::from_utf8(rest).expect("text");
    let last = rest.rsplit("data: ").next().expect("an event");
    assert!(last.starts_with(r#"{"error":{"code":503,"#) && rest.ends_with("0\r\n\r\n"), "{last}");
    // It had ended, or is told as well.
    let answer = receive(whole);
    assert!(matches!(answer.status, 200 | 503), "{}", answer.status);
    down.join().expect("it goes down");
}
