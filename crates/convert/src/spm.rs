//! `tokenizer.model`: the pieces of a SentencePiece model, read from its protobuf.
//!
//! Of the message only field 1 (`pieces`) is looked at, and of a piece its text (1), score (2) and type (3).

use std::path::Path;

use super::error::{ConvertError, Result};

/// Types of pieces, with SentencePiece's numbers, which GGUF kept.
pub mod piece_type {
    /// Ordinary text.
    pub const NORMAL: i32 = 1;
    /// Control tokens.
    pub const CONTROL: i32 = 3;
    /// Text that is never split.
    pub const USER_DEFINED: i32 = 4;
    /// Placeholders.
    pub const UNUSED: i32 = 5;
    /// Single bytes.
    pub const BYTE: i32 = 6;
}

/// A piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Its score.
    pub score: f32,
    /// Its [`piece_type`].
    pub kind: i32,
}

/// Reads the pieces in the order of their ids.
///
/// # Errors
/// The file cannot be read or is not such a protobuf.
pub fn read(path: &Path) -> Result<Vec<Piece>> {
    let bytes = super::json::read(path)?;
    parse(&bytes).map_err(|message| ConvertError::SentencePiece { path: path.to_owned(), message })
}

/// Reads the pieces of a serialised model, in the order of their ids.
///
/// # Errors
/// What is not such a protobuf, and where.
pub fn parse(bytes: &[u8]) -> std::result::Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut reader = Reader { bytes, at: 0 };
    while let Some((field, value)) = reader.field()? {
        if let (1, Field::Bytes(message)) = (field, value) {
            pieces.push(piece(message).map_err(|error| format!("piece {}: {error}", pieces.len()))?);
        }
    }
    if pieces.is_empty() { Err("it has no pieces".to_owned()) } else { Ok(pieces) }
}

fn piece(message: &[u8]) -> std::result::Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: piece_type::NORMAL };
    let mut reader = Reader { bytes: message, at: 0 };
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text).map_err(|_| "its text is not UTF-8".to_owned())?;
                text.clone_into(&mut piece.text);
            }
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Varint(kind)) => {
                piece.kind = i32::try_from(kind)
                    .ok()
                    .filter(|kind| (piece_type::NORMAL..=piece_type::BYTE).contains(kind))
                    .ok_or_else(|| format!("its type is {kind}, expected 1 to 6"))?;
            }
            (1..=3, _) => return Err(format!("field {field} has the wrong wire type")),
            _ => {}
        }
    }
    Ok(piece)
}

enum Field<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> std::result::Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.truncated())?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(format!("the number before byte {} is longer than 10 bytes", self.at))
    }

    fn take(&mut self, n: u64) -> std::result::Result<&'a [u8], String> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| self.truncated())?;
        self.at += taken.len();
        Ok(taken)
    }

    fn truncated(&self) -> String {
        format!("the message of {} bytes is cut off at byte {}", self.bytes.len(), self.at)
    }

    fn field(&mut self) -> std::result::Result<Option<(u64, Field<'a>)>, String> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Fixed64
            }
            2 => {
                let n = self.varint()?;
                Field::Bytes(self.take(n)?)
            }
            5 => {
                let taken = self.take(4)?;
                Field::Fixed32(u32::from_le_bytes([taken[0], taken[1], taken[2], taken[3]]))
            }
            wire => return Err(format!("wire type {wire} before byte {} is unknown", self.at)),
        };
        Ok(Some((tag >> 3, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{ pieces { text score type } }`
    fn message() -> Vec<u8> {
        let mut piece = vec![0x0a, 3, b'a', b'b', b'c', 0x15];
        piece.extend_from_slice(&(-2.5f32).to_le_bytes());
        piece.extend_from_slice(&[0x18, 4]);
        let mut bytes = vec![0x0a, piece.len() as u8];
        bytes.extend_from_slice(&piece);
        // A field nobody asks for.
        bytes.extend_from_slice(&[0x12, 2, 8, 1]);
        bytes
    }

    #[test]
    fn a_piece_is_read() {
        let pieces = parse(&message()).expect("valid");
        assert_eq!(pieces, [Piece { text: "abc".to_owned(), score: -2.5, kind: 4 }]);
    }

    #[test]
    fn every_truncation_is_an_error_and_every_flip_is_survived() {
        let bytes = message();
        for n in 0..bytes.len() - 4 {
            assert!(parse(&bytes[..n]).is_err(), "{n} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _ = parse(&flipped);
            }
        }
    }

    #[test]
    fn lengths_beyond_the_file_are_errors() {
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(parse(&huge).is_err());
        assert!(parse(&[]).is_err());
    }
}
