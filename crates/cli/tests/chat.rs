//! `quipu chat` on a terminal: keys, pastes, interrupts, history, and conversations in files.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }} {% endfor %}";
/// Shown when the editor wants a line: pastes are to be marked.
const READY: &str = "\x1b[?2004h";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was shown so far, and whether that was all.
#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    is_over: bool,
}

/// A person at a terminal.
struct Terminal {
    keys: File,
    child: Child,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    /// What of it was looked at.
    seen: usize,
}

impl Terminal {
    /// `quipu chat` in a folder, which is also where it remembers lines.
    fn chat(dir: &Path, args: &[&str]) -> Terminal {
        Terminal::with(dir, args, &[])
    }

    fn with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a terminal");
        let end = || pty.slave.try_clone().expect("a copy");
        // The terminal is to be its own, so that Ctrl-C means it.
        let mut command = Command::new(if ignores_signals() { "env" } else { "setsid" });
        if ignores_signals() {
            command.args(["--default-signal", "setsid"]);
        }
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_quipu"), "chat", "--chat-template", TEMPLATE]);
        command.args(args).current_dir(dir).stdin(end()).stdout(end()).stderr(end());
        command.env("XDG_STATE_HOME", dir).env("TERM", "xterm").env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        let child = command.spawn().expect("setsid runs");
        drop(command);
        drop(pty.slave);
        let keys = File::from(pty.master);
        let mut screen = keys.try_clone().expect("a copy");
        let shown: Arc<(Mutex<Shown>, Condvar)> = Arc::default();
        let to = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                // At its end a terminal is an error.
                let n = screen.read(&mut bytes).unwrap_or(0);
                let mut shown = to.0.lock().expect("no panic");
                shown.bytes.extend_from_slice(&bytes[..n]);
                shown.is_over = n == 0;
                to.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Terminal { keys, child, shown, seen: 0 }
    }

    fn press(&mut self, keys: impl AsRef<[u8]>) {
        self.keys.write_all(keys.as_ref()).expect("somebody reads");
    }

    /// Waits until `text` is shown, and gives what was shown before it and was not looked at yet.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut shown = self.shown.0.lock().expect("no panic");
        loop {
            let new = String::from_utf8_lossy(&shown.bytes[self.seen..]).into_owned();
            if let Some(at) = shown.bytes[self.seen..].windows(text.len()).position(|w| w == text.as_bytes())
            {
                let before = String::from_utf8_lossy(&shown.bytes[self.seen..self.seen + at]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!shown.is_over && !left.is_zero(), "waiting for {text:?}, shown was {new:?}");
            shown = self.shown.1.wait_timeout(shown, left).expect("no panic").0;
        }
    }

    /// Says a line once one is asked for, and gives what is shown up to the next question.
    #[track_caller]
    fn say(&mut self, line: &str) -> String {
        self.press(format!("{line}\r"));
        self.expect(READY)
    }

    /// Waits for its end, which is a good one.
    #[track_caller]
    fn ends(mut self) -> String {
        let end = Instant::now() + PATIENCE;
        let mut shown = self.shown.0.lock().expect("no panic");
        while !shown.is_over {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it goes on: {}", String::from_utf8_lossy(&shown.bytes));
            shown = self.shown.1.wait_timeout(shown, left).expect("no panic").0;
        }
        let text = String::from_utf8_lossy(&shown.bytes).into_owned();
        drop(shown);
        let status = self.child.wait().expect("it ran");
        assert!(status.success(), "{status:?}: {text}");
        text
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether whoever started the tests had signals ignored (a shell does that to what it puts in the background): a person at a terminal has not.
fn ignores_signals() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a number");
    [2, 15].into_iter().any(|signal| mask >> (signal - 1) & 1 == 1)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Answers that are always the same.
const YES: [&str; 2] = ["--grammar", "root ::= \"yes.\""];

/// The messages of a conversation that was saved, and its answers.
fn turns(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).expect("it was saved");
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let text = |turn: &serde_json::Value, key: &str| turn[key].as_str().expect("a text").to_owned();
    let turns = all["turns"].as_array().expect("a list");
    turns.iter().map(|turn| (text(turn, "user"), text(turn, "assistant"))).collect()
}

#[test]
fn thirty_turns_beyond_the_context() {
    let dir = folder();
    let mut chat = Terminal::chat(dir.path(), &[&["-c", "256", "--system", "Be brief."][..], &YES].concat());
    chat.expect(READY);
    let mut n_forgotten = 0;
    for i in 0..30 {
        let shown = chat.say(&format!("{i}: once upon a time there was a little fox in a big dark wood."));
        assert!(shown.contains("yes."), "{shown}");
        n_forgotten += usize::from(shown.contains("turns were forgotten"));
        match i {
            // What is too long, what is no text, and nothing at all: the chat goes on.
            10 => {
                let shown = chat.say(&"once upon a time ".repeat(100));
                assert!(shown.contains("the message was not taken: the prompt has"), "{shown}");
            }
            15 => {
                chat.press(b"ab\xffcd\r");
                let shown = chat.expect("not UTF-8");
                assert!(!shown.contains("yes."), "{shown}");
                chat.expect(READY);
            }
            20 => assert!(!chat.say("   ").contains("yes."), "nothing was said"),
            _ => {}
        }
    }
    assert!(n_forgotten >= 3, "{n_forgotten}");
    let stats = chat.say("/stats");
    assert!(stats.contains("of 256 tokens of the context"), "{stats}");
    assert!(chat.say("/system").contains("Be brief."));
    chat.press(CTRL_D);
    chat.ends();
}

#[test]
fn a_paste_is_one_message() {
    let dir = folder();
    // Of what was said, the model sees the beginning: to compute it all takes its time.
    let template = "{% for m in messages %}{{ m.content[:1200] }} {% endfor %}";
    let args = ["-c", "1024", "--chat-template", template];
    let mut chat = Terminal::chat(dir.path(), &[&args[..], &YES].concat());
    chat.expect(READY);
    let text =
        format!("{}\n", "once upon a time there was a fox in the dark old wood\t\"so\".\n".repeat(170));
    assert!(text.len() > 10_000);
    // Enter within a paste is what terminals make of line breaks.
    chat.press(format!("\x1b[200~{}\x1b[201~", text.replace('\n', "\r")));
    chat.press("\r");
    chat.expect("prompt: 0 of ");
    chat.expect("yes.");
    chat.expect(READY);
    chat.say("/save talk.json");
    assert_eq!(turns(&dir.path().join("talk.json")), [(text.trim_end().to_owned(), "yes.".to_owned())]);
    chat.say("/clear");
    // A line beyond what a terminal takes by itself, and one that goes on.
    let line = "a word ".repeat(700);
    chat.say(&line);
    chat.press("first\\\r");
    chat.expect(READY);
    assert!(chat.say("second").contains("yes."));
    chat.say("/save talk.json");
    let said = [line, "first\nsecond".to_owned()].map(|line| (line, "yes.".to_owned()));
    assert_eq!(turns(&dir.path().join("talk.json")), said);
    chat.press("/exit\r");
    chat.ends();
}

#[test]
fn an_interrupt_stops_the_answer_alone() {
    let dir = folder();
    let endless = ["-c", "256", "--context-shift", "--ignore-eos", "--system", "Once upon a time"];
    let mut chat = Terminal::chat(dir.path(), &endless);
    chat.expect(READY);
    for i in 1..=3 {
        chat.press("there was a fox\r");
        // It is talking when it is stopped.
        chat.expect("\r\n");
        let n = chat.shown.0.lock().expect("no panic").bytes.len();
        while chat.shown.0.lock().expect("no panic").bytes.len() < n + 100 {
            std::thread::sleep(Duration::from_millis(5));
        }
        chat.press(CTRL_C);
        chat.expect(READY);
        let stats = chat.say("/stats");
        assert!(stats.contains(&format!("{i} turns")), "{stats}");
    }
    // Where nothing is answered it drops the line, and says how to end.
    chat.press("dropped");
    chat.press(CTRL_C);
    chat.expect("ends the conversation");
    chat.expect(READY);
    assert!(chat.say("/stats").contains("3 turns"));
    chat.press(CTRL_C);
    chat.expect(READY);
    chat.press(CTRL_C);
    chat.ends();
}

#[test]
fn lines_are_remembered_and_edited() {
    use std::os::unix::fs::PermissionsExt;

    let dir = folder();
    let mut chat = Terminal::chat(dir.path(), &YES);
    chat.expect(READY);
    chat.say("the first");
    chat.say("the second");
    chat.press(CTRL_D);
    chat.ends();
    let history = dir.path().join("quipu/chat-history");
    assert_eq!(fs::metadata(&history).expect("written").permissions().mode() & 0o777, 0o600);
    let mut chat = Terminal::chat(dir.path(), &YES);
    chat.expect(READY);
    // Two lines up, one to the left, and a word in between.
    chat.press(format!("{UP}{UP}"));
    chat.expect("the first");
    chat.press("\x1b[D\x1b[DX");
    chat.say("");
    chat.say("/save talk.json");
    assert_eq!(turns(&dir.path().join("talk.json"))[0].0, "the firXst");
    chat.press(CTRL_D);
    chat.ends();
}

#[test]
fn conversations_are_saved_and_go_on() {
    let dir = folder();
    let args = ["-c", "256", "-n", "12", "--seed", "1", "--ignore-eos", "--system", "A story."];
    let mut chat = Terminal::chat(dir.path(), &args);
    chat.expect(READY);
    chat.say("Once upon a time");
    chat.say("Then the fox");
    assert!(chat.say("/save talk.json").contains("talk.json: 2 turns"));
    let saved = turns(&dir.path().join("talk.json"));
    // Another answer in the place of the last.
    chat.say("/regen");
    chat.say("/save other.json");
    let other = turns(&dir.path().join("other.json"));
    assert_eq!((other.len(), &other[0], &other[1].0), (2, &saved[0], &saved[1].0));
    assert_ne!(other[1].1, saved[1].1);
    assert!(chat.say("/clear").contains("forgotten"));
    assert!(chat.say("/regen").contains("no answer yet"));
    // What is not whole is refused, and nothing changes.
    let whole = fs::read(dir.path().join("talk.json")).expect("there");
    fs::write(dir.path().join("cut.json"), &whole[..whole.len() / 2]).expect("writable");
    assert!(chat.say("/load cut.json").contains("is the file whole?"));
    let state = fs::read(dir.path().join("talk.json.state")).expect("there");
    fs::write(dir.path().join("short.json"), &whole).expect("writable");
    fs::write(dir.path().join("short.json.state"), &state[..state.len() - 100]).expect("writable");
    let shown = chat.say("/load short.json");
    assert!(shown.contains("short.json.state:") && !shown.contains("turns"), "{shown}");
    assert!(chat.say("/load none.json").contains("none.json: No such file"));
    assert!(chat.say("/stats").contains("0 turns"));
    assert!(chat.say("/nonsense").contains("no command /nonsense"));
    chat.press(CTRL_D);
    chat.ends();
    // The next run goes on where it was saved, with the same answer as if there had been no break.
    let next = |name: &str| {
        let mut chat = Terminal::chat(dir.path(), &args);
        chat.expect(READY);
        let shown = chat.say(&format!("/load {name}"));
        assert!(shown.contains("2 turns"), "{shown}");
        assert_eq!(shown.contains("computed again"), name != "talk.json", "{shown}");
        assert_eq!(chat.say("/stats").contains("0 of 256 tokens"), name != "talk.json");
        chat.say("And the end");
        chat.say("/save next.json");
        chat.press(CTRL_D);
        chat.ends();
        turns(&dir.path().join("next.json"))
    };
    fs::copy(dir.path().join("talk.json"), dir.path().join("alone.json")).expect("copied");
    let after = next("talk.json");
    assert_eq!((after.len(), &after[..2]), (3, &saved[..]));
    assert_eq!(next("alone.json"), after);
    // An input is never written over.
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf"), dir.path().join("m.gguf"))
        .expect("the demo model");
    let mut chat = Terminal::chat(dir.path(), &["-m", "m.gguf"]);
    chat.expect(READY);
    assert!(chat.say("/save m.gguf").contains("m.gguf"));
    assert!(fs::read(dir.path().join("m.gguf")).expect("there").starts_with(b"GGUF"));
    chat.press(CTRL_D);
    chat.ends();
}

#[test]
fn thoughts_are_dimmed_and_kept_apart() {
    let dir = folder();
    let grammar = ["--grammar", "root ::= \"<think>hm</think>yes.\""];
    for (variables, dims) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut chat = Terminal::with(dir.path(), &grammar, variables);
        chat.expect(READY);
        let shown = chat.say("Well?");
        assert_eq!(shown.contains("\x1b[2m"), dims, "{shown:?}");
        let plain = shown.replace("\x1b[2m", "").replace("\x1b[0m", "");
        assert!(plain.contains("<think>hm</think>yes."), "{plain:?}");
        chat.say("/save talk.json");
        let text = fs::read_to_string(dir.path().join("talk.json")).expect("saved");
        assert!(text.contains(r#""assistant": "yes.""#) && text.contains(r#""reasoning": "hm""#), "{text}");
        chat.press(CTRL_D);
        chat.ends();
    }
    // A template that opens thoughts, and none allowed.
    let opens = format!("{TEMPLATE}<think>");
    let args = ["--chat-template", &opens, "--reasoning-budget", "0", "-n", "12", "--color", "off"];
    let mut chat = Terminal::chat(dir.path(), &args);
    chat.expect(READY);
    let shown = chat.say("Well?");
    let answer = shown.rsplit("Well?").next().unwrap_or_default();
    assert!(answer.trim_start_matches(|c: char| c != '<').starts_with("</think>"), "{shown:?}");
    chat.press(CTRL_D);
    chat.ends();
}

/// Who is ended by a signal leaves the terminal as it was.
#[test]
fn a_signal_gives_the_terminal_back() {
    use nix::sys::termios::{LocalFlags, tcgetattr};

    let dir = folder();
    let mut chat = Terminal::chat(dir.path(), &YES);
    let is_cooked = |chat: &Terminal| {
        let flags = tcgetattr(&chat.keys).expect("a terminal").local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    };
    chat.expect(READY);
    assert!(!is_cooked(&chat), "the editor reads keys");
    let id = chat.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    assert!(!chat.child.wait().expect("it ran").success());
    assert!(is_cooked(&chat));
}

#[test]
fn terminals_without_a_cursor_are_read_line_by_line() {
    let dir = folder();
    let mut chat = Terminal::with(dir.path(), &YES, &[("TERM", "dumb")]);
    chat.expect("> ");
    chat.press("hello\n");
    chat.expect("yes.");
    chat.expect("> ");
    chat.press("/exit\n");
    let shown = chat.ends();
    assert!(!shown.contains(READY), "{shown:?}");
}
