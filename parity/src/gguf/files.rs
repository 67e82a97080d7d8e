//! Seeded GGUF files: valid ones with everything the format has, and mutated ones.

use quipu_gguf::{Array, GgufWriter, StringArray, Value};
use quipu_quant::DType;

use quipu_testing::SplitMix;

/// Numbers that lengths, counts, types and offsets break at.
const EDGES: [u64; 18] =
    [0, 1, 2, 3, 4, 9, 12, 13, 31, 32, 33, 64, 1 << 16, 1 << 30, (1 << 30) + 1, 1 << 32, 1 << 63, u64::MAX];

fn bytes(random: &mut SplitMix, n: u64) -> Vec<u8> {
    (0..n).map(|_| random.next_u64() as u8).collect()
}

/// Printable text; now and then with a NUL in it.
fn text(random: &mut SplitMix, max: u64) -> Vec<u8> {
    let n = random.below(max + 1);
    let mut text: Vec<u8> = (0..n).map(|_| b' ' + random.below(95) as u8).collect();
    if random.below(20) == 0 && !text.is_empty() {
        text[0] = 0;
    }
    text
}

fn array(random: &mut SplitMix) -> Array {
    let n = random.below(6);
    let mut of = |n: u64| (0..n).map(|_| random.next_u64()).collect::<Vec<u64>>();
    let raw = of(n);
    match random.below(12) {
        0 => Array::U8(raw.iter().map(|&v| v as u8).collect()),
        1 => Array::I8(raw.iter().map(|&v| v as i8).collect()),
        2 => Array::U16(raw.iter().map(|&v| v as u16).collect()),
        3 => Array::I16(raw.iter().map(|&v| v as i16).collect()),
        4 => Array::U32(raw.iter().map(|&v| v as u32).collect()),
        5 => Array::I32(raw.iter().map(|&v| v as i32).collect()),
        6 => Array::F32(raw.iter().map(|&v| f32::from_bits(v as u32)).collect()),
        7 => Array::Bool(raw.iter().map(|&v| v & 1 == 1).collect()),
        8 => Array::String((0..n).map(|_| text(random, 10)).collect::<StringArray>()),
        9 => Array::U64(raw),
        10 => Array::I64(raw.iter().map(|&v| v as i64).collect()),
        _ => Array::F64(raw.iter().map(|&v| f64::from_bits(v)).collect()),
    }
}

fn value(random: &mut SplitMix) -> Value {
    let v = random.next_u64();
    match random.below(14) {
        0 => Value::U8(v as u8),
        1 => Value::I8(v as i8),
        2 => Value::U16(v as u16),
        3 => Value::I16(v as i16),
        4 => Value::U32(v as u32),
        5 => Value::I32(v as i32),
        6 => Value::F32(f32::from_bits(v as u32)),
        7 => Value::Bool(v & 1 == 1),
        8 => Value::String(text(random, 20)),
        9 => Value::U64(v),
        10 => Value::I64(v as i64),
        11 => Value::F64(f64::from_bits(v)),
        _ => Value::Array(array(random)),
    }
}

/// A valid file of `n_tensors` tensors at most; with `alignment`, sometimes one of its own.
pub(super) fn valid(random: &mut SplitMix, n_tensors: u64, alignment: bool) -> Vec<u8> {
    let mut w = GgufWriter::new();
    for i in 0..random.below(8) {
        w.metadata.set(&format!("key.{i}"), value(random));
    }
    if alignment && random.below(3) == 0 {
        w.metadata.set("general.alignment", Value::U32(1 << random.below(9)));
    }
    let mut sizes = Vec::new();
    for i in 0..random.below(n_tensors + 1) {
        let dtype = DType::ALL[random.below(DType::ALL.len() as u64) as usize];
        let mut dims: Vec<u64> = (0..=random.below(4)).map(|_| 1 + random.below(3)).collect();
        dims[0] *= dtype.block_len() as u64;
        if random.below(40) == 0 {
            dims[0] = 0;
        }
        let name = format!("t{i}.{}", String::from_utf8_lossy(&text(random, 8)).replace('\0', "_"));
        let rows: u64 = dims[1..].iter().product();
        if w.add_tensor(&name, dtype, &dims).is_ok() {
            sizes.push(dims[0] / dtype.block_len() as u64 * dtype.block_bytes() as u64 * rows);
        }
    }
    let mut out = Vec::new();
    w.write_to(&mut out, |i, sink| sink.write_all(&bytes(random, sizes[i]))).expect("sizes fit the shapes");
    out
}

/// One to four changes: an edge value, a flipped bit, a cut, bytes taken out or put in.
fn mutate(random: &mut SplitMix, file: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if file.is_empty() {
            return;
        }
        // Headers are where verdicts are made.
        let reach = if random.below(4) == 0 { file.len() as u64 } else { 400.min(file.len() as u64) };
        let at = random.below(reach) as usize;
        match random.below(10) {
            0..=3 => {
                let edge = EDGES[random.below(EDGES.len() as u64) as usize].to_le_bytes();
                let n = [4, 8][random.below(2) as usize].min(file.len() - at);
                file[at..at + n].copy_from_slice(&edge[..n]);
            }
            4..=6 => file[at] ^= 1 << random.below(8),
            7 => file[at] = random.next_u64() as u8,
            8 => {
                let end = (at + random.below(9) as usize).min(file.len());
                file.drain(at..end);
            }
            _ => {
                let n = random.below(file.len() as u64 / 4 + 1) as usize;
                file.truncate(file.len() - n);
            }
        }
    }
}

/// `n` files: a quarter valid, the rest mutated. The same files everywhere.
pub(super) fn random(n: usize) -> Vec<(String, Vec<u8>)> {
    (0..n)
        .map(|i| {
            let mut random = SplitMix::new(0x6775_6766 + i as u64);
            let mut file = valid(&mut random, 6, true);
            if i % 4 != 0 {
                mutate(&mut random, &mut file);
            }
            (format!("random {i}"), file)
        })
        .collect()
}
