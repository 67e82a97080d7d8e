//! Files and streams that commands read: whole, checked to be UTF-8 where they are text.

use std::io::Read;
use std::path::Path;

use crate::fail::Failure;

/// The bytes of a file.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Io { what: path.display().to_string(), error })
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    utf8(read_bytes(path)?, &path.display().to_string())
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
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Io { what: "stdin".to_owned(), error })?;
    utf8(bytes, "stdin")
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
    fn ids_are_separated_by_any_white_space() {
        assert_eq!(parse_ids("1 2\n\t3\n", "stdin").expect("numbers"), [1, 2, 3]);
        let error = parse_ids("1 -2", "ids.txt").expect_err("a negative number");
        assert_eq!(error.to_string(), "ids.txt: word 2 is \"-2\", expected a token id");
    }
}
