//! Lists in one argument, in the reference's CSV quoting.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The fields of a row (`parse_csv_row`): separated by commas, except within quotation marks, in which a mark itself is written twice.
/// A mark opens a quotation only at the beginning of a field; elsewhere it is a character.
///
/// # Errors
/// A quotation that is not closed; the reference takes it to the end.
pub(crate) fn fields(row: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut is_quoted = false;
    let mut chars = row.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push(c);
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    if is_quoted {
        return Err(format!("a quotation mark is not closed in {row:?}"));
    }
    fields.push(field);
    Ok(fields)
}

/// The files of a row; what is not UTF-8 is one name.
pub(crate) fn paths(row: &OsStr) -> Result<Vec<PathBuf>, String> {
    match row.to_str() {
        Some(row) => Ok(fields(row)?.into_iter().map(PathBuf::from).collect()),
        None => Ok(vec![row.into()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the reference makes of each: recorded from `parse_csv_row` at the revision of parity/REFERENCE.toml.
    #[test]
    fn rows_are_cut_as_the_reference_cuts_them() {
        let cases: [(&str, &[&str]); 10] = [
            ("", &[""]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("a,,b,", &["a", "", "b", ""]),
            ("value1,\"value, with, commas\",x", &["value1", "value, with, commas", "x"]),
            ("\"with \"\"escaped\"\" quotes\",y", &["with \"escaped\" quotes", "y"]),
            ("a\"b,c\"d", &["a\"b", "c\"d"]),
            ("\"a\"b,c", &["ab", "c"]),
            ("\"\",x", &["", "x"]),
            (" \"a,b\"", &[" \"a", "b\""]),
        ];
        for (row, expected) in cases {
            assert_eq!(fields(row).expect("quotations are closed"), expected, "{row}");
        }
        for row in ["\"open, to the end", "\"a\"\"b", "a,\"b\"\"", "\""] {
            assert!(fields(row).is_err(), "{row}");
        }
    }
}
