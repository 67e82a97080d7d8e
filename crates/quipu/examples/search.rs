//! Texts as vectors, and the nearest ones to a question: cosine similarity over all of them.
//!
//! `cargo run --release --example search -p quipu [MODEL.gguf]`; a model made for embeddings finds more than the demo model.

use quipu::{Model, Pooling, Session, SessionOptions};

const TEXTS: [&str; 5] = [
    "The fox had a red kite.",
    "A big dog slept in the warm sun.",
    "Lily baked a cake with her mum.",
    "It rained all day, and the river rose.",
    "The old man told a story about the sea.",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let options =
        SessionOptions { embeddings: true, pooling: Some(Pooling::Mean), ..SessionOptions::default() };
    let mut session = model.session(&options)?;
    let mut all = Vec::new();
    for text in TEXTS {
        // Of length 1, so that a product of two is their cosine.
        all.push((text, session.embed(text, true)?));
    }
    for question in ["A fox with a kite", "water and weather"] {
        println!("{question}:");
        for (score, text) in nearest(&mut session, &all, question)? {
            println!("  {score:.3}  {text}");
        }
    }
    Ok(())
}

/// All texts, the nearest first.
fn nearest<'a>(
    session: &mut Session,
    all: &[(&'a str, Vec<f32>)],
    question: &str,
) -> Result<Vec<(f32, &'a str)>, quipu::Error> {
    let wanted = session.embed(question, true)?;
    let cosine = |row: &[f32]| row.iter().zip(&wanted).map(|(a, b)| a * b).sum();
    let mut found: Vec<(f32, &str)> = all.iter().map(|(text, row)| (cosine(row), *text)).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(found)
}
