//! The table against the reference's list, the parser and docs/flags.md.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::table::{self, Answer, Flag, Takes, Tool};
use super::{Line, normalise};
use crate::Cli;

/// By name as in the recorded list.
const PROGRAMS: [(&str, &str, Tool); 9] = [
    ("run", "llama-completion", Tool::Run),
    ("chat", "llama-cli", Tool::Chat),
    ("embed", "llama-embedding", Tool::Embed),
    ("perplexity", "llama-perplexity", Tool::Perplexity),
    ("imatrix", "llama-imatrix", Tool::Imatrix),
    ("tokenize", "llama-tokenize", Tool::Tokenize),
    ("bench", "llama-bench", Tool::Bench),
    ("quantize", "llama-quantize", Tool::Quantize),
    ("serve", "llama-server", Tool::Serve),
];

/// Values of every kind that a flag takes.
const VALUES: [&str; 27] = [
    "1", "0.5", "f16", "mean", "layer", "none", "mmap", "on", "off", "gguf", "md", "Q8_0", "a=int:1",
    "a=Q8_0", "top_k", "k", "7+1", "a=CPU", "{}", "yarn", "CPU", "-1", "exact", "0", "2", "auto", "0.1",
];

fn parser() -> Command {
    let mut parser = Cli::command();
    parser.build();
    parser
}

fn words(args: &[&str]) -> Result<Vec<OsString>, String> {
    with_variables(args, &[])
}

fn words_by(parser: &Command, args: &[&str]) -> Result<Vec<OsString>, String> {
    normalise(args.iter().map(OsString::from), parser, |_| None)
}

fn with_variables(args: &[&str], variables: &[(&str, &str)]) -> Result<Vec<OsString>, String> {
    let value =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    normalise(args.iter().map(OsString::from), &parser(), value)
}

/// What the words of `quipu` and these are.
#[track_caller]
fn assert_words(args: &[&str], expected: &[&str]) {
    let args = [&["quipu"], args].concat();
    let found = words(&args).expect("it makes sense");
    let expected: Vec<OsString> = ["quipu"].iter().chain(expected).map(OsString::from).collect();
    assert_eq!(found, expected);
}

#[test]
fn one_dash_and_several_letters() {
    assert_words(
        &["run", "-ctk", "q8_0", "-fa", "on", "-ub", "64"],
        &["run", "--cache-type-k=q8_0", "--flash-attn=on", "--ubatch-size=64"],
    );
    assert_words(&["bench", "-mmp", "0", "-ngl", "99"], &["bench", "--load-mode=none", "--n-gpu-layers=99"]);
    assert_words(&["chat", "-sys", "-cnv", "-cnv"], &["chat", "--system=-cnv"]);
    // A value behind its letter is the parser's.
    assert_words(&["run", "-n32", "-p", "-fa"], &["run", "-n32", "--prompt=-fa"]);
    for (line, why) in [
        (&["quipu", "run", "-hf", "a/b"][..], "-hf is not supported: nothing is downloaded"),
        (&["quipu", "run", "-xyz"], "unexpected argument '-xyz'"),
        (&["quipu", "run", "-ctk"], "-ctk needs a value"),
        (&["quipu", "run", "--mlock=1"], "--mlock takes no value, found '1'"),
        (&["quipu", "perplexity", "-sys", "x"], "unexpected argument '-sys'"),
        (&["quipu", "tokenize", "-c", "64"], "-c has no meaning for quipu tokenize"),
        (&["quipu", "imatrix", "-hf"], "-hf needs a value"),
    ] {
        let error = words(line).expect_err("a mistake");
        assert!(error.starts_with(why), "{error}");
    }
}

#[test]
fn flags_that_are_others_here() {
    assert_words(&["run", "--no-mmap", "--mlock"], &["run", "--load-mode=none", "--load-mode=mlock"]);
    assert_words(&["run", "--perf", "--no-perf", "-no-cnv"], &["run"]);
    assert_words(&["run", "--no_escape", "--n_predict", "3", "-e"], &["run", "--n-predict=3"]);
    assert_words(&["embed", "--embd-normalize", "-1"], &["embed", "--no-normalize"]);
    assert_words(&["logits", "-ngl", "1", "--", "-fa"], &["logits", "--n-gpu-layers=1", "--", "-fa"]);
    // What is not the reference's is left alone, and so are commands that are none of its programs.
    assert_words(&["run", "--stop", "-x", "--nonsense", "y"], &["run", "--stop=-x", "--nonsense", "y"]);
    assert_words(&["inspect", "-fa"], &["inspect", "-fa"]);
    assert_words(&["--version"], &["--version"]);
}

#[test]
fn the_server_has_flags_of_its_own() {
    assert_words(&["serve", "-np", "3", "-cb"], &["serve", "--parallel=3"]);
    assert_words(&["serve", "--embedding", "--webui-config=x"][..2], &["serve", "--embeddings"]);
    for name in ["LLAMA_ARG_N_PARALLEL", "LLAMA_ARG_PORT"] {
        let found = with_variables(&["quipu", "serve"], &[(name, "5")]).expect("a number");
        assert!(found[2].to_string_lossy().ends_with("=5"), "{found:?}");
    }
    let error = words(&["quipu", "serve", "-nocb"]).expect_err("refused");
    assert!(error.starts_with("-nocb is not supported"), "{error}");
}

#[test]
fn switches_of_the_environment_are_on_or_off() {
    for (value, expected) in [
        ("on", Some("--load-mode=mmap")),
        ("0", Some("--load-mode=none")),
        ("disabled", Some("--load-mode=none")),
    ] {
        let found = with_variables(&["quipu", "serve"], &[("LLAMA_ARG_MMAP", value)]).expect("a switch");
        assert_eq!(found.get(2).and_then(|word| word.to_str()), expected, "{value}");
    }
    for command in ["run", "serve"] {
        let error = with_variables(&["quipu", command], &[("LLAMA_ARG_MMAP", "maybe")]).expect_err("neither");
        assert_eq!(error, "LLAMA_ARG_MMAP maybe: expected on or off");
    }
}

#[test]
fn variables_count_less_than_the_command_line() {
    let found = with_variables(
        &["quipu", "run", "-t", "2"],
        &[
            ("LLAMA_ARG_THREADS", "4"),
            ("LLAMA_ARG_MLOCK", "0"),
            ("LLAMA_ARG_NO_MMAP", ""),
            ("LLAMA_ARG_CONTEXT_SHIFT", "on"),
            ("LLAMA_ARG_HF_REPO", "a/b"),
        ],
    );
    let expected = ["quipu", "run", "--threads=4", "--context-shift", "--load-mode=none", "--threads=2"];
    let mut found = found.expect("they make sense");
    found[2..5].sort();
    let mut expected = expected.map(OsString::from);
    expected[2..5].sort();
    assert_eq!(found, expected);
    let error =
        with_variables(&["quipu", "run"], &[("LLAMA_ARG_N_PARALLEL", "yes")]).expect_err("no value of it");
    assert!(error.contains("LLAMA_ARG_N_PARALLEL yes"), "{error}");
}

/// Recorded from the reference's own tables: nothing of them is missing here, and nothing here is not in them.
#[test]
fn the_table_is_the_references_list() {
    let recorded = include_str!("../../tests/goldens/reference-flags.txt");
    let mut recorded: Vec<&str> = recorded.lines().filter(|line| !line.starts_with('#')).collect();
    recorded.sort_unstable();
    let mut ours = Vec::new();
    for (program, _, tool) in PROGRAMS {
        for flag in table::all().filter(|flag| flag.is_of(tool)) {
            let (n, env) = (flag.takes.n_values(), flag.env.unwrap_or("-"));
            ours.extend(flag.names.iter().map(|name| format!("{program} {name} {n} {env}")));
        }
    }
    ours.sort_unstable();
    assert_eq!(ours, recorded);
}

/// Each flag with values of every kind: what is accepted the parser understands, what is refused is refused by name.
#[test]
fn every_flag_has_a_meaning_or_is_refused_by_name() {
    let parser = parser();
    for (program, _, tool) in PROGRAMS {
        for flag in table::all().filter(|flag| flag.is_of(tool)) {
            let name = flag.names[0];
            let mut tried = VALUES.iter().map(|value| try_flag(&parser, program, name, flag.takes, value));
            if matches!(flag.answer, Answer::Refused(_)) || !serves(&parser, program, flag) {
                let first = tried.next().expect("a value");
                assert!(
                    first.as_ref().is_err_and(|why| why.starts_with(name)),
                    "{program} {name}: {first:?}"
                );
            } else {
                assert!(tried.any(|tried| tried.is_ok()), "{program} {name}");
            }
        }
    }
}

fn try_flag(parser: &Command, program: &str, name: &str, takes: Takes, value: &str) -> Result<(), String> {
    let needed: &[&str] = match program {
        "run" => &["-p", "x"],
        "perplexity" => &["-f", "x", "--kl-divergence-base", "y"],
        _ => &[],
    };
    let mut line = [&["quipu", program], needed, &[name]].concat();
    line.extend(std::iter::repeat_n(value, takes.n_values()));
    if program == "quantize" {
        line.extend(["in.gguf", "Q8_0"]);
    }
    let words = words_by(parser, &line)?;
    if words.iter().any(|word| word == super::LIST_DEVICES) {
        return Ok(());
    }
    match parser.clone().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        // Help and version.
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn serves(parser: &Command, program: &str, flag: &Flag) -> bool {
    let command = parser.find_subcommand(program).expect("a command");
    let line = Line { tool: Tool::of(command).expect("a program"), command, words: Vec::new() };
    line.serves(flag)
}

/// Run with `UPDATE_SNAPSHOTS=1` to write it.
#[test]
fn the_docs_have_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flags.md");
    let text = page();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &text).expect("writable");
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "UPDATE_SNAPSHOTS=1 writes it");
}

fn page() -> String {
    let parser = parser();
    let mut text = String::from(HEAD);
    text.push_str("\n| command | answers to |\n|---|---|\n");
    for (program, reference, _) in PROGRAMS {
        let _ = writeln!(text, "| `quipu {program}` | {reference} |");
    }
    text.push_str("\n| flag | values | variable | commands | here |\n|---|---:|---|---|---|\n");
    for flag in table::all() {
        let names: Vec<String> = flag.names.iter().map(|name| format!("`{name}`")).collect();
        let of = PROGRAMS.iter().filter(|(_, _, tool)| flag.is_of(*tool));
        let (served, other): (Vec<_>, Vec<_>) =
            of.partition(|(program, _, _)| serves(&parser, program, flag));
        let list = |programs: &[&(&str, &str, Tool)]| -> String {
            programs.iter().map(|(program, _, _)| *program).collect::<Vec<_>>().join(", ")
        };
        let refused = if other.is_empty() {
            String::new()
        } else {
            format!("; no meaning, and refused, in {}", list(&other))
        };
        let env = flag.env.map_or(String::new(), |env| format!("`{env}`"));
        let (names, n) = (names.join(" "), flag.takes.n_values());
        let _ =
            writeln!(text, "| {names} | {n} | {env} | {} | {}{refused} |", list(&served), told(&flag.answer));
    }
    text
}

fn told(answer: &Answer) -> String {
    let quoted = |words: &[&str]| {
        words.iter().map(|word| format!("`{}`", word.replace('|', "\\|"))).collect::<Vec<_>>().join(" ")
    };
    match answer {
        Answer::Is(long) => format!("`{long}`"),
        Answer::Words(words) => quoted(words),
        Answer::Unset(long) => format!("takes `{long}` back"),
        Answer::Nothing(why) => format!("changes nothing: {why}"),
        Answer::Values(known) => {
            let (silent, spoken): (Vec<_>, Vec<_>) = known.iter().partition(|(_, words)| words.is_empty());
            let mut parts: Vec<String> =
                spoken.iter().map(|(value, words)| format!("`{value}`: {}", quoted(words))).collect();
            if !silent.is_empty() {
                let silent: Vec<&str> = silent.iter().map(|(value, _)| *value).collect();
                parts.push(format!("{} change nothing", quoted(&silent)));
            }
            format!("{}; other values are refused", parts.join(", "))
        }
        Answer::Refused(why) => format!("refused: {why}"),
    }
}

const HEAD: &str = "# Flags\n
Every flag of llama.cpp's programs, and what becomes of it here: it is a flag of the command (`quipu COMMAND --help` says more), it changes nothing, or it is
refused by name. This page is generated from the table (`crates/cli/src/flags`), and a test compares the table with the list of the reference's flags.

- Names may have several letters behind one dash, and `_` for `-` in long ones. A value is what follows, whatever it begins with.
- Of a flag that is given several times the last counts, except for those that add up (`--override-kv`, `--override-tensor`, `--logit-bias`,
  `--dry-sequence-breaker`, `--stop`, `--in-file`, `--tensor-type`, lists of `bench`).
- A `LLAMA_ARG_*` variable counts as its flag in front of all others; switches are on for `1`, `on`, `true` and `enabled`, and `LLAMA_ARG_NO_*` switches off. Variables of flags
  that are refused are not looked at.
- `\\n`, `\\t`, `\\\\` and the like are what they mean in `-p`, unless `--no-escape` is given. A text of `-f` stands as it is, but for one line break at its end; the
  reference reads its escapes too. `-f -` reads stdin.
- `--list-devices` shows the devices, in every command and without one.
";
