//! A sampler of one's own in a chain with others: this one forbids tokens whose text has the letter e.
//!
//! `cargo run --release --example own_sampler -p quipu [MODEL.gguf]`

use quipu::sampler::{Candidates, Dist, Error, Sampler, TopK};
use quipu::{Chain, Flow, GenerateOptions, Model, SessionOptions};

/// Forbids tokens.
#[derive(Clone, Debug)]
struct Forbid {
    /// By token.
    is_forbidden: Vec<bool>,
}

impl Sampler for Forbid {
    fn name(&self) -> &'static str {
        "forbid"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        for token in &mut candidates.data {
            if self.is_forbidden.get(token.id as usize).copied().unwrap_or(false) {
                token.logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&Model::open(path)?),
        None => run(&Model::embedded()?),
    }
}

/// What `main` does, with a model.
pub fn run(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let tokenizer = model.tokenizer()?;
    let has_e = |id: u32| tokenizer.piece(id, false).is_ok_and(|piece| piece.contains(&b'e'));
    let is_forbidden = (0..tokenizer.n_tokens() as u32).map(has_e).collect();
    let mut chain = Chain::new();
    chain.add(Forbid { is_forbidden }).add(TopK::new(20)).add(Dist::new(7));
    let options = GenerateOptions { max_tokens: Some(40), chain: Some(chain), ..GenerateOptions::default() };
    let mut session = model.session(&SessionOptions::default())?;
    let outcome = session.generate("Tom saw a big dog.", &options, |_| Flow::Continue)?;
    println!("{}", outcome.text);
    if outcome.text.contains('e') {
        return Err("the letter e came through".into());
    }
    Ok(())
}
