//! The grid types: groups of 4 or 8 weights as one point of a fixed grid (`IQ1_*`, `IQ2_*`, `IQ3_*`).
//!
//! `tables` has the points, `grid` finds the one for a group, `decode` expands and multiplies, `quantize` and
//! `one_bit` search for scales. The formats with a table of single values (`IQ4_*`) are in `iq4`.

pub mod blocks;
mod decode;
mod grid;
mod one_bit;
mod quantize;
pub mod tables;

pub(crate) use decode::{
    dequantize_iq1_m, dequantize_iq1_s, dequantize_iq2_s, dequantize_iq2_xs, dequantize_iq2_xxs,
    dequantize_iq3_s, dequantize_iq3_xxs, dot_iq1_m, dot_iq1_s, dot_iq2_s, dot_iq2_xs, dot_iq2_xxs,
    dot_iq3_s, dot_iq3_xxs,
};
pub(crate) use one_bit::{quantize_iq1_m, quantize_iq1_s};
pub(crate) use quantize::{
    quantize_iq2_s, quantize_iq2_xs, quantize_iq2_xxs, quantize_iq3_s, quantize_iq3_xxs,
};
