//! `quipu eval` on the demo model.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn quipu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(dir: &Path, name: &str, lines: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, lines).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

const PROMPT: &str = "Once upon a time";

/// What the demo model says, likeliest tokens only.
fn said(n: &str) -> String {
    let out = quipu(&["run", "-p", PROMPT, "--temp", "0", "-n", n, "-t", "1"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout).trim_start_matches(PROMPT).trim().to_owned()
}

#[test]
fn answers_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let story = said("12");
    let word = story.split_whitespace().nth(2).expect("several words");
    let file = write(
        dir.path(),
        "questions.jsonl",
        &format!(
            "{{\"prompt\": \"{PROMPT}\", \"answer\": \"{word}\"}}\n\
             {{\"prompt\": \"{PROMPT}\", \"answer\": [\"zzz\", {}]}}\n\n\
             {{\"question\": \"{PROMPT}\", \"answer\": {{\"aliases\": [\"zzz\", \"yyy\"]}}}}\n",
            Value::from(story.as_str())
        ),
    );
    let out = quipu(&["eval", &file, "-n", "12", "-t", "1"]);
    let stdout = text(&out.stdout);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{stdout}");
    assert!(lines[0].starts_with("1: right, ") && lines[0].ends_with(&story), "{stdout}");
    assert!(lines[1].starts_with("2: right, ") && lines[2].starts_with("4: wrong, "), "{stdout}");
    assert_eq!(lines[3], "2 of 3 right, accuracy 66.67 %");

    // The whole answer is one of them once; two of three are not enough.
    let out =
        quipu(&["eval", &file, "-n", "12", "-t", "1", "--match", "exact", "--json", "--min-accuracy", "0.5"]);
    assert_eq!(out.status.code(), Some(1));
    let objects: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let right: Vec<&Value> = objects.iter().map(|object| &object["right"]).collect();
    assert_eq!(right, [&Value::from(false), &Value::from(true), &Value::from(false), &Value::from(1)]);
    assert_eq!((&objects[3]["questions"], &objects[3]["n_generated"]), (&Value::from(3), &Value::from(36)));
    assert!(objects[3]["eval_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(text(&out.stderr).contains("0.3333 of the answers are right, expected at least 0.5"));

    let out = quipu(&["eval", &file, "-n", "12", "-t", "1", "--max-questions", "1", "--min-accuracy", "1"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn questions_go_through_a_template() {
    let dir = tempfile::tempdir().expect("a folder");
    let story = said("6");
    let answer = Value::from(story.as_str());
    let file =
        write(dir.path(), "q.jsonl", &format!("{{\"prompt\": \"upon a time\", \"answer\": {answer}}}\n"));
    let template = "{{ 'Once ' + messages[0].content }}";
    let out = quipu(&[
        "eval",
        &file,
        "-n",
        "6",
        "-t",
        "1",
        "--chat",
        "--chat-template",
        template,
        "--match",
        "exact",
    ]);
    assert!(
        text(&out.stdout).ends_with("1 of 1 right, accuracy 100.00 %\n"),
        "{}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
}

#[test]
fn what_is_no_question_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    for (lines, why) in
        [("", "no questions"), ("{\"prompt\": \"a\"}", "line 1: no answer"), ("x", "not JSON")]
    {
        let file = write(dir.path(), "bad.jsonl", lines);
        let out = quipu(&["eval", &file]);
        assert_eq!(out.status.code(), Some(1));
        let stderr = text(&out.stderr);
        assert!(stderr.contains(why) && stderr.lines().count() == 1, "{stderr}");
    }
    let out = quipu(&["eval", "x", "--min-accuracy", "1.5"]);
    assert!(!out.status.success());
}
