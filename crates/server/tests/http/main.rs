//! The server over real sockets, with the demo model.

mod bodies;
mod common;
mod readers;
mod routes;
