//! gemma.cpp: codecs, files and small models, against a checkout of its sources or what one has said before.
//!
//! The oracle of `quipu-gemma`. What a real model says in both is [`audit_model`]'s.

mod checkout;
mod codecs;
mod engine;
mod files;
mod logits;
mod real;
mod toys;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use checkout::{GemmaCheckout, RunOptions};
pub use codecs::CodecGolden;
pub use logits::LogitsGolden;
pub use real::audit_model;

use crate::error::Error;
use crate::golden_files::{folder, read_json, write_json};
use crate::report::Row;

/// What was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Goldens {
    /// How.
    pub provenance: BTreeMap<String, String>,
    /// Hashes of codes.
    pub codecs: Vec<CodecGolden>,
    /// Logits of toys.
    pub logits: Vec<LogitsGolden>,
}

impl Goldens {
    /// Reads `goldens/gemma.json`.
    ///
    /// # Errors
    /// It is not there or not what it should be.
    pub fn read() -> Result<Goldens, Error> {
        read_json(&folder().join("gemma.json"))
    }

    /// The recorded values through the codecs again.
    ///
    /// # Errors
    /// A codec that refuses.
    pub fn replay_codecs(&self) -> Result<Vec<Row>, Error> {
        codecs::replay(&self.codecs)
    }
}

/// Everything live.
///
/// # Errors
/// A probe or the engine failed.
pub fn audit(checkout: &GemmaCheckout, progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>, Error> {
    progress("files");
    let mut rows = files::audit(checkout)?;
    rows.extend(logits::audit(checkout, progress)?);
    progress("codecs");
    rows.extend(codecs::audit(checkout)?);
    Ok(rows)
}

/// Records codes and logits of a checkout.
///
/// # Errors
/// As [`audit`]; codes that deviate are not recorded.
pub fn record(checkout: &GemmaCheckout, date: &str) -> Result<(), Error> {
    let provenance = [
        ("reference", format!("gemma.cpp {}", checkout.revision())),
        ("build", "parity/src/gemma/checkout.rs: AVX2, one instruction set, NUQ enabled".to_owned()),
        ("date", date.to_owned()),
    ];
    let goldens = Goldens {
        provenance: provenance.map(|(key, value)| (key.to_owned(), value)).into(),
        codecs: codecs::record(checkout)?,
        logits: logits::record(checkout)?,
    };
    write_json(&folder().join("gemma.json"), &goldens)
}

/// What was recorded, compared again.
///
/// # Errors
/// Goldens that cannot be read, or an engine that refuses.
pub fn replay() -> Result<Vec<Row>, Error> {
    let goldens = Goldens::read()?;
    let mut rows = goldens.replay_codecs()?;
    rows.extend(logits::replay(&goldens.logits)?);
    Ok(rows)
}

/// Parts that are taken out of our side, against what was recorded: each is told.
///
/// # Errors
/// As [`replay`].
pub fn knock_outs() -> Result<Vec<Row>, Error> {
    logits::knock_outs(&Goldens::read()?.logits)
}
