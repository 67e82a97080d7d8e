//! The HTTP server: llama-server's and OpenAI's routes over one [`quipu::Engine`].
//!
//! A thread of its own (`worker`) owns the engine and knows no HTTP; handlers parse and check a request (`request`), hand the worker jobs
//! through a bounded queue, and make answers (`answer`) of what it tells them. A reader who is slow holds up only his own text, and one who
//! is gone ends it. What the routes take and give is llama-server's; docs/server.md lists them, and where they differ.
//!
//! Not here: tools, reasoning in chats, images, other chat protocols, several models.
#![forbid(unsafe_code)]

mod answer;
mod api_error;
mod embedder;
mod json;
mod layers;
mod options;
mod request;
mod routes;
mod server;
mod shared;
mod sse;
mod worker;

pub use options::{Cors, ServerOptions};
pub use server::{Error, Server};
