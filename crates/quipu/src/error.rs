//! The facade's error: what a part refused, in that part's words, or a request that makes no sense.

use std::path::{Path, PathBuf};

/// Everything that opening a model or using a session can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model file could not be opened.
    #[error("{}", open_message(path, source))]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: quipu_gguf::Error,
    },
    /// The model file holds something this build cannot run.
    #[error("{name}: {source}")]
    Load {
        /// Path or name of the model.
        name: String,
        /// Why.
        source: quipu_model::Error,
    },
    /// A model file that cannot be quantised.
    #[error("{name}: {source}")]
    Quantize {
        /// Path of the model.
        name: String,
        /// Why.
        source: quipu_model::quantize::Error,
    },
    /// An importance matrix that cannot be used.
    #[error(transparent)]
    Imatrix(#[from] quipu_model::quantize::Error),
    /// The file is not a GGUF model.
    #[error(transparent)]
    Gguf(#[from] quipu_gguf::Error),
    /// The vocabulary is not usable.
    #[error(transparent)]
    Tokenizer(#[from] quipu_tokenizer::Error),
    /// The decoder refused a batch, or computing failed.
    #[error(transparent)]
    Decoder(#[from] quipu_decoder::Error),
    /// Sampling parameters or logits out of range.
    #[error(transparent)]
    Sampler(#[from] quipu_sampler::Error),
    /// What stands in the place of a chat template is none.
    #[error("{key} is {found}, expected a string")]
    ChatTemplateType {
        /// Metadata key.
        key: String,
        /// What it holds.
        found: String,
    },
    /// The chat template failed.
    #[error(transparent)]
    Chat(#[from] quipu_chat::Error),
    /// No GPU can be used.
    #[error("{message}")]
    NoGpu {
        /// Why.
        message: String,
    },
    /// A device that was asked for by name and is not there.
    #[error("no device {found}, expected one of: {expected}")]
    UnknownDevice {
        /// The name.
        found: String,
        /// Names of the devices there are.
        expected: String,
    },
    /// A main device beyond the devices there are.
    #[error("main device {found}, expected a number below {n_devices}, or below 0 for none")]
    MainDevice {
        /// The number.
        found: i32,
        /// Devices there are.
        n_devices: usize,
    },
    /// A way to split a model over devices that is unknown or not there.
    #[error("split mode '{found}', expected one of: none, layer{hint}")]
    SplitMode {
        /// The name.
        found: String,
        /// What to say about one that is known.
        hint: &'static str,
    },
    /// A request for text from a model without a vocabulary.
    #[error("{name}: the model has no vocabulary, expected tokenizer.ggml.model in its metadata")]
    NoVocabulary {
        /// Path or name of the model.
        name: String,
    },
    /// A prompt without tokens.
    #[error("the prompt has no tokens, expected at least one")]
    EmptyPrompt,
    /// A prompt that leaves no room.
    #[error("the prompt has {n_prompt} tokens, expected at most {} (context of {n_ctx})", n_ctx.saturating_sub(1))]
    PromptTooLong {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens the session's context holds.
        n_ctx: usize,
    },
    /// Tokens beyond the context, where no further one is to be generated.
    #[error("{n_tokens} tokens, expected at most {n_ctx}, which the context holds")]
    TooManyTokens {
        /// Tokens given.
        n_tokens: usize,
        /// Tokens the session's context holds.
        n_ctx: usize,
    },
    /// A text that must be computed in one piece and cannot be.
    #[error(
        "the text has {n_tokens} tokens, expected at most {n_ubatch}, which are computed at once (context of {n_ctx})"
    )]
    TextTooLong {
        /// Tokens of the text.
        n_tokens: usize,
        /// Tokens computed at once.
        n_ubatch: usize,
        /// Tokens the session's context holds.
        n_ctx: usize,
    },
    /// Every sequence of the engine is under way.
    #[error("all {n_seq_max} sequences are under way, expected a free one")]
    NoFreeSequence {
        /// Sequences of the engine.
        n_seq_max: usize,
    },
    /// A slot that an engine has not, or one that a sequence has.
    #[error("slot {slot}: {found}, expected a free one below {n_seq_max}")]
    Slot {
        /// Its number.
        slot: usize,
        /// What is wrong with it.
        found: &'static str,
        /// Sequences of the engine.
        n_seq_max: usize,
    },
    /// The context has no room for the prompt of the only sequence in it.
    #[error("no room in a context of {n_ctx} tokens for a prompt of which it holds {n_held} tokens")]
    NoRoom {
        /// Tokens it held.
        n_held: usize,
        /// Tokens of the context.
        n_ctx: usize,
    },
    /// Chunks in which nothing would be measured.
    #[error(
        "chunks of {n_ctx} tokens, expected at least {n_least}: what is scored is the second half without its first token"
    )]
    ChunkTooShort {
        /// Tokens in a chunk.
        n_ctx: usize,
        /// Fewest that make sense.
        n_least: usize,
    },
    /// Too little text for the measurement.
    #[error("the text has {n_tokens} tokens, expected at least {n_needed} (twice the context of {n_ctx})")]
    TooFewTokens {
        /// Tokens of the text.
        n_tokens: usize,
        /// Tokens needed.
        n_needed: usize,
        /// Context length.
        n_ctx: usize,
    },
    /// A file of predictions to compare with that is none, or that could not be read or written.
    #[error("log-probabilities of a base: {found}, expected {expected}")]
    Base {
        /// What was found.
        found: String,
        /// What should have been there.
        expected: String,
    },
    /// The caller's cancel token was raised.
    #[error("cancelled by the caller")]
    Cancelled,
    /// A request to shift the context of a model whose positions cannot be shifted.
    #[error(
        "{name}: the context cannot be shifted, expected rotary positions or a generation that stops when it is full"
    )]
    CannotShift {
        /// Path or name of the model.
        name: String,
    },
}

/// Messages about the file itself name it already; those about its contents do not.
fn open_message(path: &Path, source: &quipu_gguf::Error) -> String {
    match source {
        quipu_gguf::Error::Open { .. } => source.to_string(),
        _ => format!("{}: {source}", path.display()),
    }
}
