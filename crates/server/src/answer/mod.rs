//! What clients are told of texts: whole answers, and chunks of streams, in the three styles of the reference.

mod id;
mod parts;
mod settings;
mod stream;
mod whole;

pub(crate) use id::completion_id;
pub(crate) use parts::{FINGERPRINT, seconds};
pub(crate) use settings::settings;
pub(crate) use stream::Chunks;
pub(crate) use whole::whole;

use std::sync::Arc;

use quipu::{TokenId, TokenLogprobs};

use crate::request::Completion;
use crate::worker::Finished;

/// Whose words an answer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// llama-server's own.
    Native,
    /// OpenAI's text completions.
    Text,
    /// OpenAI's chat completions.
    Chat,
}

/// What all answers to a request have in common.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Style of the answers.
    pub style: Style,
    /// The request's name.
    pub id: String,
    /// The model's name.
    pub model: Arc<str>,
    /// What was asked for.
    pub wanted: Arc<Completion>,
    /// The prompts as texts, special tokens shown: for each text its own.
    pub prompts: Arc<Vec<String>>,
    /// What a chat's answer begins with: the request gave it.
    pub begun: Arc<str>,
}

/// A token of a text and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct TokenEntry {
    pub id: TokenId,
    pub piece: Vec<u8>,
    pub logprobs: Option<TokenLogprobs>,
}

/// One text of a request at its end.
#[derive(Debug)]
pub(crate) struct Text {
    pub index: usize,
    pub entries: Vec<TokenEntry>,
    pub finished: Finished,
}
