//! One file per subcommand.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod detokenize;
pub(crate) mod embed;
pub(crate) mod inspect;
pub(crate) mod logits;
pub(crate) mod perplexity;
pub(crate) mod run;
pub(crate) mod tokenize;
