//! Samplers: from one row of logits to one token, with llama.cpp's arithmetic, tie order and seeds.
//!
//! Here live the candidate array, the [`Sampler`] trait, one file per sampler, the [`Chain`] that runs them in
//! order, the command-line defaults as data ([`SamplerParams`]), GBNF grammars ([`grammar`]) and their making from
//! JSON schemas (exactly in [`schema`], with the reference's text in [`json_schema`]); [`GenerationSampler`] joins a chain, a grammar and a reasoning budget. Decoding and logits do not live here: a chain sees `&[f32]` and answers with a
//! token id. What a few samplers need to know of token texts they ask through [`Vocabulary`].
//!
//! A fixed seed gives the reference's token ids. That holds as long as `expf`, `logf` and `powf` are the same
//! functions the reference was linked with: both sides call the C library's.
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

mod adaptive_p;
mod candidates;
mod chain;
mod dist;
mod draw;
mod dry;
mod error;
mod generation;
pub mod grammar;
mod grammar_params;
mod greedy;
mod infill;
pub mod json_schema;
mod kind;
#[cfg(feature = "llguidance")]
mod llguidance;
mod logit_bias;
mod min_p;
mod mirostat;
mod mt19937;
mod params;
mod params_json;
mod penalties;
mod reasoning_budget;
mod sampler;
pub mod schema;
mod seed;
mod sort;
mod temp;
mod temp_ext;
#[cfg(test)]
mod testing;
mod token_data;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical;
mod vocabulary;
mod xtc;

pub use adaptive_p::AdaptiveP;
pub use candidates::Candidates;
pub use chain::{Chain, SamplerPerf};
pub use dist::Dist;
pub use dry::Dry;
pub use error::Error;
pub use generation::GenerationSampler;
pub use grammar::{Gbnf, Grammar, Pieces, Triggers};
pub use grammar_params::{GrammarParams, GrammarText, GrammarTrigger, ReasoningParams};
pub use greedy::Greedy;
pub use infill::Infill;
pub use json_schema::json_schema_to_grammar;
pub use kind::SamplerKind;
#[cfg(feature = "llguidance")]
pub use llguidance::{LlGuidance, LlTokens};
pub use logit_bias::LogitBias;
pub use min_p::MinP;
pub use mirostat::{Mirostat, MirostatV2};
pub use mt19937::Mt19937;
pub use params::SamplerParams;
pub use penalties::Penalties;
pub use quipu_batch::TokenId;
pub use reasoning_budget::{BudgetParams, BudgetState, ReasoningBudget};
pub use sampler::Sampler;
pub use schema::{SchemaMode, WhiteSpace, schema_to_grammar};
pub use seed::{DEFAULT_SEED, resolve_seed};
pub use temp::Temp;
pub use temp_ext::TempExt;
pub use token_data::TokenData;
pub use top_k::TopK;
pub use top_n_sigma::TopNSigma;
pub use top_p::TopP;
pub use typical::Typical;
pub use vocabulary::Vocabulary;
pub use xtc::Xtc;
