//! Block conversions and dot products, hash by hash over seeded rows: `probes/quant.cpp` against the example
//! `parity_cases` of `quipu-quant`.

use std::process::Command;

use quipu_quant::DType;

use crate::checkout::{Checkout, run};
use crate::commands::{cargo, cargo_example};
use crate::error::Error;
use crate::report::Row;

const SEED: &str = "3";
/// Chunks of 12 rows of 512 floats: of ordinary kinds, and of arbitrary bits.
const N_CHUNKS: [usize; 2] = [200, 40];
/// What the lines hold, by column.
const COLUMNS: [&str; 9] = [
    "chunk",
    "input",
    "quantize",
    "quantize with importances",
    "from_float",
    "to_float",
    "to_float of any bytes",
    "vec_dot",
    "validate",
];
/// A row for each type: every column of every chunk equal.
///
/// # Errors
/// A program failed.
pub fn audit(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let Some(checkout) = checkout else {
        let mut test = Command::new(cargo());
        test.args(["test", "--release", "--quiet", "-p", "quipu-quant", "--test", "goldens"]);
        let failed = run(&mut test).err();
        let note = failed.as_ref().map_or("recorded blocks and hashes".to_owned(), ToString::to_string);
        return Ok(vec![Row::judged("quant", "recorded cases", failed.is_none(), note)]);
    };
    let probe = checkout.probe("quant")?;
    let mut rows = Vec::new();
    for dtype in DType::ALL {
        // The reference aborts on arbitrary bits in its searches for grid points.
        let is_grid = dtype.is_computed() && !dtype.is_storable();
        for (hostile, n) in N_CHUNKS.into_iter().take(if is_grid { 1 } else { 2 }).enumerate() {
            let (id, n_text, hostile) = (dtype.id().to_string(), n.to_string(), hostile.to_string());
            let args = [id.as_str(), SEED, "0", &n_text, &hostile];
            let theirs = run(Command::new(&probe).args(args))?;
            let ours = run(&mut cargo_example("quipu-quant", "parity_cases", &args))?;
            let kind = if hostile == "0" { "rows of numbers" } else { "rows of arbitrary bits" };
            rows.push(compare(&format!("{dtype}, {kind}"), &theirs, &ours, n));
        }
    }
    Ok(rows)
}

fn compare(case: &str, theirs: &str, ours: &str, n: usize) -> Row {
    let mut differing = Vec::new();
    for (theirs, ours) in theirs.lines().zip(ours.lines()) {
        let (theirs, ours): (Vec<&str>, Vec<&str>) = (theirs.split(' ').collect(), ours.split(' ').collect());
        for (i, column) in COLUMNS.iter().enumerate() {
            if theirs.get(i) != ours.get(i) {
                differing.push(format!("chunk {}: {column}", theirs.first().unwrap_or(&"")));
            }
        }
    }
    let complete = theirs.lines().count() == n && ours.lines().count() == n;
    let note = match differing.first() {
        None if complete => format!("{n} chunks of 6144 elements"),
        None => "lines are missing".to_owned(),
        Some(first) => format!("{} hashes differ, the first in {first}", differing.len()),
    };
    Row::judged("quant", case, complete && differing.is_empty(), note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    #[test]
    fn a_hash_that_differs_and_a_line_that_is_missing_are_deviations() {
        let line = "0 a b c d e f g h\n";
        assert_eq!(compare("t", line, line, 1).verdict, Verdict::Equal);
        let row = compare("t", line, "0 a b c x e f g h\n", 1);
        assert_eq!(row.verdict, Verdict::Deviating);
        assert_eq!(row.note, "1 hashes differ, the first in chunk 0: from_float");
        assert_eq!(compare("t", line, "", 1).verdict, Verdict::Deviating);
    }
}
