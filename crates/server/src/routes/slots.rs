//! What is done with slots: saved to files, restored from them, erased.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::api_error::{ApiError, Kind, json_response};
use crate::app::App;
use crate::json::{Fields, parse};
use crate::routes::Answer;
use crate::worker::{SlotAction, SlotDone, SlotJob, Work};

/// Longest name of a file.
const MAX_NAME: usize = 255;

/// `POST /slots/ID?action=save|restore|erase`. A slot at work is waited for.
pub(crate) async fn act(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answer {
    let Some(folder) = &app.options.slot_save_path else {
        let message = "This server does not support slots action. Start it with `--slot-save-path`";
        return Err(ApiError::new(Kind::NotSupported, message));
    };
    let Some(jobs) = &app.jobs else {
        let message = "This server does not support completions. Start it without `--embeddings`";
        return Err(ApiError::new(Kind::NotSupported, message));
    };
    let n_slots = app.options.engine.n_seq_max;
    let slot = id.parse().ok().filter(|slot| *slot < n_slots);
    let slot: usize = slot.ok_or_else(|| ApiError::invalid("Invalid slot ID"))?;
    let query = query.unwrap_or_default();
    let word = query.split('&').find_map(|pair| pair.strip_prefix("action=")).unwrap_or("");
    let (action, name) = match word {
        "save" => file(&body, folder).map(|(path, name)| (SlotAction::Save(path), name))?,
        "restore" => file(&body, folder).map(|(path, name)| (SlotAction::Restore(path), name))?,
        "erase" => (SlotAction::Erase, String::new()),
        _ => return Err(ApiError::invalid("Invalid action")),
    };
    let (reader, done) = oneshot::channel();
    jobs.try_send(Work::Slot(SlotJob { slot, action, reader })).map_err(|error| match error {
        TrySendError::Full(_) => {
            ApiError::new(Kind::Unavailable, "too many requests are waiting; try again later")
        }
        TrySendError::Closed(_) => ApiError::new(Kind::Unavailable, "the server is going down"),
    })?;
    let done = done.await.map_err(|_| ApiError::new(Kind::Unavailable, "the server is going down"))??;
    let SlotDone { n_tokens, n_bytes, time } = done;
    let ms = time.as_secs_f64() * 1e3;
    Ok(json_response(&match word {
        "save" => json!({
            "id_slot": slot, "filename": name, "n_saved": n_tokens, "n_written": n_bytes, "timings": { "save_ms": ms },
        }),
        "restore" => json!({
            "id_slot": slot, "filename": name, "n_restored": n_tokens, "n_read": n_bytes, "timings": { "restore_ms": ms },
        }),
        _ => json!({ "id_slot": slot, "n_erased": n_tokens }),
    }))
}

/// The file that a body names, in the folder of slots and nowhere else.
fn file(body: &Bytes, folder: &std::path::Path) -> Result<(PathBuf, String), ApiError> {
    let body = parse(body)?;
    let name = Fields::new(&body).text("filename")?.unwrap_or("");
    if !is_file_name(name) {
        return Err(ApiError::invalid("Invalid filename"));
    }
    Ok((folder.join(name), name.to_owned()))
}

/// Whether that is the name of a file on every system, and no path (`fs_validate_filename`).
fn is_file_name(name: &str) -> bool {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
            || matches!(c, '\u{ff0e}' | '\u{2215}' | '\u{2216}' | '\u{fffd}' | '\u{feff}')
    };
    let is_sound = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(is_bad);
    is_sound && !name.starts_with(' ') && !name.ends_with([' ', '.']) && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_no_paths() {
        for name in ["slot.bin", "a b", "é", ".hidden"] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "x".repeat(256);
        for name in
            ["", "..", "../x", "a/b", "a\\b", "/etc/passwd", "x\0", "a..b", " x", "x ", "x.", "C:x", &long]
        {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
