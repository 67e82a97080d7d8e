//! Several texts at once: one engine, one batch per step, texts that come and go.
//!
//! `cargo run --release --example sequences -p quipu [MODEL.gguf]`

use std::collections::HashMap;

use quipu::{Engine, EngineOptions, EventRef, GenerateOptions, Model, SamplerParams, SequenceKey};

const PROMPTS: [&str; 6] = [
    "Once upon a time",
    "The old man",
    "One day, a little girl named Lily",
    "There was a big dog",
    "Tom and Sue",
    "The sun was warm",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    // Three places for six texts: the others wait here.
    let mut engine = model.engine(&EngineOptions { n_seq_max: 3, ..EngineOptions::default() })?;
    let mut waiting = PROMPTS.iter().rev().copied().collect::<Vec<_>>();
    let mut texts: HashMap<SequenceKey, String> = HashMap::new();
    while !waiting.is_empty() || engine.n_live() > 0 {
        while engine.n_live() < engine.n_seq_max()
            && let Some(prompt) = waiting.pop()
        {
            let seed = waiting.len() as u32;
            let sampling = SamplerParams { seed, ..SamplerParams::default() };
            let options = GenerateOptions { max_tokens: Some(40), sampling, ..GenerateOptions::default() };
            texts.insert(engine.add_text(prompt, &options)?, prompt.to_owned());
        }
        engine.step()?;
        take_events(&mut engine, &mut texts);
    }
    let timings = engine.timings();
    eprintln!("{} tokens generated, {:.0} per second", timings.n_eval, timings.eval_per_second());
    Ok(())
}

/// Adds what became certain to each text, and prints those that ended.
fn take_events(engine: &mut Engine, texts: &mut HashMap<SequenceKey, String>) {
    while let Some((key, event)) = engine.next_event() {
        match event {
            Ok(EventRef::Text(text)) => texts.entry(key).or_default().push_str(text),
            Ok(EventRef::Done(outcome)) => {
                println!("[{:?}] {}\n", outcome.stop, texts.remove(&key).unwrap_or_default());
            }
            Ok(_) => {}
            Err(error) => println!("[{error}] {}\n", texts.remove(&key).unwrap_or_default()),
        }
    }
}
