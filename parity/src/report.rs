//! Verdicts, counted and printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// How a comparison ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Verdict {
    /// Within the rule.
    Equal,
    /// Outside the rule.
    Deviating,
    /// Not compared, and why.
    Skipped(String),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The module it belongs to.
    pub module: String,
    /// What was compared.
    pub case: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Figures: what was measured, against which bound.
    pub note: String,
    /// The entry of `docs/parity/deviations.md` that allows a deviation.
    pub allowed_by: Option<String>,
}

impl Row {
    /// A row without an allowance.
    pub fn new(module: &str, case: impl Into<String>, verdict: Verdict, note: impl Into<String>) -> Row {
        Row { module: module.to_owned(), case: case.into(), verdict, note: note.into(), allowed_by: None }
    }

    /// Whether it is plainly equal.
    pub fn is_equal(&self) -> bool {
        self.verdict == Verdict::Equal
    }

    /// Equal if `ok`, deviating otherwise.
    pub fn judged(module: &str, case: impl Into<String>, ok: bool, note: impl Into<String>) -> Row {
        Row::new(module, case, if ok { Verdict::Equal } else { Verdict::Deviating }, note)
    }
}

/// All comparisons of an audit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// In the order they were made.
    pub rows: Vec<Row>,
}

/// Counts of a module.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    equal: usize,
    deviating: usize,
    skipped: usize,
}

impl Report {
    /// Deviations that no entry of the list allows.
    pub fn unlisted<'a>(&'a self, listed: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| {
            row.verdict == Verdict::Deviating
                && !row.allowed_by.as_ref().is_some_and(|id| listed.contains(&format!("## {id}")))
        })
    }

    /// The table per module, and every row that is not plainly equal, as Markdown.
    pub fn markdown(&self) -> String {
        let mut modules: BTreeMap<&str, Counts> = BTreeMap::new();
        for row in &self.rows {
            let counts = modules.entry(&row.module).or_default();
            match row.verdict {
                Verdict::Equal => counts.equal += 1,
                Verdict::Deviating => counts.deviating += 1,
                Verdict::Skipped(_) => counts.skipped += 1,
            }
        }
        let mut out =
            String::from("| module | cases | equal | deviating | skipped |\n|---|---:|---:|---:|---:|\n");
        for (module, Counts { equal, deviating, skipped }) in modules {
            let cases = equal + deviating + skipped;
            // Writing to a string cannot fail.
            let _ = writeln!(out, "| {module} | {cases} | {equal} | {deviating} | {skipped} |");
        }
        for row in &self.rows {
            let what = match &row.verdict {
                Verdict::Equal => continue,
                Verdict::Deviating => "deviates".to_owned(),
                Verdict::Skipped(why) => format!("skipped ({why})"),
            };
            let allowed = row.allowed_by.as_ref().map(|id| format!(" [{id}]")).unwrap_or_default();
            let _ = writeln!(out, "\n- {} / {}: {what}{allowed} {}", row.module, row.case, row.note);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_is_not_equal_and_unlisted_deviations_are_found() {
        let mut report = Report::default();
        report.rows.push(Row::judged("m", "a", true, ""));
        report.rows.push(Row::new("m", "b", Verdict::Skipped("no file".to_owned()), ""));
        report.rows.push(Row::judged("m", "c", false, "3 > 2"));
        report.rows.push(Row { allowed_by: Some("KNOWN".to_owned()), ..Row::judged("m", "d", false, "") });
        assert!(report.markdown().contains("| m | 4 | 1 | 2 | 1 |"));
        let unlisted: Vec<&str> = report.unlisted("## KNOWN\n").map(|row| row.case.as_str()).collect();
        assert_eq!(unlisted, ["c"]);
        assert_eq!(report.unlisted("").count(), 2);
    }
}
