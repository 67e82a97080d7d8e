//! The interface that every sampler implements (the reference's `llama_sampler_i`).

use crate::{Candidates, Error, TokenId};

/// One step of a chain: reads and rewrites the candidate array.
///
/// A user's own sampler is an implementation of `name`, `apply` and `clone_box`; the rest has defaults.
pub trait Sampler: Send + Sync + std::fmt::Debug {
    /// Name as the reference prints it; a sampler whose parameters disable it is prefixed with `?`.
    fn name(&self) -> &str;

    /// Filters, reweights or selects among `candidates` (`llama_sampler_apply`).
    ///
    /// # Errors
    /// [`Error::EmptyCandidates`] where the sampler cannot work on an empty array; a grammar's errors.
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error>;

    /// What `candidates.load(logits)` and then `apply` would do. For samplers that can do it in one pass over the
    /// row, the first active one of a chain is asked through this.
    ///
    /// # Errors
    /// As [`Sampler::apply`].
    fn apply_to_row(&mut self, logits: &[f32], candidates: &mut Candidates) -> Result<(), Error> {
        candidates.load(logits);
        self.apply(candidates)
    }

    /// Tells the sampler which token was chosen (`llama_sampler_accept`).
    fn accept(&mut self, _token: TokenId) {}

    /// Back to the state after construction (`llama_sampler_reset`).
    fn reset(&mut self) {}

    /// A copy including its state, random generators too (`llama_sampler_clone`).
    fn clone_box(&self) -> Box<dyn Sampler>;

    /// The seed in use, for samplers that choose a token by it (`llama_sampler_get_seed`).
    fn seed(&self) -> Option<u32> {
        None
    }

    /// Whether the parameters make it do nothing.
    fn is_disabled(&self) -> bool {
        self.name().starts_with('?')
    }
}

impl Sampler for Box<dyn Sampler> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        (**self).apply(candidates)
    }

    fn apply_to_row(&mut self, logits: &[f32], candidates: &mut Candidates) -> Result<(), Error> {
        (**self).apply_to_row(logits, candidates)
    }

    fn accept(&mut self, token: TokenId) {
        (**self).accept(token);
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        (**self).clone_box()
    }

    fn seed(&self) -> Option<u32> {
        (**self).seed()
    }

    fn is_disabled(&self) -> bool {
        (**self).is_disabled()
    }
}
