//! Command lines as llama.cpp's users type them, before the parser sees them.
//!
//! The parser knows one letter behind one dash, and one name for one thing. The reference's programs have `-ctk`, `-fa on`, `--no-mmap`,
//! values that begin with a dash, and `LLAMA_ARG_*` variables. [`normalise`] turns all of that into the parser's own words, by the table of
//! the reference's flags: each is accepted with a meaning, or refused by name. What is not in the table is left to the parser.

mod bench;
mod common;
mod quantize;
mod serve;
mod special;
mod table;

use std::ffi::{OsStr, OsString};

use clap::Command;

use table::{Answer, Flag, Takes, Tool};

/// A flag for every command, which is answered before anything is parsed.
pub(crate) const LIST_DEVICES: &str = "--list-devices";

/// The parser's words for what a person wrote. `variable` gives the value of an environment variable.
///
/// # Errors
/// A flag of the reference that is refused here, one that lacks its value, or several letters behind one dash that are none.
pub(crate) fn normalise(
    args: impl IntoIterator<Item = OsString>,
    parser: &Command,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, String> {
    let mut args = args.into_iter();
    let mut words: Vec<OsString> = args.by_ref().take(2).collect();
    let command = words.get(1).and_then(|word| parser.find_subcommand(word));
    let tool = command.and_then(Tool::of);
    let (Some(command), Some(tool)) = (command, tool) else {
        words.extend(args);
        return Ok(words);
    };
    let mut line = Line { tool, command, words };
    line.take_variables(variable)?;
    while let Some(word) = args.next() {
        if word == "--" {
            line.words.push(word);
            line.words.extend(args);
            break;
        }
        line.take(word, &mut args)?;
    }
    Ok(line.words)
}

/// A command line under way.
struct Line<'a> {
    tool: Tool,
    command: &'a Command,
    words: Vec<OsString>,
}

impl Line<'_> {
    /// What the environment says, in front of what the command line says, which counts more. Variables of flags that are refused are
    /// not looked at: they may be meant for another program.
    fn take_variables(&mut self, variable: impl Fn(&str) -> Option<OsString>) -> Result<(), String> {
        let tool = self.tool;
        for flag in table::all().filter(|flag| flag.is_of(tool)) {
            let Some(name) = flag.env else { continue };
            let negative = variable(&name.replace("LLAMA_ARG_", "LLAMA_ARG_NO_"));
            let value = match flag.takes {
                Takes::On | Takes::Off if negative.is_some() => Some("0".into()),
                _ => variable(name),
            };
            let Some(value) = value else { continue };
            let is_true = ["on", "enabled", "true", "1"].iter().any(|word| *word == value);
            let is_false = ["off", "disabled", "false", "0"].iter().any(|word| *word == value);
            let is_switch = matches!(flag.takes, Takes::On | Takes::Off);
            let applies = match flag.takes {
                Takes::Off => !is_true,
                Takes::On | Takes::Nothing => is_true,
                Takes::One | Takes::Two => true,
            };
            let is_meant = !matches!(flag.answer, Answer::Refused(_)) && self.serves(flag);
            if is_meant && is_switch && !is_true && !is_false {
                return Err(format!("{name} {}: expected on or off", value.display()));
            }
            if !applies || !is_meant {
                continue;
            }
            let values = if flag.takes.n_values() == 1 { vec![value] } else { Vec::new() };
            self.answer(flag, name, &values)?;
        }
        Ok(())
    }

    fn take(&mut self, word: OsString, rest: &mut dyn Iterator<Item = OsString>) -> Result<(), String> {
        let Some(text) = word.to_str().filter(|text| text.starts_with('-') && text.len() > 1) else {
            self.words.push(word);
            return Ok(());
        };
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text, None),
        };
        // As the reference has it.
        let name = if name.starts_with("--") { name.replace('_', "-") } else { name.to_owned() };
        if let Some(flag) = table::find(self.tool, &name) {
            let missing = || format!("{name} needs {}", flag.takes.words());
            let mut values: Vec<OsString> = inline.into_iter().collect();
            if values.len() > flag.takes.n_values() {
                return Err(format!("{name} takes no value, found '{}'", values[0].display()));
            }
            while values.len() < flag.takes.n_values() {
                values.push(rest.next().ok_or_else(missing)?);
            }
            return self.answer(flag, &name, &values);
        }
        let Some(own) = own(self.command, &name) else {
            let letters = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or("");
            let is_glued = letters.chars().next().is_some_and(|letter| {
                own_short(self.command, letter).is_some_and(|arg| arg.get_action().takes_values())
            });
            if letters.chars().count() > 1 && !is_glued {
                return Err(format!("unexpected argument '{text}' found"));
            }
            // A value behind its letter, or the parser's business.
            self.words.push(word);
            return Ok(());
        };
        match (own.get_long(), inline) {
            // Together, so that a value that begins with a dash is one.
            (Some(long), inline) if own.get_action().takes_values() => match inline.or_else(|| rest.next()) {
                Some(value) => self.words.push(joined(&format!("--{long}"), &value)),
                None => self.words.push(word),
            },
            _ => self.words.push(word),
        }
        Ok(())
    }

    /// Whether the command has what the flag means.
    fn serves(&self, flag: &Flag) -> bool {
        match flag.answer {
            Answer::Is(long) => long == LIST_DEVICES || own(self.command, long).is_some(),
            _ => true,
        }
    }

    fn answer(&mut self, flag: &Flag, name: &str, values: &[OsString]) -> Result<(), String> {
        match flag.answer {
            Answer::Is(long) => {
                if !self.serves(flag) {
                    return Err(format!("{name} has no meaning for quipu {}", self.command.get_name()));
                }
                match values {
                    [] => self.words.push(long.into()),
                    [value] => self.words.push(joined(long, value)),
                    several => {
                        self.words.push(long.into());
                        self.words.extend(several.iter().cloned());
                    }
                }
            }
            Answer::Words(words) => self.words.extend(words.iter().map(OsString::from)),
            Answer::Unset(long) => self.words.retain(|word| word != long),
            Answer::Nothing(_) => {}
            Answer::Values(known) => {
                let value = values.first().map(OsString::as_os_str).unwrap_or_default();
                let Some((_, words)) = known.iter().find(|(known, _)| *known == value) else {
                    let known: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
                    let known = known.join(", ");
                    return Err(format!("{name} {}: expected one of: {known}", value.display()));
                };
                self.words.extend(words.iter().map(OsString::from));
            }
            Answer::Refused(why) => return Err(format!("{name} is not supported: {why}")),
        }
        Ok(())
    }
}

fn joined(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(name);
    word.push("=");
    word.push(value);
    word
}

/// The parser's own argument of this name, `--long` or `-s`.
fn own<'a>(command: &'a Command, name: &str) -> Option<&'a clap::Arg> {
    if let Some(long) = name.strip_prefix("--") {
        return command.get_arguments().find(|arg| {
            arg.get_long() == Some(long) || arg.get_all_aliases().unwrap_or_default().contains(&long)
        });
    }
    let mut letters = name.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    letters.next().is_none().then(|| own_short(command, letter))?
}

fn own_short(command: &Command, letter: char) -> Option<&clap::Arg> {
    command.get_arguments().find(|arg| arg.get_short() == Some(letter))
}

#[cfg(test)]
mod tests;
