//! What the engine counts and times, and the forms it is written in.
//!
//! The generator and the decoder report through the `tracing` crate; without a subscriber that costs a few loads of
//! an atomic per token. A [`Recorder`] is such a subscriber: it adds up [`Metrics`] and writes JSON lines. Programs
//! with a subscriber of their own see the same spans and events under targets that begin with `quipu`.
//!
//! | name | kind, level | fields |
//! |---|---|---|
//! | `load` | event, info | `bytes`, `seconds` |
//! | `generate` | span, info | `n_prompt` |
//! | `prefill` | span, debug | `n_tokens`, `n_past` |
//! | `prompt` | event, info | `n_prompt`, `n_cached`, `n_computed`, `seconds` |
//! | `decode` | span, debug | `n_tokens`, `n_cells`, `kv_used` |
//! | `ubatch` | span, trace | `n_tokens`, `n_kv`, `reused` |
//! | `shift_keys` | span, debug | `n_cells` |
//! | `sample`, `detokenize` | spans, trace | |
//! | `shift` | event, info | `n_keep`, `n_discard`, `n_past` |
//! | `generation` | event, info | `n_prompt`, `n_generated`, `seconds`, `stop` |
//! | `transcript` | event, debug | `prompt`, `sampling`, `tokens`, `n_shifts`: ids as words, the parameters as JSON in a text, for [`crate::Session::audit`] |
//!
//! Metrics are written as the reference prints them at the end of a run ([`Summary`]), and, with the feature
//! `prometheus`, as text for a scraper (the function of that name). Serving that text is the server's business.

mod json;
mod metrics;
#[cfg(feature = "prometheus")]
mod prometheus;
mod recorder;
mod spans;
mod summary;
mod timings;

pub use metrics::Metrics;
#[cfg(feature = "prometheus")]
pub use prometheus::prometheus;
pub use recorder::Recorder;
pub use summary::Summary;
pub use timings::Timings;
