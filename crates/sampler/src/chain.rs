//! A chain of samplers, itself a sampler.

use crate::{Candidates, Error, Sampler, TokenId};

/// Runs its samplers in order (`llama_sampler_chain_init` and its family).
#[derive(Default)]
pub struct Chain {
    samplers: Vec<Box<dyn Sampler>>,
    candidates: Candidates,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.samplers.iter().map(|s| s.name())).finish()
    }
}

impl Clone for Chain {
    fn clone(&self) -> Self {
        let samplers = self.samplers.iter().map(|s| s.clone_box()).collect();
        Self { samplers, candidates: Candidates::new() }
    }
}

impl Chain {
    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sampler (`llama_sampler_chain_add`).
    pub fn add(&mut self, sampler: impl Sampler + 'static) -> &mut Self {
        self.samplers.push(Box::new(sampler));
        self
    }

    /// The sampler at `i` (`llama_sampler_chain_get`).
    pub fn get(&self, i: usize) -> Option<&dyn Sampler> {
        self.samplers.get(i).map(AsRef::as_ref)
    }

    /// Takes the sampler at `i` out; later ones move up (`llama_sampler_chain_remove`).
    pub fn remove(&mut self, i: usize) -> Option<Box<dyn Sampler>> {
        (i < self.samplers.len()).then(|| self.samplers.remove(i))
    }

    /// Number of samplers (`llama_sampler_chain_n`).
    pub fn len(&self) -> usize {
        self.samplers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.samplers.is_empty()
    }

    /// Chooses a token for one row of logits (one per token of the vocabulary) and accepts it
    /// (`llama_sampler_sample`). Allocates nothing once it has seen a row of that length.
    ///
    /// # Errors
    /// [`Error::EmptyCandidates`] for no logits, [`Error::TooManyLogits`], [`Error::NanLogit`],
    /// [`Error::NothingSelected`] when the chain ends without a choice, and what its samplers return. Nothing is
    /// accepted then.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        if logits.is_empty() {
            return Err(Error::EmptyCandidates { sampler: "chain" });
        }
        if i32::try_from(logits.len()).is_err() {
            return Err(Error::TooManyLogits { n_logits: logits.len() });
        }
        if let Some(token) = logits.iter().position(|l| l.is_nan()) {
            return Err(Error::NanLogit { token });
        }
        self.candidates.load(logits);
        for sampler in &mut self.samplers {
            sampler.apply(&mut self.candidates)?;
        }
        let token = self.candidates.selected_token().ok_or(Error::NothingSelected {
            n_samplers: self.samplers.len(),
            n_candidates: self.candidates.data.len(),
        })?;
        self.accept(token);
        Ok(token)
    }

    /// The candidates as the last [`Chain::sample`] left them: the survivors with logits and probabilities.
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }
}

impl Sampler for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        self.samplers.iter_mut().try_for_each(|s| s.apply(candidates))
    }

    fn accept(&mut self, token: TokenId) {
        for s in &mut self.samplers {
            s.accept(token);
        }
    }

    fn reset(&mut self) {
        for s in &mut self.samplers {
            s.reset();
        }
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}
