//! ggml's tensor types: ids, names, block layouts, row sizes, and the reference arithmetic on them.
//!
//! Counterpart of `ggml-quants.c`, `ggml-common.h` and the type traits of `ggml.c`. Everything here is
//! scalar, portable and exact; the fast twins live in `quipu-cpu-backend` and are tested against this crate.
//!
//! - [`DType`] knows every type's id, name and sizes; [`DType::is_computed`] says which have arithmetic.
//! - [`quantize_row`] and [`dequantize_row`] convert rows, bit for bit as the reference's file tools.
//! - [`quantize_row_q8_0_cpu`] and [`quantize_row_q8_k`] convert activations, as the reference's CPU does.
//! - [`vec_dot`] multiplies a row of weights with a row of converted activations.
#![forbid(unsafe_code)]

mod activations;
pub mod blocks;
pub mod convert;
mod dequantize;
mod dot;
mod dtype;
mod error;
mod k_quants;
mod quantize;

pub use activations::{quantize_row_q8_0_cpu, quantize_row_q8_k};
pub use dequantize::{MXFP4_VALUES, dequantize_row, scale_min};
pub use dot::vec_dot;
pub use dtype::{DType, UnknownDType};
pub use error::Error;
pub use quantize::quantize_row;
