//! Chat templates: from a list of messages to the prompt text a model was trained on.
//!
//! A model file carries its template as Jinja source (`tokenizer.chat_template`). It is rendered by `minijinja` with the
//! environment that Hugging Face's `apply_chat_template` gives it. Tokenising the text does not happen here, nor does
//! deciding whether a beginning-of-sequence token that the template already wrote is added once more.
//!
//! A template is input from outside: its work, recursion and output are limited.
//!
//! ```
//! use quipu_chat::{ChatTemplate, Message};
//!
//! let template = ChatTemplate::new("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "<s>", "</s>")?;
//! assert_eq!(template.render(&[Message::new("user", "hi")], true)?, "<s>user: hi\n");
//! # Ok::<(), quipu_chat::Error>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod json;
mod strftime;
mod tags;
mod template;

pub use error::Error;
pub use template::{ChatTemplate, Message};
