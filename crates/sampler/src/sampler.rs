//! The interface that every sampler implements (the reference's `llama_sampler_i`).

use crate::{Candidates, Error};

/// Token id, the reference's `llama_token`.
pub type TokenId = i32;

/// One step of a chain: reads and rewrites the candidate array.
pub trait Sampler: Send + std::fmt::Debug {
    /// Name as the reference prints it; a sampler whose parameters disable it is prefixed with `?`.
    fn name(&self) -> &str;

    /// Filters, reweights or selects among `candidates` (`llama_sampler_apply`).
    ///
    /// # Errors
    /// [`Error::EmptyCandidates`] where the sampler cannot work on an empty array.
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error>;

    /// Tells the sampler which token was chosen (`llama_sampler_accept`).
    fn accept(&mut self, _token: TokenId) {}

    /// Back to the state after construction (`llama_sampler_reset`).
    fn reset(&mut self) {}

    /// A copy including its state, random generators too (`llama_sampler_clone`).
    fn clone_box(&self) -> Box<dyn Sampler>;
}
