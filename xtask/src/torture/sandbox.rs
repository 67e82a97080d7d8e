//! The folder that the program runs in: inputs of all kinds, and what became of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quipu_testing::SplitMix;

/// Files and what is in them; absent contents belong to what is no file. Names are relative to the sandbox.
pub(super) type Contents = BTreeMap<String, Option<Vec<u8>>>;

/// A file that is not as it was.
#[derive(Debug)]
pub(super) struct Change {
    pub name: String,
    /// What is there now, if it is there.
    #[allow(clippy::option_option)] // as [`Contents`] has it
    pub now: Option<Option<Vec<u8>>>,
    was_there: bool,
}

impl Change {
    /// Whether it is a file under way.
    pub(super) fn is_temporary(&self) -> bool {
        self.name.rsplit('/').next().is_some_and(|name| name.starts_with(".quipu-"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (&self.now, self.was_there) {
            (None, _) => "is gone",
            (_, false) => "appeared",
            (Some(_), true) => "changed",
        };
        write!(f, "{} {what}", self.name)
    }
}

/// The folder and what belongs into it.
#[derive(Debug)]
pub(super) struct Sandbox {
    root: PathBuf,
    contents: Contents,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A temporary folder that stays is a nuisance, no fault.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Names of inputs by what they are; line generation draws from these.
pub(super) const MODELS: [&str; 16] = [
    "m.gguf",
    "m.gguf",
    "m.gguf",
    "q.gguf",
    "q.gguf",
    "s-00001-of-00003.gguf",
    "s-00002-of-00003.gguf",
    "soft.gguf",
    "hard.gguf",
    "cut.gguf",
    "flipped.gguf",
    "flipped2.gguf",
    "missing.gguf",
    "folder",
    "pipe",
    "empty",
];
pub(super) const TEXTS: [&str; 10] = [
    "t.txt",
    "lines.txt",
    "t.txt",
    "p.txt",
    "a.json",
    "empty",
    "noise.bin",
    "missing.txt",
    "folder",
    "m.gguf",
];
pub(super) const IDS: [&str; 5] = ["ids.txt", "ids.txt", "p.txt", "noise.bin", "missing.txt"];
pub(super) const IMATRICES: [&str; 6] =
    ["i.gguf", "i.dat", "flipped.dat", "flipped-i.gguf", "noise.bin", "folder"];
pub(super) const GRAMMARS: [&str; 4] = ["g.gbnf", "noise.bin", "p.txt", "missing.txt"];
pub(super) const SCHEMAS: [&str; 4] = ["s.json", "messages.json", "noise.bin", "missing.txt"];
pub(super) const TEMPLATES: [&str; 4] = ["chat.jinja", "loop.jinja", "noise.bin", "missing.txt"];
pub(super) const MESSAGES: [&str; 4] = ["messages.json", "s.json", "noise.bin", "missing.txt"];
pub(super) const FOLDERS: [&str; 5] = ["hf", "hf-json", "hf-damaged", "folder", "missing.txt"];

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/stories-1m.gguf");

impl Sandbox {
    /// Makes the folder; `program` makes some of the inputs.
    pub(super) fn new(program: &Path) -> Result<Sandbox, String> {
        let root = std::env::temp_dir().join(format!("quipu-torture-{}", std::process::id()));
        let io = |error: std::io::Error| format!("{}: {error}", root.display());
        fs::create_dir(&root).map_err(io)?;
        let mut sandbox = Sandbox { root: root.clone(), contents: Contents::new() };
        // A user without rights runs some of the lines.
        #[cfg(unix)]
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).map_err(io)?;
        fs::copy(DEMO, root.join("m.gguf")).map_err(io)?;
        for (name, bytes) in texts() {
            fs::create_dir_all(root.join(name).parent().expect("a file lies in a folder")).map_err(io)?;
            fs::write(root.join(name), bytes).map_err(io)?;
        }
        fs::create_dir(root.join("folder")).map_err(io)?;
        for args in [
            &["quantize", "m.gguf", "q.gguf", "Q4_0"][..],
            &["split", "--max-tensors", "16", "m.gguf", "s"],
            &["imatrix", "-m", "m.gguf", "-f", "t.txt", "-c", "32", "--chunks", "2", "-o", "i.gguf"],
            &[
                "imatrix",
                "-m",
                "m.gguf",
                "-f",
                "t.txt",
                "-c",
                "32",
                "--chunks",
                "2",
                "-o",
                "i.dat",
                "--output-format",
                "dat",
            ],
        ] {
            let mut command = Command::new(program);
            command.args(args).current_dir(&root).stdout(Stdio::null()).stderr(Stdio::null());
            let status = command.status().map_err(|error| format!("{}: {error}", program.display()))?;
            if !status.success() {
                return Err(format!("quipu {}: {status}", args.join(" ")));
            }
        }
        fs::hard_link(root.join("m.gguf"), root.join("hard.gguf")).map_err(io)?;
        #[cfg(unix)]
        for (to, name) in [("m.gguf", "soft.gguf"), ("old.bin", "soft.out"), ("nowhere.out", "dangling.out")]
        {
            std::os::unix::fs::symlink(to, root.join(name)).map_err(io)?;
        }
        let pipe = Command::new("mkfifo").arg(root.join("pipe")).status().map_err(io)?;
        if !pipe.success() {
            return Err("mkfifo failed".to_owned());
        }
        sandbox.contents = read(&root)?;
        // Files that are damaged anew for each run begin as copies of whole ones.
        sandbox.damage(&mut SplitMix::new(0))?;
        sandbox.contents = read(&root)?;
        Ok(sandbox)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Damages what is to be damaged, in another way; what lies there now is how things are.
    pub(super) fn damage(&mut self, random: &mut SplitMix) -> Result<(), String> {
        for (from, to, flips) in [
            ("m.gguf", "cut.gguf", 0),
            ("m.gguf", "flipped.gguf", 4),
            ("q.gguf", "flipped2.gguf", 60),
            ("i.gguf", "flipped-i.gguf", 3),
            ("i.dat", "flipped.dat", 3),
            ("hf/config.json", "hf-damaged/config.json", 1),
            ("hf/model.safetensors", "hf-damaged/model.safetensors", 1),
            ("hf/tokenizer.model", "hf-damaged/tokenizer.model", 1),
            ("hf/README.md", "hf-damaged/README.md", 2),
        ] {
            let mut bytes = self.contents.get(from).cloned().flatten().ok_or(format!("{from} is missing"))?;
            let len = bytes.len() as u64;
            // The beginning of a file says most about it.
            let place = |random: &mut SplitMix| {
                let end = if random.below(2) == 0 { len.min(4096) } else { len };
                random.below(end) as usize
            };
            for _ in 0..random.below(flips + 1) {
                let at = place(random);
                bytes[at] ^= 1 << random.below(8);
            }
            if flips == 0 {
                bytes.truncate(place(random));
            }
            fs::create_dir_all(self.root.join(to).parent().expect("a file lies in a folder"))
                .map_err(|e| e.to_string())?;
            fs::write(self.root.join(to), &bytes).map_err(|error| format!("{to}: {error}"))?;
            self.contents.insert(to.to_owned(), Some(bytes));
        }
        Ok(())
    }

    /// What is not as it was.
    pub(super) fn changes(&self) -> Vec<Change> {
        let now = read(&self.root).unwrap_or_default();
        let mut changes = Vec::new();
        for (name, was) in &self.contents {
            if now.get(name) != Some(was) {
                changes.push(Change { name: name.clone(), now: now.get(name).cloned(), was_there: true });
            }
        }
        for (name, is) in now {
            if !self.contents.contains_key(&name) {
                changes.push(Change { name, now: Some(is), was_there: false });
            }
        }
        changes
    }

    /// Puts everything back, and says what was put back.
    pub(super) fn restore(&self) -> Result<Contents, String> {
        let mut found = Contents::new();
        for change in self.changes() {
            let path = self.root.join(&change.name);
            let io = |error: std::io::Error| format!("{}: {error}", path.display());
            match self.contents.get(&change.name) {
                None if path.is_dir() => fs::remove_dir_all(&path).map_err(io)?,
                None => fs::remove_file(&path).map_err(io)?,
                Some(Some(bytes)) => fs::write(&path, bytes).map_err(io)?,
                Some(None) => return Err(format!("{} cannot be put back", path.display())),
            }
            if let Some(now) = change.now {
                found.insert(change.name, now);
            }
        }
        Ok(found)
    }
}

/// Everything in a folder and the folders in it.
fn read(root: &Path) -> Result<Contents, String> {
    let mut contents = Contents::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))? {
            let entry = entry.map_err(|error| error.to_string())?;
            let name = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| error.to_string())?;
            if kind.is_dir() {
                folders.push(name.clone());
            }
            let mut bytes = Vec::new();
            let whole = kind.is_file()
                && fs::File::open(entry.path()).and_then(|mut file| file.read_to_end(&mut bytes)).is_ok();
            contents.insert(name.to_string_lossy().into_owned(), whole.then_some(bytes));
        }
    }
    Ok(contents)
}

/// Inputs that need no program to make them.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut random = SplitMix::new(7);
    let noise = (0..3000).map(|_| random.next_u64() as u8).collect();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
        "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 3}"#;
    let header = br#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 48]].concat();
    // The special tokens that the tokenizer's class adds come behind those of the file.
    let config_json = config.replace("\"vocab_size\": 3", "\"vocab_size\": 5");
    let header_json = br#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[5,4],"data_offsets":[0,80]}}"#;
    let weights_json = [&(header_json.len() as u64).to_le_bytes()[..], header_json, &[0; 80]].concat();
    let pieces = b"\x0a\x07\x0a\x05<unk>\x0a\x03\x0a\x01a\x0a\x03\x0a\x01b".to_vec();
    let tokenizer = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null, "truncation": null, "padding": null,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;
    vec![
        ("p.txt", text("Once upon a time")),
        ("t.txt", text(&"Once upon a time there was a fox. ".repeat(40))),
        ("lines.txt", text("One line.\n\nAnother line.\n   \nThe last one")),
        ("empty", Vec::new()),
        ("noise.bin", noise),
        ("ids.txt", text("1 2 3 4 5")),
        ("old.bin", text("old")),
        ("g.gbnf", text("root ::= \"Once\" [ a-z]+ | \"1\" root \"2\"")),
        (
            "s.json",
            text(r#"{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}"#),
        ),
        ("a.json", text(r#"{"a": 1}"#)),
        ("chat.jinja", text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")),
        ("loop.jinja", text("{% for a in range(10000000) %}{{ a }}{% endfor %}{{ 'x' * 1000000000 }}")),
        ("messages.json", text(r#"[{"role": "user", "content": "Hello"}]"#)),
        ("types.txt", text("attn_q=q8_0\nffn=q4_0\n")),
        ("hf/config.json", text(config)),
        ("hf/model.safetensors", weights),
        ("hf/tokenizer.model", pieces),
        ("hf/README.md", text("---\nlicense: mit\ntags: [a, &x b, *x]\nbase_model: {name: c}\n---\n")),
        ("hf-json/config.json", text(&config_json)),
        ("hf-json/model.safetensors", weights_json),
        ("hf-json/tokenizer.json", text(tokenizer)),
    ]
}
