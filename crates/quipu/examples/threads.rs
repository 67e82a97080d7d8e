//! One model, many threads: the weights are shared, each thread has a session of its own.
//!
//! `cargo run --release --example threads -p quipu [MODEL.gguf]`; for many texts at once see the example `sequences`, which computes
//! them in one batch.

use quipu::{Flow, GenerateOptions, Model, SessionOptions};

const PROMPTS: [&str; 3] = ["Once upon a time", "The old man", "One day, a little girl named Lily"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let options = GenerateOptions { max_tokens: Some(24), ..GenerateOptions::default() };
    // The threads within a session's computations; together no more than there are cores.
    let of_one = SessionOptions { n_threads: 1, ..SessionOptions::default() };
    std::thread::scope(|scope| {
        let tell = |prompt| -> Result<String, quipu::Error> {
            let mut session = model.session(&of_one)?;
            Ok(session.generate(prompt, &options, |_| Flow::Continue)?.text)
        };
        let threads = PROMPTS.map(|prompt| (prompt, scope.spawn(move || tell(prompt))));
        for (prompt, thread) in threads {
            let text = thread.join().map_err(|_| "a thread panicked")??;
            println!("{prompt}{text}\n");
        }
        Ok(())
    })
}
