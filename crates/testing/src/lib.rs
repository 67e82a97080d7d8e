//! What the tests, examples and tools of all crates share, one of each: seeded numbers ([`SplitMix`]), an allocator that counts
//! ([`alloc`]), the error of a result ([`nmse`]), rows and weights of any type ([`rows`]), tiny models ([`TinyLlama`]) and
//! devices that are watched or spoilt ([`HookedDevice`]).
//!
//! For tests and tools only: crates of the house have it among their dev-dependencies, and it is never published. Recorded
//! goldens and the reference's probes depend on the exact numbers that a seed gives here.

pub mod alloc;
mod device;
mod error;
mod random;
pub mod rows;
mod tiny;

pub use device::{AfterNode, EachNode, Hook, HookedDevice};
pub use error::nmse;
pub use random::{SplitMix, fnv1a};
pub use tiny::TinyLlama;
