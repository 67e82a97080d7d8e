//! llama-quantize's flags: all of them are ours too.

use super::table::{Answer, Flag, Takes, Tool};

const QUANTIZE: &[Tool] = &[Tool::Quantize];

/// They have a parser of their own in the reference.
#[rustfmt::skip] // one row a line
pub(super) const FLAGS: &[Flag] = &[
    Flag::new(QUANTIZE, &["--leave-output-tensor"], Takes::Nothing, Answer::Is("--leave-output-tensor")),
    Flag::new(QUANTIZE, &["--output-tensor-type"], Takes::One, Answer::Is("--output-tensor-type")),
    Flag::new(QUANTIZE, &["--token-embedding-type"], Takes::One, Answer::Is("--token-embedding-type")),
    Flag::new(QUANTIZE, &["--tensor-type"], Takes::One, Answer::Is("--tensor-type")),
    Flag::new(QUANTIZE, &["--tensor-type-file"], Takes::One, Answer::Is("--tensor-type-file")),
    Flag::new(QUANTIZE, &["--prune-layers"], Takes::One, Answer::Is("--prune-layers")),
    Flag::new(QUANTIZE, &["--override-kv"], Takes::One, Answer::Is("--override-kv")),
    Flag::new(QUANTIZE, &["--dry-run"], Takes::Nothing, Answer::Is("--dry-run")),
    Flag::new(QUANTIZE, &["--allow-requantize"], Takes::Nothing, Answer::Is("--allow-requantize")),
    Flag::new(QUANTIZE, &["--pure"], Takes::Nothing, Answer::Is("--pure")),
    Flag::new(QUANTIZE, &["--imatrix"], Takes::One, Answer::Is("--imatrix")),
    Flag::new(QUANTIZE, &["--include-weights"], Takes::One, Answer::Is("--include-weights")),
    Flag::new(QUANTIZE, &["--exclude-weights"], Takes::One, Answer::Is("--exclude-weights")),
    Flag::new(QUANTIZE, &["--keep-split"], Takes::Nothing, Answer::Is("--keep-split")),
];
