//! A conversation and the terminal it is held on: what was said and how it becomes a prompt ([`talk`]), where messages come from
//! ([`reader`]), what a command of the conversation is ([`slash`]), thoughts apart from answers ([`thoughts`]), what is shown
//! ([`screen`]), and conversations in files ([`saved`]). `quipu chat` itself is in `commands`.

pub(crate) mod history;
pub(crate) mod reader;
pub(crate) mod saved;
pub(crate) mod screen;
pub(crate) mod slash;
pub(crate) mod talk;
pub(crate) mod thoughts;
