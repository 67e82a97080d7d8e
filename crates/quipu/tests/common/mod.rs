//! The demo model and options for it.
#![allow(dead_code, reason = "each test file uses a part")]

use quipu::{Flow, GenerateOptions, Model, Outcome, SamplerParams, Session, SessionOptions};

/// The demo model.
pub fn model() -> Model {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");
    Model::open(path).expect("the demo model")
}

/// A session of two threads with a context of 512.
pub fn session(model: &Model) -> Session {
    session_of(model, 512)
}

/// A session of two threads.
pub fn session_of(model: &Model, n_ctx: usize) -> Session {
    let options = SessionOptions { n_ctx, n_threads: 2, ..SessionOptions::default() };
    model.session(&options).expect("a context")
}

/// The likeliest token each time.
pub fn greedy(max_tokens: usize) -> GenerateOptions {
    let sampling = SamplerParams { temp: 0.0, ..SamplerParams::default() };
    GenerateOptions { max_tokens: Some(max_tokens), sampling, ..GenerateOptions::default() }
}

/// The default samplers with a seed.
pub fn seeded(seed: u32, max_tokens: usize) -> GenerateOptions {
    let sampling = SamplerParams { seed, ..SamplerParams::default() };
    GenerateOptions { max_tokens: Some(max_tokens), sampling, ..GenerateOptions::default() }
}

/// Runs a generation to its end.
pub fn generate(session: &mut Session, prompt: &str, options: &GenerateOptions) -> Outcome {
    session.generate(prompt, options, |_| Flow::Continue).expect("a generation")
}
