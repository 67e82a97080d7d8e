//! ggml's tensor types: ids, names, block layouts, row sizes, and the reference arithmetic on them.
//!
//! Counterpart of `ggml-quants.c`, `ggml-common.h` and the type traits of `ggml.c`. Everything here is
//! scalar, portable and exact; the fast twins live in `quipu-cpu-backend` and are tested against this crate.
#![forbid(unsafe_code)]

pub mod blocks;
mod dtype;

pub use dtype::{DType, UnknownDType};
