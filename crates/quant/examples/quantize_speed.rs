//! Nanoseconds per row of 4096: quantizing without and with importances, and expanding; the best of REPS.
//!
//!     quantize_speed TYPE REPS [FILE]
//!
//! FILE holds 64 rows as little-endian f32, so that another program can be timed on the same.

use std::time::Instant;

use quipu_quant::{DType, dequantize_row, quantize_rows};

const ROW: usize = 4096;
const ROWS: usize = 64;

#[allow(clippy::print_stdout)]
fn main() {
    let mut args = std::env::args().skip(1);
    let id: u32 = args.next().and_then(|a| a.parse().ok()).expect("a type id");
    let reps: usize = args.next().and_then(|a| a.parse().ok()).expect("a number of repetitions");
    let dtype = DType::from_id(id).expect("a type id");
    let x: Vec<f32> = match args.next() {
        Some(path) => {
            let bytes = std::fs::read(path).expect("a readable file");
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        None => (0..ROW * ROWS).map(|i| ((i * 7919 % 65_537) as f32 / 65_537.0 - 0.5) * 0.1).collect(),
    };
    assert_eq!(x.len(), ROW * ROWS, "64 rows of 4096");
    let w: Vec<f32> = (0..ROW).map(|i| 0.1 + (i * 37 % 101) as f32 / 50.0).collect();
    let mut out = vec![0u8; dtype.row_bytes(ROW * ROWS).expect("whole blocks")];
    let mut y = vec![0.0f32; ROW * ROWS];

    let best = |f: &mut dyn FnMut()| {
        let times = (0..reps).map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_nanos()
        });
        times.min().unwrap_or_default() / ROWS as u128
    };
    let plain = best(&mut || drop(quantize_rows(dtype, &x, ROW, None, &mut out)));
    let weighted = best(&mut || drop(quantize_rows(dtype, &x, ROW, Some(&w), &mut out)));
    let expanded = best(&mut || drop(dequantize_row(dtype, &out, &mut y)));
    println!("{plain} {weighted} {expanded}");
}
