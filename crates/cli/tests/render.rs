//! `quipu render`, and the template options of `quipu chat`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use quipu::gguf::{GgufFile, GgufWriter, Value};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("writable");
        path.to_str().expect("UTF-8").to_owned()
    }
}

fn quipu(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A command that refuses its arguments may be gone before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the child ends")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    text.trim_end().to_owned()
}

const MESSAGES: &str = r#"[{"role": "user", "content": "Hi é"}, {"role": "assistant", "content": null}]"#;

#[test]
fn the_prompt_and_nothing_else() {
    let folder = Folder::new();
    let messages = folder.file("messages.json", MESSAGES);
    let template = folder.file("t.jinja", "{{ bos_token }}{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}{{ add_generation_prompt }}{{ tools is defined }}{{ x }}\n\n");
    let render = |more: &[&str]| {
        let mut args = vec!["render", "--chat-template-file", &template, "--messages", &messages];
        args.extend(more);
        text(&quipu(&args, ""))
    };
    // The embedded model's BOS.
    assert_eq!(render(&[]), "<s>user=Hi é;assistant=None;TrueFalse\n");
    assert_eq!(
        render(&["--no-generation-prompt", "--kwargs", r#"{"x": [1, "a"]}"#]),
        "<s>user=Hi é;assistant=None;FalseFalse[1, 'a']\n"
    );
    assert_eq!(
        render(&["--chat-template-kwargs", r#"{"bos_token": "!", "x": 1}"#, "--jinja"]),
        "!user=Hi é;assistant=None;TrueFalse1\n"
    );
    let tools = folder.file("tools.json", "[{}]");
    assert_eq!(render(&["--tools", &tools]), "<s>user=Hi é;assistant=None;TrueTrue\n");
    let chatml = [
        "render",
        "--chat-template",
        "chatml",
        "--messages",
        &folder.file("one.json", r#"[{"role": "user", "content": "a"}]"#),
    ];
    assert_eq!(text(&quipu(&chatml, "")), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn mistakes_are_one_line() {
    let folder = Folder::new();
    let messages = folder.file("messages.json", MESSAGES);
    let bad_json = folder.file("bad.json", "[{]");
    let object = folder.file("object.json", "{}");
    let render = |args: &[&str]| refusal(&quipu(&[&["render"], args].concat(), ""));
    assert!(render(&["--messages", &bad_json]).contains("bad.json"));
    assert!(render(&["--messages", &object]).contains("expected a JSON list"));
    assert!(render(&["--messages", "/no/such/file"]).contains("/no/such/file"));
    assert!(
        render(&["--messages", &messages, "--kwargs", "[1]"]).contains("--kwargs: expected a JSON object")
    );
    assert!(
        render(&["--messages", &messages, "--chat-template-kwargs", "x"]).contains("--chat-template-kwargs")
    );
    assert!(render(&["--messages", &messages, "--tools", &bad_json]).contains("bad.json"));
    assert!(render(&["--messages", &messages, "--chat-template", "\n{% if %}"]).contains("line 2"));
    assert!(
        render(&["--messages", &messages, "--chat-template", "{{ raise_exception('a\nb') }}"])
            .contains("refuses these messages: a b")
    );
    assert!(
        render(&["--messages", &messages, "--chat-template", "{{ 'a' * 99999999999 }}"])
            .contains("stopped after")
    );
    assert!(render(&["--messages", &messages, "-m", "/no/such/model"]).contains("/no/such/model"));
}

/// The demo model with other metadata.
fn model_with(folder: &Folder, entries: &[(&str, Value)]) -> String {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/stories-1m.gguf");
    let file = GgufFile::open(&demo).expect("the demo model");
    let mut writer = GgufWriter::from_gguf(file.gguf());
    writer.metadata.remove("tokenizer.chat_template");
    for (key, value) in entries {
        writer.metadata.set(key, value.clone());
    }
    let path = folder.0.path().join("model.gguf");
    let mut out = std::fs::File::create(&path).expect("writable");
    writer
        .write_to(&mut out, |i, sink| sink.write_all(&file.tensor_data(i).expect("readable")))
        .expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

fn string(text: &str) -> Value {
    Value::String(text.as_bytes().to_vec())
}

#[test]
fn named_templates_serve_tools_and_stand_in() {
    let folder = Folder::new();
    let messages = folder.file("messages.json", r#"[{"role": "user", "content": "a"}]"#);
    let tools = folder.file("tools.json", "[{}]");
    let both = model_with(
        &folder,
        &[
            ("tokenizer.chat_template", string("plain")),
            ("tokenizer.chat_template.tool_use", string("tools")),
        ],
    );
    let render = |more: &[&str]| quipu(&[&["render", "--messages", &messages][..], more].concat(), "");
    assert_eq!(text(&render(&["-m", &both])), "plain");
    assert_eq!(text(&render(&["-m", &both, "--tools", &tools])), "tools");
    let one = model_with(&folder, &[("tokenizer.chat_template.tool_use", string("only"))]);
    assert_eq!(text(&render(&["-m", &one])), "only");
    let none = model_with(&folder, &[]);
    assert!(text(&render(&["-m", &none])).starts_with("<|im_start|>user\na"));
}

#[test]
fn only_chat_cares_what_the_template_is() {
    let folder = Folder::new();
    for (value, says) in [
        (Value::U32(7), "tokenizer.chat_template is of the type u32, expected a string"),
        (Value::String(vec![0xff]), "tokenizer.chat_template is not UTF-8, expected a string"),
        (string("{% if %}"), "chat template, line 1"),
    ] {
        let model = model_with(&folder, &[("tokenizer.chat_template", value)]);
        text(&quipu(&["run", "-m", &model, "-p", "Once", "-n", "2"], ""));
        let said = refusal(&quipu(&["chat", "-m", &model], "hello\n"));
        assert!(said.contains(says), "{said}");
        // A template of one's own takes its place.
        let args = ["chat", "-m", &model, "--chat-template", "{{ messages[0].content }}", "-n", "2"];
        text(&quipu(&args, "Once\n"));
    }
}

#[test]
fn a_chat_has_bos_once_whether_the_template_writes_it_or_not() {
    let with =
        ["chat", "--temp", "0", "-n", "12", "--chat-template", "{{ bos_token }}{{ messages[0].content }}"];
    let without = ["chat", "--temp", "0", "-n", "12", "--chat-template", "{{ messages[0].content }}"];
    assert_eq!(text(&quipu(&with, "Once upon\n")), text(&quipu(&without, "Once upon\n")));
}

#[test]
fn chat_takes_variables() {
    let args = |kwargs: &'static str| {
        ["chat", "--temp", "0", "-n", "8", "--chat-template", "{{ start }}", "--chat-template-kwargs", kwargs]
    };
    let fox = text(&quipu(&args(r#"{"start": "The fox"}"#), "x\n"));
    let cat = text(&quipu(&args(r#"{"start": "A cat sat"}"#), "x\n"));
    assert_ne!(fox, cat);
    assert!(refusal(&quipu(&args("7"), "x\n")).contains("--chat-template-kwargs: expected a JSON object"));
}
