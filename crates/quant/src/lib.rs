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
//!
//! ```
//! use quipu_quant::{DType, dequantize_row, quantize_row, quantize_row_cpu, vec_dot};
//!
//! let weights: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
//! let mut bytes = vec![0; DType::Q8_0.row_bytes(64).expect("two whole blocks")];
//! quantize_row(DType::Q8_0, &weights, &mut bytes)?;
//!
//! // Back: off by half a step at most, and a step is the largest value of a block over 127.
//! let mut back = vec![0.0; 64];
//! dequantize_row(DType::Q8_0, &bytes, &mut back)?;
//! let worst = weights.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
//! assert!(0.0 < worst && worst < 0.005, "off by {worst}");
//!
//! // A product, with activations in the type that Q8_0 is multiplied with.
//! let mut activations = vec![0; bytes.len()];
//! assert_eq!(DType::Q8_0.vec_dot_type(), Some(DType::Q8_0));
//! quantize_row_cpu(DType::Q8_0, &weights, &mut activations)?;
//! let exact: f32 = weights.iter().map(|w| w * w).sum();
//! assert!((vec_dot(DType::Q8_0, 64, &bytes, &activations)? - exact).abs() < 0.1);
//! # Ok::<(), quipu_quant::Error>(())
//! ```
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
mod q8_k;
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
