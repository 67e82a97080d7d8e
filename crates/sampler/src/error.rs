//! What can go wrong between a row of logits and a token.

/// Errors of samplers, chains and their parameters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sampler that must choose or normalise met an empty candidate array (the reference aborts or reads
    /// outside of the array).
    #[error("sampler '{sampler}' was given no candidates, expected at least one")]
    EmptyCandidates {
        /// Name of the sampler.
        sampler: &'static str,
    },
    /// A row of logits contains NaN: the forward pass is broken, and the reference's sort is undefined for it.
    #[error("logit of token {token} is NaN, expected a number")]
    NanLogit {
        /// Index of the first NaN.
        token: usize,
    },
    /// More logits than token ids (`i32`) can name.
    #[error("{n_logits} logits in one row, expected at most {}", i32::MAX)]
    TooManyLogits {
        /// Length of the row.
        n_logits: usize,
    },
    /// The chain ran to its end and no sampler selected a token (it has no greedy or dist, or a later sampler
    /// removed the selected one).
    #[error(
        "the chain of {n_samplers} samplers selected no token out of {n_candidates} candidates, expected it to \
         end in a selecting sampler such as greedy or dist"
    )]
    NothingSelected {
        /// Samplers in the chain.
        n_samplers: usize,
        /// Candidates left at the end.
        n_candidates: usize,
    },
    /// A sampling parameter is outside of its domain.
    #[error("sampling parameter {name} is {value}, expected {expected}")]
    Param {
        /// Name of the parameter.
        name: &'static str,
        /// Value found.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
}
