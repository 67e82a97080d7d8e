//! Files of predictions: what a model expected at each place of a text, for others to be compared with.
//!
//! The format is llama-perplexity's (`--kl-divergence-base`), little-endian: `_logits_`, three 32-bit numbers (tokens of a chunk,
//! of the vocabulary, chunks), the tokens of all chunks as 32-bit numbers, and then for each place that is scored one row. A row is a
//! scale and a smallest logarithm as f32, and for each token of the vocabulary 16 bits `q`, which stand for `scale * q + smallest`; rows
//! of an odd vocabulary have two bytes more.

use std::io::{self, Read, Write};

use super::MIN_CHUNK;
use crate::TokenId;
use crate::error::Error;

const MAGIC: [u8; 8] = *b"_logits_";
/// Bytes before the tokens.
const HEADER: u64 = 20;
/// Least of what a row keeps apart: smaller logits count as the largest minus this.
const RANGE: f32 = 16.0;
/// Largest number in a row.
const MAX_Q: f32 = 65535.0;

/// Bytes of a row.
fn row_bytes(n_vocab: usize) -> usize {
    8 + 2 * n_vocab.next_multiple_of(2)
}

/// Places of a chunk that are scored.
fn n_scored(n_ctx: usize) -> usize {
    n_ctx - 1 - n_ctx / 2
}

/// Writes predictions.
#[derive(Debug)]
pub struct BaseWriter<W> {
    out: W,
    n_vocab: usize,
    row: Vec<u8>,
}

impl<W: Write> BaseWriter<W> {
    /// Begins a file about `tokens`, which are whole chunks of `n_ctx`.
    ///
    /// # Errors
    /// [`Error::Base`] for numbers beyond 31 bits and for the writer's failures.
    pub fn new(mut out: W, n_ctx: usize, n_vocab: usize, tokens: &[TokenId]) -> Result<BaseWriter<W>, Error> {
        let n_chunk = tokens.len() / n_ctx.max(1);
        let mut header = MAGIC.to_vec();
        for n in [n_ctx, n_vocab, n_chunk] {
            let n = i32::try_from(n).map_err(|_| wrong(n.to_string(), "numbers below 2^31".to_owned()))?;
            header.extend(n.to_le_bytes());
        }
        header.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
        out.write_all(&header).map_err(|error| failed(&error))?;
        Ok(BaseWriter { out, n_vocab, row: Vec::with_capacity(row_bytes(n_vocab)) })
    }

    /// The next place's logits, one per token of the vocabulary (`log_softmax` with `log_prob`).
    ///
    /// # Errors
    /// [`Error::Base`] for a row of another length and for the writer's failures.
    pub fn row(&mut self, logits: &[f32]) -> Result<(), Error> {
        if logits.len() != self.n_vocab {
            return Err(wrong(
                format!("a row of {} logits", logits.len()),
                format!("{}, the vocabulary", self.n_vocab),
            ));
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let min = logits.iter().copied().fold(f32::INFINITY, f32::min).max(max - RANGE);
        let log_sum = log_sum_exp(logits, max);
        let scale = (max - min) / MAX_Q;
        self.row.clear();
        self.row.extend(scale.to_le_bytes());
        self.row.extend((min - max - log_sum).to_le_bytes());
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        for logit in logits {
            let q = if *logit > min { nearest_int(inverse * (logit - min)) } else { 0 };
            self.row.extend(q.to_le_bytes());
        }
        self.row.resize(row_bytes(self.n_vocab), 0);
        self.out.write_all(&self.row).map_err(|error| failed(&error))
    }
}

/// Rounds to the nearest even number by adding what leaves no room for fractions (`nearest_int`), cut to 16 bits.
fn nearest_int(x: f32) -> u16 {
    (((x + 12_582_912.0).to_bits() & 0x007f_ffff).wrapping_sub(0x0040_0000)) as u16
}

/// The logarithm of the sum of all exponentials, less `max`; added up in f64 and kept in f32, as in the reference.
pub(super) fn log_sum_exp(logits: &[f32], max: f32) -> f32 {
    logits.iter().map(|logit| f64::from((logit - max).exp())).sum::<f64>().ln() as f32
}

/// Reads predictions.
#[derive(Debug)]
pub struct BaseReader<R> {
    input: R,
    n_ctx: usize,
    n_vocab: usize,
    /// Of all chunks.
    tokens: Vec<TokenId>,
    bytes: Vec<u8>,
}

impl<R: Read> BaseReader<R> {
    /// Reads the beginning of a file of `len` bytes: everything but the predictions themselves.
    ///
    /// # Errors
    /// [`Error::Base`] for what is no such file, for one that is shorter than it says, and for tokens beyond its vocabulary.
    pub fn new(mut input: R, len: u64) -> Result<BaseReader<R>, Error> {
        let mut header = [0; HEADER as usize];
        if len < HEADER {
            return Err(wrong(format!("{len} bytes"), "at least 20".to_owned()));
        }
        input.read_exact(&mut header).map_err(|error| failed(&error))?;
        if header[..8] != MAGIC {
            let found = String::from_utf8_lossy(&header[..8]).escape_debug().to_string();
            return Err(wrong(format!("\"{found}\" at the beginning"), "\"_logits_\"".to_owned()));
        }
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
        };
        let (n_ctx, n_vocab, n_chunk) = (number(8), number(12), number(16));
        if n_ctx < MIN_CHUNK
            || n_vocab == 0
            || n_chunk == 0
            || [n_ctx, n_vocab, n_chunk].iter().any(|n| *n > i32::MAX as usize)
        {
            let found = format!("{n_chunk} chunks of {n_ctx} tokens and a vocabulary of {n_vocab}");
            return Err(wrong(found, "chunks of at least 3 tokens, and numbers below 2^31".to_owned()));
        }
        // The product of three numbers of 31 bits.
        let per_chunk = 4 * n_ctx as u128 + n_scored(n_ctx) as u128 * row_bytes(n_vocab) as u128;
        let needed = u128::from(HEADER) + n_chunk as u128 * per_chunk;
        if u128::from(len) < needed {
            return Err(wrong(format!("{len} bytes"), format!("{needed} for {n_chunk} chunks")));
        }
        let mut bytes = vec![0; 4 * n_ctx * n_chunk];
        input.read_exact(&mut bytes).map_err(|error| failed(&error))?;
        let (words, _) = bytes.as_chunks::<4>();
        let tokens: Vec<TokenId> = words.iter().map(|word| TokenId::from_le_bytes(*word)).collect();
        if let Some(at) = tokens.iter().position(|token| *token as usize >= n_vocab) {
            return Err(wrong(format!("token[{at}] is {}", tokens[at]), format!("an id below {n_vocab}")));
        }
        Ok(BaseReader { input, n_ctx, n_vocab, tokens, bytes: vec![0; row_bytes(n_vocab)] })
    }

    /// Tokens of a chunk.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Tokens of the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The tokens of all chunks, whole ones only.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The next place's logarithms of probabilities, one per token of the vocabulary.
    pub(super) fn row(&mut self, row: &mut Vec<f32>) -> Result<(), Error> {
        self.input.read_exact(&mut self.bytes).map_err(|error| failed(&error))?;
        let float = |at: usize| {
            f32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
        };
        let (scale, min) = (float(0), float(4));
        let (numbers, _) = self.bytes[8..8 + 2 * self.n_vocab].as_chunks::<2>();
        row.clear();
        row.extend(numbers.iter().map(|q| scale * f32::from(u16::from_le_bytes(*q)) + min));
        Ok(())
    }
}

/// What was found in the place of something.
pub(super) fn wrong(found: String, expected: String) -> Error {
    Error::Base { found, expected }
}

fn failed(error: &io::Error) -> Error {
    wrong(error.to_string(), "a file that can be read or written".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(n_ctx: usize, tokens: &[TokenId], rows: &[&[f32]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = BaseWriter::new(&mut out, n_ctx, rows[0].len(), tokens).expect("a header");
        rows.iter().try_for_each(|row| writer.row(row)).expect("rows");
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let logits = [1.0, -3.0, 2.5, -40.0, 0.0];
        let bytes = written(4, &[0, 1, 2, 3], &[&logits]);
        assert_eq!(bytes.len(), 20 + 16 + row_bytes(5));
        let mut reader = BaseReader::new(&bytes[..], bytes.len() as u64).expect("a base");
        assert_eq!((reader.n_ctx(), reader.n_vocab(), reader.tokens()), (4, 5, &[0, 1, 2, 3][..]));
        let mut row = Vec::new();
        reader.row(&mut row).expect("a row");
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        for (found, logit) in row.iter().zip(logits) {
            // Nothing is further than 16 from the best.
            let expected = logit.max(2.5 - RANGE) - sum.ln();
            assert!((found - expected).abs() < RANGE / MAX_Q, "{found} {expected}");
        }
        assert!(reader.row(&mut row).is_err(), "there is one row");
    }

    #[test]
    fn equal_logits_have_no_scale() {
        let bytes = written(3, &[0, 1, 0], &[&[2.0, 2.0]]);
        assert_eq!(bytes[32..36], [0; 4]);
        assert_eq!(bytes[40..], [0; 4]);
    }

    /// Every cut, and every number that does not fit, is an error and no allocation.
    #[test]
    fn what_is_no_base_is_refused() {
        let bytes = written(4, &[0, 1, 2, 3], &[&[0.0, 1.0, 2.0, 3.0]]);
        for len in 0..bytes.len() {
            assert!(BaseReader::new(&bytes[..len], len as u64).is_err(), "{len}");
        }
        let message = |at: usize, with: [u8; 4]| {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&with);
            BaseReader::new(&bytes[..], bytes.len() as u64).expect_err("refused").to_string()
        };
        assert!(message(0, *b"GGUF").contains("expected \"_logits_\""));
        for at in [8, 12, 16] {
            assert!(message(at, [0xff; 4]).contains("below 2^31"));
            assert!(message(at, [0xff, 0xff, 0xff, 0x7f]).contains("bytes"), "{at}");
        }
        assert!(message(8, [2, 0, 0, 0]).contains("at least 3 tokens"));
        assert!(message(24, [4, 0, 0, 0]).contains("token[1] is 4"));
    }
}
