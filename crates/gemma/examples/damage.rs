//! Damaged `.sbs` files by the million:
//!
//!     damage FIRST_SEED COUNT FILE...
//!
//! Each execution takes one of the files, changes it in a few places (bits, numbers with a meaning, pieces of other
//! files, its length; half of the time with headers that still agree) and does all that can be done with it. Prints how
//! many were opened and how many refused; a panic or an abort is a finding.

use std::ops::Range;
use std::sync::Arc;

use quipu_gemma::gguf::to_gguf;
use quipu_gemma::{OpenOptions, SbsFile};
use quipu_gguf::MemoryFile;

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Numbers at which checks change their minds.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    15,
    16,
    64,
    255,
    256,
    65535,
    65536,
    65537,
    1 << 24,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX,
];

/// A file and where its metadata are: most damage is done there.
struct Sample {
    bytes: Vec<u8>,
    metadata: Vec<Range<usize>>,
}

fn place(rng: &mut SplitMix, sample: &Sample, len: usize) -> usize {
    if rng.next() % 4 == 0 {
        return rng.below(len);
    }
    let range = &sample.metadata[rng.below(sample.metadata.len())];
    (range.start + rng.below(range.len())).min(len - 1)
}

fn damage(rng: &mut SplitMix, files: &[Sample]) -> Vec<u8> {
    let sample = &files[rng.below(files.len())];
    let mut bytes = sample.bytes.clone();
    for _ in 0..=rng.below(4) {
        let at = place(rng, sample, bytes.len());
        match rng.next() % 8 {
            0..3 => bytes[at] ^= 1 << (rng.next() % 8),
            3 | 4 => {
                let at = at / 4 * 4;
                let value = NUMBERS[rng.below(NUMBERS.len())].to_le_bytes();
                let width: usize = if rng.next() % 2 == 0 { 4 } else { 8 };
                let n = width.min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&value[..n]);
            }
            5 => {
                // A word becomes a little more or less.
                let at = (at / 4 * 4).min(bytes.len().saturating_sub(4));
                if let Some(word) = bytes.get_mut(at..at + 4).and_then(|b| b.first_chunk_mut::<4>()) {
                    let old = u32::from_le_bytes(*word);
                    *word = old.wrapping_add(rng.below(5) as u32).wrapping_sub(2).to_le_bytes();
                }
            }
            6 => {
                let other = &files[rng.below(files.len())].bytes;
                let from = rng.below(other.len());
                let n = rng.below(64).min(other.len() - from).min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&other[from..from + n]);
            }
            _ => {
                let n = bytes.len() - rng.below(200).min(bytes.len() - 1);
                bytes.truncate(n);
            }
        }
    }
    if rng.next() % 2 == 0 && bytes.len() >= 32 {
        // Headers that agree, so that what is behind them is reached.
        let len = (bytes.len() as u64).to_le_bytes();
        bytes[..4].copy_from_slice(b"SBS\n");
        let at = if bytes[4..8] == [0; 4] { bytes.len() - 16 } else { 0 };
        bytes[at..at + 4].copy_from_slice(b"SBS\n");
        bytes[at + 8..at + 16].copy_from_slice(&len);
    }
    bytes
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seed: u64 = args.next().ok_or("FIRST_SEED COUNT FILE...")?.parse()?;
    let count: u64 = args.next().ok_or("FIRST_SEED COUNT FILE...")?.parse()?;
    let mut files = Vec::new();
    for path in args {
        let bytes = std::fs::read(&path)?;
        let sbs = SbsFile::open(&path)?;
        let places = ["config", "toc", "tokenizer"].map(|key| sbs.blobs().find(key));
        let mut metadata: Vec<Range<usize>> = places
            .into_iter()
            .flatten()
            .map(|blob| blob.offset as usize..blob.range().end as usize)
            .collect();
        metadata.extend([0..1024, bytes.len() - 1024..bytes.len()]);
        files.push(Sample { bytes, metadata });
    }
    if files.is_empty() {
        return Err("no files".into());
    }
    let (mut opened, mut refused, mut converted) = (0u64, 0u64, 0u64);
    for i in 0..count {
        let mut rng = SplitMix(seed.wrapping_add(i).wrapping_mul(0x2545_F491_4F6C_DD1D));
        let source = Arc::new(MemoryFile::from_vec(damage(&mut rng, &files)));
        match SbsFile::from_source(source, OpenOptions::default()) {
            Err(error) => {
                // Messages are made, too.
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            Ok(sbs) => {
                opened += 1;
                for mat in sbs.mats() {
                    let n = mat.n_values().min(300) as usize;
                    let _ = sbs.values(&mat.name, mat.n_values() - n as u64, n);
                }
                if i % 16 == 0 {
                    let _ = sbs.migrate(std::io::sink(), None);
                    converted += u64::from(to_gguf(&sbs, None).is_ok());
                }
            }
        }
    }
    println!("{count} files: {opened} opened, {refused} refused, {converted} of every 16th converted");
    Ok(())
}
