//! What requests ask for, checked: prompts, sampling, chats.

mod chat;
mod completion;
mod prompt;

pub(crate) use chat::chat;
pub(crate) use completion::{Completion, completion, strengths};
pub(crate) use prompt::{prompts, text_of, tokens_of};
