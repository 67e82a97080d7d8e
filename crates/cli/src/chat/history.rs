//! Where the lines of earlier conversations are kept.

use std::ffi::OsString;
use std::path::PathBuf;

/// The file, in the folder for what a program wants to remember; none if there is no such folder.
pub(crate) fn path(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let given = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = if let Some(folder) = given("XDG_STATE_HOME") {
        folder
    } else if cfg!(windows) {
        given("LOCALAPPDATA")?
    } else if cfg!(target_os = "macos") {
        given("HOME")?.join("Library/Application Support")
    } else {
        given("HOME")?.join(".local/state")
    };
    Some(folder.join("quipu").join("chat-history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_folder_for_states() {
        let with = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, v)| v.into());
            path(value)
        };
        let expected = |path: &str| Some(PathBuf::from(path));
        assert_eq!(with(&[("HOME", "/h")]), expected("/h/.local/state/quipu/chat-history"));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), expected("/s/quipu/chat-history"));
        // Relative ones are to be ignored, says the specification.
        assert_eq!(with(&[("XDG_STATE_HOME", "s")]), None);
    }
}
