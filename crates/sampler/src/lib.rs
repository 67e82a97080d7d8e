//! Samplers: from one row of logits to one token, with llama.cpp's arithmetic, tie order and seeds.
//!
//! Here live the candidate array, the [`Sampler`] trait, one file per sampler, the [`Chain`] that runs them in
//! order, and the command-line defaults as data ([`SamplerParams`]). Decoding, logits and text do not live here:
//! a chain sees `&[f32]` and answers with a token id.
//!
//! A fixed seed gives the reference's token ids. That holds as long as `expf` and `logf` are the same functions
//! the reference was linked with: both sides call the C library's.
//!
//! ```
//! use quipu_sampler::{Chain, SamplerParams};
//!
//! let params = SamplerParams { seed: 42, ..SamplerParams::default() };
//! let mut chain = Chain::from_params(&params, 4)?;
//! let token = chain.sample(&[0.1, 3.0, -1.0, 2.5])?;
//! assert!((0..4).contains(&token));
//! # Ok::<(), quipu_sampler::Error>(())
//! ```

#![forbid(unsafe_code)]

mod candidates;
mod chain;
mod dist;
mod error;
mod greedy;
mod min_p;
mod mt19937;
mod params;
mod penalties;
mod sampler;
mod seed;
mod sort;
mod temp;
mod top_k;
mod top_p;

pub use candidates::{Candidates, TokenData};
pub use chain::Chain;
pub use dist::Dist;
pub use error::Error;
pub use greedy::Greedy;
pub use min_p::MinP;
pub use mt19937::Mt19937;
pub use params::SamplerParams;
pub use penalties::Penalties;
pub use sampler::{Sampler, TokenId};
pub use seed::{DEFAULT_SEED, resolve_seed};
pub use temp::Temp;
pub use top_k::TopK;
pub use top_p::TopP;
