//! Files and streams that commands read: whole, checked to be UTF-8 where they are text.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;

use crate::fail::Failure;

/// Longest input that is read whole: what has no end must not fill the memory.
const MAX_BYTES: u64 = 1 << 30;

/// The name of stdin where a file is read.
const STDIN: &str = "-";

/// The bytes of a file, or of what a pipe gives; `-` is stdin.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == STDIN {
        return read_all(std::io::stdin(), "stdin".to_owned());
    }
    let what = path.display().to_string();
    match File::open(path) {
        Ok(file) => read_all(file, what),
        Err(error) => Err(Failure::Io { what, error }),
    }
}

fn read_all(from: impl Read, what: String) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match from.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => {
            Err(Failure::Input(format!("{what} is longer than {MAX_BYTES} bytes, expected at most that")))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::Io { what, error }),
    }
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let what = if path.as_os_str() == STDIN { "stdin".to_owned() } else { path.display().to_string() };
    utf8(read_bytes(path)?, &what)
}

/// The text of a file without a line break at its very end, as the reference's tools take `-f`.
pub(crate) fn read_prompt(path: &Path) -> Result<String, Failure> {
    let mut text = read_text(path)?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// The text on stdin.
pub(crate) fn read_stdin() -> Result<String, Failure> {
    utf8(read_all(std::io::stdin(), "stdin".to_owned())?, "stdin")
}

/// A line of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// Longer than [`MAX_LINE`]; it was passed over.
    TooLong,
    /// Not UTF-8.
    NotText,
}

/// Longest line of a conversation in bytes.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// The next line, without its end; `None` behind the last one. Of a line that is too long no more than [`MAX_LINE`] bytes are
/// held.
pub(crate) fn read_line(from: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let mut is_too_long = false;
    let mut has_begun = false;
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() && !has_begun {
            return Ok(None);
        }
        has_begun = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let line = &piece[..end.unwrap_or(piece.len())];
        is_too_long |= bytes.len() + line.len() > MAX_LINE;
        if !is_too_long {
            bytes.extend_from_slice(line);
        }
        let is_last = end.is_some() || piece.is_empty();
        let n = end.map_or(piece.len(), |end| end + 1);
        from.consume(n);
        if is_last {
            break;
        }
    }
    if is_too_long {
        return Ok(Some(Line::TooLong));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Some(String::from_utf8(bytes).map_or(Line::NotText, Line::Text)))
}

/// Token ids separated by white space.
pub(crate) fn parse_ids(text: &str, what: &str) -> Result<Vec<u32>, Failure> {
    text.split_whitespace()
        .enumerate()
        .map(|(i, word)| {
            word.parse().map_err(|_| {
                let shown: String = word.chars().take(40).collect();
                Failure::Input(format!("{what}: word {} is {shown:?}, expected a token id", i + 1))
            })
        })
        .collect()
}

fn utf8(bytes: Vec<u8>, what: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Input(format!("{what}: byte {at} is not UTF-8, expected UTF-8 text"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let long = "x".repeat(MAX_LINE + 1);
        let text = format!("a\r\n\n{long}\n{}\nlast", &long[1..]);
        let mut bytes = text.as_bytes();
        let mut next = || read_line(&mut bytes).expect("readable");
        assert_eq!(next(), Some(Line::Text("a".to_owned())));
        assert_eq!(next(), Some(Line::Text(String::new())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), Some(Line::Text(long[1..].to_owned())));
        assert_eq!(next(), Some(Line::Text("last".to_owned())));
        assert_eq!(next(), None);
        assert_eq!(read_line(&mut &b"\xff\n"[..]).expect("readable"), Some(Line::NotText));
    }

    #[test]
    fn ids_are_separated_by_any_white_space() {
        assert_eq!(parse_ids("1 2\n\t3\n", "stdin").expect("numbers"), [1, 2, 3]);
        let error = parse_ids("1 -2", "ids.txt").expect_err("a negative number");
        assert_eq!(error.to_string(), "ids.txt: word 2 is \"-2\", expected a token id");
    }
}
