//! Files: ours through the reference's writers and back, byte for byte.

use std::path::Path;
use std::process::Command;

use quipu_gemma::Type;

use super::checkout::GemmaCheckout;
use super::toys::{TOYS, open, separate};
use crate::checkout::run;
use crate::error::Error;
use crate::report::Row;

/// Types that the reference leaves as they are when it has loaded them; I8 and NUQ it takes apart in its own way.
const KEPT: [Type; 3] = [Type::F32, Type::Bf16, Type::Sfp];

/// A toy of each generation in every type.
pub(super) fn audit(checkout: &GemmaCheckout) -> Result<Vec<Row>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let mut rows = Vec::new();
    for toy in &TOYS[..2] {
        for weight in [Type::F32, Type::Bf16, Type::Sfp, Type::I8, Type::Nuq] {
            let name = format!("{} {weight}", toy.name);
            let bytes = toy.sbs(weight)?;
            let (file, back) = (dir.path().join("toy.sbs"), dir.path().join("back.sbs"));
            std::fs::write(&file, &bytes).map_err(Error::io(&file))?;
            run(Command::new(checkout.probe("gemma")?).arg("blobs").arg(&file).arg(&back))?;
            rows.push(same(format!("blobs of {name} written by the reference"), &back, &bytes)?);
            if KEPT.contains(&weight) {
                let apart = separate(&name, &open(&name, bytes)?)?;
                std::fs::write(&file, &apart).map_err(Error::io(&file))?;
                run(Command::new(checkout.probe("gemma_run")?).arg("save").arg(&file).arg(&back).arg("-"))?;
                rows.push(migrated(format!("{name} migrated by the reference"), &name, &back)?);
            }
        }
    }
    Ok(rows)
}

fn same(case: String, path: &Path, expected: &[u8]) -> Result<Row, Error> {
    let found = std::fs::read(path).map_err(Error::io(path))?;
    let note = format!("{} bytes, expected {}", found.len(), expected.len());
    Ok(Row::judged("gemma", case, found == expected, note))
}

/// A file of the reference, read and written again.
fn migrated(case: String, name: &str, path: &Path) -> Result<Row, Error> {
    let theirs = std::fs::read(path).map_err(Error::io(path))?;
    let ours = match open(name, theirs.clone()) {
        Ok(sbs) => sbs.migrate(Vec::new(), None).map_err(Error::engine(name))?,
        Err(error) => return Ok(Row::judged("gemma", case, false, error.to_string())),
    };
    let note = format!("{} bytes, expected {}", ours.len(), theirs.len());
    Ok(Row::judged("gemma", case, ours == theirs, note))
}
