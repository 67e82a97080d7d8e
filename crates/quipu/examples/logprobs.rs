//! How sure a model was of each token it chose, and what else it might have said.
//!
//! `cargo run --release --example logprobs -p quipu [MODEL.gguf]`

use quipu::{Event, GenerateOptions, Model, SamplerParams, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let mut session = model.session(&SessionOptions::default())?;
    let sampling = SamplerParams { temp: 0.0, ..SamplerParams::default() };
    let options =
        GenerateOptions { max_tokens: Some(12), n_probs: 3, sampling, ..GenerateOptions::default() };
    let mut sum = 0.0;
    for event in session.stream("Once upon a", &options)? {
        let Event::Token { piece, logprobs: Some(found), .. } = event? else { continue };
        sum += found.logprob;
        print!("{:>12} {:5.1} %", String::from_utf8_lossy(&piece), 100.0 * found.logprob.exp());
        for other in &found.top {
            print!("  | {:?} {:.1} %", String::from_utf8_lossy(&other.bytes), 100.0 * other.logprob.exp());
        }
        println!();
    }
    println!("log-probability of all of it: {sum:.2}");
    Ok(())
}
