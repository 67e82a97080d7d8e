//! ggml's tensor types: ids, names, block layouts, row sizes, and the reference arithmetic on them.
//!
//! Counterpart of `ggml-quants.c`, `ggml-common.h` and the type traits of `ggml.c`. Everything here is
//! scalar, portable and exact; the fast twins live in `quipu-cpu-backend` and are tested against this crate.
//!
//! - [`DType`] knows every type's id, name and sizes; [`DType::is_computed`] says which have arithmetic.
//! - [`quantize_rows`] and [`dequantize_row`] convert rows, bit for bit as the reference's file tools.
//! - [`quantize_row_cpu`] converts as the reference's CPU backend does: activations, and rows it stores.
//! - [`vec_dot`] multiplies a row of weights with a row of converted activations.
//! - [`validate_rows`] says whether bytes can be weights.
//!
//! A module for each family of formats (`legacy`, `k_quants`, `iq4`, `low_bit`, `fp4`) holds its arithmetic;
//! `quantize`, `dequantize`, `dot` and `validate` dispatch over types. `search` has the searches for scales,
//! `lanes` their fast forms.
#![forbid(unsafe_code)]

mod activations;
pub mod blocks;
pub mod convert;
mod dequantize;
mod dot;
mod dtype;
mod error;
mod fp4;
pub mod grids;
mod iq4;
mod k_quants;
mod lanes;
mod legacy;
mod low_bit;
mod quantize;
mod search;
mod validate;

pub use activations::{quantize_row_cpu, quantize_row_q8_0_cpu, quantize_row_q8_k};
pub use dequantize::dequantize_row;
pub use dot::vec_dot;
pub use dtype::{DType, UnknownDType};
pub use error::Error;
pub use fp4::MXFP4_VALUES;
pub use iq4::IQ4_VALUES;
pub use k_quants::scale_min;
pub use quantize::{quantize_row, quantize_rows};
pub use validate::validate_rows;
