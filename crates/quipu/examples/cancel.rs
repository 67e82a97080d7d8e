//! A generation that another thread ends, and one that the clock ends. The session goes on with what it has.
//!
//! `cargo run --release --example cancel -p quipu [MODEL.gguf]`

use std::time::Duration;

use quipu::{CancelToken, Flow, GenerateOptions, Model, SessionOptions, StopReason};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let mut session = model.session(&SessionOptions::default())?;
    let token = CancelToken::new();
    let endless =
        GenerateOptions { ignore_eog: true, cancel: Some(token.clone()), ..GenerateOptions::default() };
    let (told, first_text) = std::sync::mpsc::channel();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            // Somebody has seen enough, here as soon as there is something to see.
            let _ = first_text.recv();
            token.cancel();
        });
        session.generate("Once upon a time", &endless, |text| {
            let _ = told.send(text.to_owned());
            Flow::Continue
        })
    })?;
    // A small context may be full before anybody says stop.
    if !matches!(outcome.stop, StopReason::Cancelled | StopReason::ContextFull) {
        return Err("it ended by itself".into());
    }
    println!("{:?} after {} tokens: {}", outcome.stop, outcome.n_generated, outcome.text);

    let limit = Some(Duration::from_millis(50));
    let timed = GenerateOptions { ignore_eog: true, time_limit: limit, ..GenerateOptions::default() };
    let outcome = session.generate("Once upon a time", &timed, |_| Flow::Continue)?;
    println!("{:?} after {} tokens", outcome.stop, outcome.n_generated);
    Ok(())
}
