//! One file per subcommand.

pub(crate) mod audit_log;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod convert_lora;
pub(crate) mod detokenize;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod grammar_check;
pub(crate) mod imatrix;
pub(crate) mod inspect;
pub(crate) mod list_devices;
pub(crate) mod logits;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod models;
pub(crate) mod perplexity;
pub(crate) mod plan;
pub(crate) mod quantize;
pub(crate) mod render;
pub(crate) mod run;
pub(crate) mod sbs;
pub(crate) mod serve;
pub(crate) mod split;
pub(crate) mod tokenize;
