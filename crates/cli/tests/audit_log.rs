//! `quipu audit-log`: exact, near tie or wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn quipu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).output().expect("it runs")
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/stories-1m.gguf")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code, stdout and stderr of an audit of these lines.
fn audit(lines: &[String], more: &[&str]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    std::fs::write(&log, lines.join("\n")).expect("writable");
    let demo = demo();
    let mut args =
        vec!["audit-log", log.to_str().expect("UTF-8"), "-m", demo.to_str().expect("UTF-8"), "-t", "1"];
    args.extend(more);
    let out = quipu(&args);
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// The lines of `--events` of a run.
fn events(more: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("events.jsonl");
    let log = log.to_str().expect("UTF-8");
    let mut args = vec!["run", "-p", "Once upon a time there was", "-n", "24", "-t", "1", "--events", log];
    args.extend(more);
    let out = quipu(&args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    std::fs::read_to_string(log).expect("events").lines().map(str::to_owned).collect()
}

fn transcript(events: &[String]) -> Value {
    let all = events.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut found: Vec<Value> = all.filter(|line| line["name"] == "transcript").collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn ids(words: &Value) -> Vec<u64> {
    words.as_str().expect("words").split_whitespace().map(|id| id.parse().expect("an id")).collect()
}

#[test]
fn what_was_generated_here_is_exact() {
    for more in [
        &["--seed", "3"][..],
        // A random seed is known to the log.
        &[],
        &["--temp", "0"],
        &["--seed", "4", "--mirostat", "2"],
        &["--seed", "5", "--xtc-probability", "0.5", "--xtc-threshold", "0.05", "--repeat-penalty", "1.2"],
        &["--seed", "6", "--grammar", "root ::= [a-z ,.]*", "--dry-multiplier", "0.8"],
        &["--seed", "7", "--ignore-eos", "-l", "300-inf", "--samplers", "min_p;temperature", "--temp", "1.3"],
    ] {
        let (code, stdout, stderr) = audit(&events(more), &[]);
        assert_eq!(code, Some(0), "{more:?}: {stdout}{stderr}");
        assert!(stdout.lines().count() == 1 && stdout.contains(": exact, "), "{stdout}");
    }
}

/// Ids of the reference itself (its recorded runs of the demo model by the default chain), in the form of its server's answers.
#[test]
fn what_the_reference_generated_is_exact_or_a_near_tie() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../parity/goldens/generation.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).expect("the golden")).expect("JSON");
    let mut lines = Vec::new();
    for case in golden["cases"].as_array().expect("cases") {
        let chain = case["chain"].as_str().expect("a chain");
        let Some(seed) = chain.strip_prefix("logit_bias 1 -inf 6 -inf ; penalties 64 1 0 0 ; dry 0 ") else {
            continue;
        };
        let seed: u32 = seed.rsplit(' ').next().and_then(|seed| seed.parse().ok()).expect("a seed");
        if case["model"] == "stories F16" {
            let bias = json!([{ "token": 1, "bias": null }, { "token": 6, "bias": null }]);
            lines.push(
                json!({
                    "prompt": ids(&case["prompt"]), "tokens": ids(&case["expected"]), "stop": true, "truncated": false,
                    "generation_settings": { "seed": seed, "temperature": 0.800_000_011_920_929, "logit_bias": bias },
                })
                .to_string(),
            );
        }
    }
    assert_eq!(lines.len(), 12);
    let (code, stdout, stderr) = audit(&lines, &[]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.matches(": exact, 256 ids").count() >= 6, "{stdout}");
}

#[test]
fn an_id_that_was_changed_is_wrong() {
    let events = events(&["--seed", "3"]);
    let mut event = transcript(&events);
    let mut tokens = ids(&event["tokens"]);
    tokens[9] = if tokens[9] == 500 { 501 } else { 500 };
    event["tokens"] = tokens.iter().map(u64::to_string).collect::<Vec<_>>().join(" ").into();
    let (code, stdout, stderr) = audit(&[event.to_string()], &[]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.starts_with("1: wrong at id 9 (50") && stdout.contains("tolerance"), "{stdout}");
    assert_eq!(stderr.trim(), "quipu: 1 of 1 generations are wrong");
}

/// The runner-up in place of the likeliest token, where the two are nearest: within a tolerance of their distance a near tie,
/// otherwise wrong, and the margin is that distance.
#[test]
fn the_margin_decides_between_a_near_tie_and_wrong() {
    let event = transcript(&events(&["--temp", "0", "--ignore-eos"]));
    let (prompt, tokens) = (ids(&event["prompt"]), ids(&event["tokens"]));
    let dir = tempfile::tempdir().expect("a folder");
    let (list, out) = (dir.path().join("ids"), dir.path().join("logits"));
    let all: Vec<String> = prompt.iter().chain(&tokens).map(u64::to_string).collect();
    std::fs::write(&list, all.join(" ")).expect("writable");
    let (list, out) = (list.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    let done = quipu(&["logits", "--tokens", list, "-o", out, "-t", "1"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let logits: Vec<f32> = std::fs::read(out)
        .expect("written")
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let rows: Vec<&[f32]> = logits.chunks(1024).skip(prompt.len() - 1).take(tokens.len()).collect();
    let ends = [1, 6];
    let (step, runner_up, gap) = rows
        .iter()
        .enumerate()
        .map(|(step, row)| {
            let mut order: Vec<usize> = (0..1024).filter(|id| !ends.contains(id)).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            (step, order[1], row[order[0]] - row[order[1]])
        })
        .min_by(|a, b| a.2.total_cmp(&b.2))
        .expect("a step");
    let mut changed = tokens[..step].to_vec();
    changed.push(runner_up as u64);
    let line = json!({
        "prompt": prompt, "tokens": changed, "temperature": 0,
        "logit_bias": [[1, false], [6, false]],
    })
    .to_string();
    let tolerance = |factor: f32| format!("{}", gap * factor);
    let (code, stdout, stderr) = audit(std::slice::from_ref(&line), &["--tolerance", &tolerance(1.1)]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with(&format!("1: near tie at id {step} ({runner_up} logged, ")), "{stdout}");
    let margin: f32 = stdout
        .split("margin ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .and_then(|number| number.parse().ok())
        .expect("a margin");
    assert!((margin / gap - 1.0).abs() < 0.1, "{margin} {gap}");
    let (code, stdout, _) = audit(&[line], &["--tolerance", &tolerance(0.8)]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.starts_with(&format!("1: wrong at id {step} ")), "{stdout}");
}

/// Refusals are told line by line and are exit code 2, unless something is wrong besides.
#[test]
fn what_cannot_be_replayed_is_refused() {
    let good = transcript(&events(&["--temp", "0"])).to_string();
    for (line, why) in [
        ("{\"prompt\": [1]}".to_owned(), "no tokens"),
        ("{\"prompt\": [1, 99999], \"tokens\": [5], \"seed\": 1}".to_owned(), "99999"),
        ("{\"prompt\": [], \"tokens\": [5], \"seed\": 1}".to_owned(), "no tokens"),
        (
            "{\"prompt\": [1], \"tokens\": [5], \"seed\": 1, \"repeat_penalty\": 0}".to_owned(),
            "penalty_repeat is 0",
        ),
        (
            "{\"prompt\": \"a\", \"tokens_evaluated\": 77, \"tokens\": [5], \"seed\": 1}".to_owned(),
            "expected 77 as logged",
        ),
        (events_of_a_shift(), "shifted"),
        ("nonsense".to_owned(), "not JSON"),
    ] {
        let (code, stdout, stderr) = audit(&[line.clone(), good.clone()], &[]);
        let first = stdout.lines().next().unwrap_or_default();
        assert_eq!(code, Some(2), "{line}: {stdout}{stderr}");
        assert!(first.starts_with("1: refused: ") && first.contains(why), "{line}: {first}");
        assert!(stdout.lines().nth(1).is_some_and(|line| line.starts_with("2: exact")), "{stdout}");
    }
    let wrong = "{\"prompt\": [0, 300], \"tokens\": [5, 5, 5], \"temperature\": 0}".to_owned();
    assert_eq!(audit(&["nonsense".to_owned(), wrong], &[]).0, Some(1));
    assert_eq!(audit(&[String::new()], &[]).0, Some(2));
    assert_eq!(audit(&[good], &["--tolerance", "nan"]).0, Some(2));
    assert_eq!(quipu(&["audit-log", "/nonexistent"]).status.code(), Some(1));
}

fn events_of_a_shift() -> String {
    let mut event = transcript(&events(&["--temp", "0"]));
    event["n_shifts"] = 1.into();
    event.to_string()
}
