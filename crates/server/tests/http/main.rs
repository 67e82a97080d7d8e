//! The server over real sockets, with the demo model.

mod adapters;
mod bodies;
mod common;
mod life;
mod readers;
mod routes;
mod slots;
