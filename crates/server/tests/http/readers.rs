//! Many readers at once: they do not see each other, and those who are slow or gone hold nobody up.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::common::{Running, options, send, start};
use quipu_server::ServerOptions;
use serde_json::json;

fn is_idle(server: &Running) -> bool {
    let slots = server.get("/slots").json();
    slots.as_array().expect("slots").iter().all(|slot| slot["is_processing"] == false)
}

fn becomes_idle(server: &Running) {
    let start = Instant::now();
    while !is_idle(server) {
        assert!(start.elapsed() < Duration::from_secs(30), "a slot is stuck");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn texts_side_by_side_are_those_of_one_alone() {
    let server = start(options());
    let prompts = ["The fox", "The dog and", "Once upon a time", "Tom", "One day, a girl", "It was"];
    let ask = |prompt: &str| {
        let body = json!({ "prompt": prompt, "n_predict": 20 });
        server.post("/completion", &body).json()["content"].as_str().expect("a text").to_owned()
    };
    let alone: Vec<String> = prompts.iter().map(|prompt| ask(prompt)).collect();
    // More readers than slots.
    let together: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| ask(prompt))).collect();
        asked.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn readers_who_are_gone_free_their_slots() {
    let server = start(options());
    for stream in [true, false] {
        for _ in 0..8 {
            let body = json!({ "prompt": "Once upon a time", "n_predict": -1, "ignore_eos": true, "stream": stream });
            let mut connection = server.connect();
            send(&mut connection, "POST", "/completion", "", body.to_string().as_bytes());
            if stream {
                let mut some = [0; 64];
                assert!(connection.read(&mut some).expect("a beginning") > 0);
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
            connection.shutdown(Shutdown::Both).expect("it was open");
        }
        becomes_idle(&server);
    }
    let answer = server.post("/completion", &json!({ "prompt": "The fox", "n_predict": 4 }));
    assert_eq!(answer.json()["tokens_predicted"], 4);
}

#[test]
fn a_reader_who_takes_nothing_holds_up_nobody_and_is_let_go() {
    let patience = Duration::from_millis(300);
    let mut with = ServerOptions { slow_client_timeout: patience, ..options() };
    with.defaults.context_full = quipu::ContextFull::Shift { n_keep: 0 };
    let server = start(with);
    // A long text with all probabilities fills every buffer on the way.
    let body = json!({
        "prompt": "Once upon a time", "n_predict": 100_000, "ignore_eos": true, "stream": true, "n_probs": 500,
    });
    let mut idle = server.connect();
    send(&mut idle, "POST", "/completion", "", body.to_string().as_bytes());
    for _ in 0..4 {
        let answer = server.post("/completion", &json!({ "prompt": "The fox", "n_predict": 8 }));
        assert_eq!(answer.json()["tokens_predicted"], 8);
    }
    becomes_idle(&server);
    drop(idle);
}

#[test]
fn what_does_not_fit_into_the_queue_is_told_so() {
    let mut with = ServerOptions { max_queued: 1, ..options() };
    with.engine.n_seq_max = 1;
    let server = start(with);
    let body = json!({ "prompt": "Once upon a time", "n_predict": -1, "ignore_eos": true, "stream": true });
    let mut busy = server.connect();
    send(&mut busy, "POST", "/completion", "", body.to_string().as_bytes());
    let mut some = [0; 64];
    assert!(busy.read(&mut some).expect("a beginning") > 0);
    let mut waiting = server.connect();
    send(&mut waiting, "POST", "/completion", "", body.to_string().as_bytes());
    std::thread::sleep(Duration::from_millis(50));
    let refused = server.post("/completion", &json!({ "prompt": "The fox", "n_predict": 4 }));
    assert_eq!((refused.status, refused.json()["error"]["type"].as_str()), (503, Some("unavailable_error")));
    drop((busy, waiting));
    becomes_idle(&server);
    assert_eq!(server.post("/completion", &json!({ "prompt": "The fox", "n_predict": 4 })).status, 200);
}
