//! What is known of one token while the next one is chosen.

use crate::TokenId;

/// One candidate (`llama_token_data`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenData {
    /// Token id.
    pub id: TokenId,
    /// Log-odds.
    pub logit: f32,
    /// Probability, valid after a sampler that computes it (top-p, dist).
    pub p: f32,
}
