//! The sampling flags and `grammar-check` through the binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn quipu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(args)
        .env_remove("LLAMA_ARG_TOP_K")
        .output()
        .expect("it runs")
}

fn stdout(args: &[&str]) -> String {
    let output = quipu(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Asserts exit code 1 and nothing on stdout, and returns stderr.
fn failure(args: &[&str]) -> String {
    failure_with(1, args)
}

fn failure_with(code: i32, args: &[&str]) -> String {
    let output = quipu(args);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(output.stdout.is_empty() && !text.contains("panicked"), "{text}");
    text
}

/// What the demo model continues the beginning of a story with.
fn story(flags: &[&str]) -> String {
    let text = stdout(&[&["run", "-p", "Once upon a time", "-t", "1"], flags].concat());
    text.strip_prefix("Once upon a time").expect("the prompt").trim_end_matches('\n').to_owned()
}

fn written(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path: PathBuf = dir.join(name);
    std::fs::write(&path, text).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

fn sampling_help(command: &str) -> String {
    let help = stdout(&[command, "--help"]);
    help.split("\nSampling:\n").nth(1).expect("the heading").to_owned()
}

/// Run with `UPDATE_SNAPSHOTS=1` to accept new texts.
fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).expect("writable");
    }
    assert_eq!(text, std::fs::read_to_string(&path).expect("the snapshot"), "{name}");
}

#[test]
fn the_help_text() {
    let help = sampling_help("run");
    assert_eq!(help, sampling_help("chat"));
    compare("sampling-help.txt", &help);
}

/// Every flag of the reference, with its other names and its default.
#[test]
fn flags_and_defaults_are_the_references() {
    let table = include_str!("goldens/sampling-defaults.tsv");
    let help: String = sampling_help("run").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rows = 0;
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let (names, default) = row.split_once('\t').expect("two columns");
        rows += 1;
        let mut words = help.split([' ', ',', '[', ']']);
        for name in names.split(' ') {
            // A short flag of two letters is the long one's other name, see below.
            assert!(name == "-jf" || words.any(|word| word == name), "{name} of {names}");
        }
        if !default.is_empty() {
            let own = help.split(&format!("{} <", names.split(' ').next_back().expect("a name"))).nth(1);
            let own = own.or_else(|| {
                help.split(&format!("{} <", names.split(' ').find(|n| n.len() > 2).expect("long"))).nth(1)
            });
            let own = own.unwrap_or_else(|| panic!("{names}"));
            let given = own.split("[default: ").nth(1).expect("a default").split(']').next();
            assert_eq!(given, Some(default), "{names}");
        }
    }
    assert_eq!(rows, 33);
}

#[test]
fn mistakes_name_what_there_is() {
    let mut report = String::new();
    for flags in [
        ["--samplers", "top_k;best"],
        ["--sampler-seq", "kz"],
        ["--repeat-last-n", "-1"],
        ["--dry-penalty-last-n", "-1"],
        ["--repeat-penalty", "0"],
        ["--frequency-penalty", "nan"],
        ["--mirostat", "3"],
        ["--temp", "warm"],
        ["--top-p", "1e99"],
        ["--seed", "x"],
        ["-l", "15043"],
        ["--grammar", "root ::= \"a\" )"],
        ["--grammar", "root ::= root \"a\""],
        ["-j", "{\"type\": \"strange\"}"],
        ["-j", "{"],
        ["-jf", "/nonexistent.json"],
        ["--grammar-file", "/nonexistent.gbnf"],
    ] {
        let text = failure(&["run", "-p", "", flags[0], flags[1]]);
        let line = text.lines().next().expect("a line");
        writeln!(report, "{} {}: {line}", flags[0], flags[1]).expect("memory");
    }
    compare("sampling-mistakes.txt", &report);
    if cfg!(not(feature = "llguidance")) {
        let text = failure(&["run", "-p", "", "--grammar", "%llguidance {}\nstart: \"a\""]);
        assert!(text.contains("this build has no feature 'llguidance'"), "{text}");
    }
}

#[test]
fn flags_change_the_text() {
    let plain = story(&["-n", "24", "--seed", "5"]);
    assert_eq!(story(&["-n", "24", "-s", "5"]), plain);
    assert_eq!(
        story(&[
            "-n",
            "24",
            "-s",
            "5",
            "--samplers",
            "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"
        ]),
        plain
    );
    assert_eq!(story(&["-n", "24", "-s", "5", "--sampler-seq", "edskypmxt", "--temperature", "0.8"]), plain);
    let greedy = story(&["-n", "24", "--temp", "0"]);
    assert_eq!(story(&["-n", "24", "--top-k", "1"]), greedy);
    assert_eq!(story(&["-n", "24", "--sampler-seq", "kt", "--top-k", "1", "-s", "9"]), greedy);
    let dry = ["--dry-multiplier", "5", "--dry-allowed-length", "1", "--dry-sequence-breaker", "none"];
    let dry = story(&[&["-n", "120", "--temp", "0", "--dry-penalty-last-n", "120"], &dry[..]].concat());
    assert_ne!(dry, story(&["-n", "120", "--temp", "0"]));
    for flags in [
        &["--mirostat", "2", "-s", "5"][..],
        &["--temp", "0", "--repeat-penalty", "1.8"],
        &[
            "--dynatemp-range",
            "1.5",
            "--dynatemp-exp",
            "0",
            "--temp",
            "2",
            "--top-p",
            "1",
            "--top-k",
            "0",
            "--min-p",
            "0",
            "-s",
            "5",
        ],
        &["--xtc-probability", "1", "--xtc-threshold", "0.05", "-s", "5"],
        &["--sampler-seq", "a", "--adaptive-target", "0.3", "-s", "5"],
    ] {
        let text = story(&[&["-n", "24"], flags].concat());
        assert!(text != plain && text != greedy, "{flags:?}: {text}");
        assert_eq!(story(&[&["-n", "24"], flags].concat()), text, "{flags:?}");
    }
}

#[test]
fn texts_keep_to_grammar_and_schema() {
    let dir = tempfile::tempdir().expect("a folder");
    let grammar = "root ::= \" \" (\"cat\" | \"dog\") \"s\"? \".\"";
    let file = written(dir.path(), "animals.gbnf", grammar);
    for seed in ["1", "2", "3"] {
        let text = story(&["-n", "64", "-s", seed, "--grammar", grammar]);
        assert!([" cat.", " cats.", " dog.", " dogs."].contains(&text.as_str()), "{text}");
        assert_eq!(story(&["-n", "64", "-s", seed, "--grammar-file", &file]), text);
    }
    let schema = r#"{"type": "object", "properties": {"n": {"type": "integer", "minimum": 10, "maximum": 42},
        "kind": {"enum": ["cat", "dog"]}}, "required": ["n", "kind"], "additionalProperties": false}"#;
    let file = written(dir.path(), "schema.json", schema);
    for seed in ["4", "5", "6"] {
        let text = story(&["-n", "200", "-s", seed, "-j", schema]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!((10..=42).contains(&value["n"].as_i64().expect("a number")), "{text}");
        assert!(value["kind"] == "cat" || value["kind"] == "dog", "{text}");
        assert_eq!(story(&["-n", "200", "-s", seed, "-jf", &file]), text);
        assert_eq!(story(&["-n", "200", "-s", seed, "--json-schema-file", &file]), text);
    }
}

#[test]
fn a_models_own_sampling_counts_below_the_flags() {
    let dir = tempfile::tempdir().expect("a folder");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/stories-1m.gguf");
    let file = quipu::gguf::GgufFile::open(&demo).expect("the demo model");
    let mut writer = quipu::gguf::GgufWriter::from_gguf(file.gguf());
    writer.metadata.set("general.sampling.top_k", quipu::gguf::Value::I32(1));
    let path = dir.path().join("greedy.gguf");
    let mut out = std::fs::File::create(&path).expect("writable");
    writer
        .write_to(&mut out, |i, sink| sink.write_all(&file.tensor_data(i).expect("readable")))
        .expect("writable");
    let path = path.to_str().expect("UTF-8");
    let greedy = story(&["-n", "16", "--temp", "0"]);
    assert_eq!(story(&["-n", "16", "-m", path, "-s", "3", "--temp", "2"]), greedy);
    assert_ne!(story(&["-n", "16", "-m", path, "-s", "3", "--temp", "2", "--top-k", "40"]), greedy);
}

#[test]
fn grammar_check_says_valid_or_where() {
    let dir = tempfile::tempdir().expect("a folder");
    let grammar =
        written(dir.path(), "sums.gbnf", "root ::= (sum \"\\n\")+\nsum ::= [0-9é]+ (\"+\" [0-9]+)*");
    let check = |text: &str| {
        let file = written(dir.path(), "text", text);
        let output = quipu(&["grammar-check", &grammar, &file]);
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.success(), out == "valid\n", "{out}{err}");
        if output.status.success() {
            return String::from("valid");
        }
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""));
        err.trim_end().rsplit_once("/text: ").expect("the file").1.to_owned()
    };
    assert_eq!(check("1+2\n33\n"), "valid");
    assert_eq!(check("1+2"), "position 3 (line 1, column 4): unexpected end of the text");
    assert_eq!(check(""), "position 0 (line 1, column 1): unexpected end of the text");
    assert_eq!(check("éé+1\n2+x\n"), "position 7 (line 2, column 3): unexpected character 'x'");
    assert_eq!(check("1\n\n"), "position 2 (line 2, column 1): unexpected character '\\n'");
    let file = written(dir.path(), "text", "1+2");
    assert_eq!(stdout(&["grammar-check", "--root", "sum", &grammar, &file]), "valid\n");

    let refused = |args: &[&str]| failure_with(2, &[&["grammar-check"], args].concat());
    let missing = refused(&["--root", "total", &grammar, &file]);
    assert!(missing.contains("grammar rule 'total' is not defined"), "{missing}");
    let broken = written(dir.path(), "broken.gbnf", "root ::= \"a\"\nother ::= ]");
    assert!(refused(&[&broken, &file]).contains("line 2 column 11"));
    // A file that cannot be read is what it is in every command.
    for files in [["/nonexistent", &file], [&grammar, "/nonexistent"]] {
        let args = [&["grammar-check"], &files[..]].concat();
        assert!(failure(&args).contains("/nonexistent"));
    }
    assert!(refused(&[&grammar]).contains("expected a grammar and a file"));
    let latin1 = written(dir.path(), "latin1", b"1\xff");
    assert!(failure(&["grammar-check", &grammar, &latin1]).contains("byte 1 is not UTF-8"));
}

#[test]
fn grammar_check_takes_schemas() {
    let dir = tempfile::tempdir().expect("a folder");
    let schema = written(dir.path(), "schema.json", r#"{"type": "string", "pattern": "^\\d+$"}"#);
    let check = |schema: &str, text: &str, mode: &str| {
        let file = written(dir.path(), "text", text);
        let args = ["grammar-check", "--json-schema", schema, "--json-schema-mode", mode, &file];
        let output = quipu(&args);
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    assert_eq!(check(&schema, "\"12\"", "exact"), (Some(0), String::new()));
    let (code, text) = check(&schema, "\"1x\"", "exact");
    assert!(code == Some(1) && text.contains("position 2") && text.contains("'x'"), "{text}");
    // The reference's conversion lets the quotation mark through.
    let negated = written(dir.path(), "negated.json", r#"{"type": "string", "pattern": "^[^a]$"}"#);
    assert_eq!(check(&negated, "\"\"\"", "llama").0, Some(0));
    assert_eq!(check(&negated, "\"\"\"", "exact").0, Some(1));
    let (code, text) = check(&written(dir.path(), "none.json", "false"), "1", "exact");
    assert!(code == Some(1) && text.contains("no value satisfies"), "{text}");
    let unique = written(dir.path(), "unique.json", r#"{"properties": {"a": {"uniqueItems": true}}}"#);
    let (code, text) = check(&unique, "1", "exact");
    assert!(code == Some(2) && text.contains("#/properties/a: 'uniqueItems'"), "{text}");
    assert_eq!(check(&written(dir.path(), "broken.json", "{"), "1", "exact").0, Some(2));
}

#[test]
fn grammar_check_ends_on_grammars_that_do_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = written(dir.path(), "text", "a".repeat(2000));
    for grammar in [
        // Exponentially many readings.
        "root ::= x*\nx ::= y | y y\ny ::= z | z z\nz ::= \"a\" | \"a\" \"a\"",
        "root ::= s\ns ::= \"a\" s s | \"a\"",
        // Empty loops, and recursion on the left behind an empty rule.
        "root ::= (\"\" | root2)*\nroot2 ::= \"\"",
        "root ::= e root \"a\" | \"a\"\ne ::= \"\" | \"b\"",
        "root ::= ((((((\"a\"*)*)*)*)*)*)*",
    ] {
        let grammar = written(dir.path(), "grammar", grammar);
        let started = Instant::now();
        let output = quipu(&["grammar-check", &grammar, &text]);
        assert!(output.status.code().is_some_and(|code| code <= 2), "{:?}", output.status);
        assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    }
}
