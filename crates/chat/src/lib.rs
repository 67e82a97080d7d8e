//! Chat templates: from a list of messages to the prompt text a model was trained on.
//!
//! A model file carries its template as Jinja source (`tokenizer.chat_template`). It is rendered as Python's jinja2
//! renders it in the environment that transformers' `apply_chat_template` sets up, to the byte. [`Capabilities`] says
//! what a template makes of system texts, tools and content parts, and [`ChatTemplate::apply`] prepares a conversation
//! accordingly, as the reference's `common/chat` does. Tokenising the text does not happen here.
//!
//! A template is input from outside: its steps, memory, output and nesting have hard bounds ([`Limits`]).
//!
//! ```
//! use quipu_chat::{ChatTemplate, Message};
//!
//! let template = ChatTemplate::new("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "<s>", "</s>")?;
//! assert_eq!(template.render(&[Message::new("user", "hi")], true)?, "<s>user: hi\n");
//! # Ok::<(), quipu_chat::Error>(())
//! ```

#![forbid(unsafe_code)]

mod capabilities;
mod conversation;
mod error;
mod jinja;
mod probe;
mod template;

pub use capabilities::Capabilities;
pub use conversation::Conversation;
pub use error::Error;
pub use jinja::filters::FILTERS;
pub use jinja::meter::{Bound, Limits};
pub use template::{ChatTemplate, Message, Variables};
