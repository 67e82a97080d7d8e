//! Commands within a conversation: a message of one line that begins with a slash and a word.

use std::path::PathBuf;

/// What a person asks of the conversation instead of the model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Exit,
    Clear,
    /// The system text: a new one, or what it is.
    System(Option<String>),
    Regen,
    Save(PathBuf),
    Load(PathBuf),
    /// A file whose text goes in front of the next message.
    Read(PathBuf),
    Stats,
}

pub(crate) const HELP: &str = "\
/help            this
/exit            end; so does Ctrl-D
/clear           forget what was said, but not the system text
/system [TEXT]   set the text that sets the scene; without one: show it
/regen           answer the last message again
/save FILE       write the conversation to FILE, and what was computed of it to FILE.state
/load FILE       go on with a conversation that was saved
/read FILE       put a file's text in front of the next message
/stats           tokens, turns and speed so far
A line that ends with \\ goes on in the next one; what is pasted is one message. Ctrl-C stops an answer.
A message that begins with a slash is sent with a space before it.";

/// The command that a message is; `None` if it is a message, and otherwise why it is none.
pub(crate) fn parse(message: &str) -> Option<Result<Command, String>> {
    let rest = message.trim_end().strip_prefix('/').filter(|rest| !rest.contains('\n'))?;
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    // Paths and comments are messages.
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '?') {
        return None;
    }
    let argument = argument.trim();
    let file = |make: fn(PathBuf) -> Command| match argument {
        "" => Err(format!("/{name} needs the name of a file")),
        path => Ok(make(home(path))),
    };
    let command = match name {
        "help" | "?" => Command::Help,
        "exit" | "quit" | "bye" => Command::Exit,
        "clear" => Command::Clear,
        "regen" => Command::Regen,
        "stats" => Command::Stats,
        "system" => return Some(Ok(Command::System((!argument.is_empty()).then(|| argument.to_owned())))),
        "save" => return Some(file(Command::Save)),
        "load" => return Some(file(Command::Load)),
        "read" => return Some(file(Command::Read)),
        _ => return Some(Err(format!("there is no command /{name}; /help shows them"))),
    };
    Some(match argument {
        "" => Ok(command),
        _ => Err(format!("/{name} takes nothing behind it")),
    })
}

/// No shell has read it: `~/` is the person's folder.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_messages() {
        assert_eq!(parse("/help"), Some(Ok(Command::Help)));
        assert_eq!(parse("/exit \n"), Some(Ok(Command::Exit)));
        assert_eq!(
            parse("/system You are  brief."),
            Some(Ok(Command::System(Some("You are  brief.".into()))))
        );
        assert_eq!(parse("/system"), Some(Ok(Command::System(None))));
        assert_eq!(parse("/save a b.json"), Some(Ok(Command::Save("a b.json".into()))));
        for message in ["hello", " /help", "/etc/hosts", "/", "// a comment", "/help\nme", "/Ünder"] {
            assert_eq!(parse(message), None, "{message}");
        }
        for (line, why) in [
            ("/nonsense", "no command /nonsense"),
            ("/save", "needs the name of a file"),
            ("/clear all", "takes nothing"),
        ] {
            let error = parse(line).expect("a command").expect_err(line);
            assert!(error.contains(why), "{error}");
        }
    }
}
