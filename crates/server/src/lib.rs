//! The HTTP server: llama-server's and OpenAI's routes over one [`quipu::Engine`].
//!
//! A thread of its own (`worker`) owns the engine and knows no HTTP; handlers parse and check a request (`request`), hand the worker jobs
//! through a bounded queue, and make answers (`answer`) of what it tells them. A reader who is slow holds up only his own text, and one who
//! is gone ends it. What the routes take and give is llama-server's; docs/server.md lists them, and where they differ.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io::{Read, Write};
//!
//! let model = quipu::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../quipu/stories-1m.gguf"))?;
//! let server = quipu_server::Server::new(&model, quipu_server::ServerOptions::default())?;
//! let runtime = tokio::runtime::Runtime::new()?;
//! let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
//! let address = listener.local_addr()?;
//! runtime.spawn(server.run(listener, std::future::pending()));
//!
//! let mut client = std::net::TcpStream::connect(address)?;
//! client.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.ends_with(r#"{"status":"ok"}"#));
//! # Ok(()) }
//! ```
//!
//! Not here: tools, reasoning in chats, images, other chat protocols, several models.
#![forbid(unsafe_code)]

mod answer;
mod api_error;
mod app;
mod embedder;
mod json;
mod layers;
mod options;
mod reply;
mod request;
mod routes;
mod server;
mod shared;
mod sse;
mod times;
mod worker;

pub use options::{Cors, Lora, ServerOptions};
pub use server::{Error, Server};
