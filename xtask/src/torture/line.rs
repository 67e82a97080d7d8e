//! Random command lines: every command, its flags, values that make sense and values that do not.

use std::fmt::{self, Write};

use quipu_testing::SplitMix;

use super::sandbox::{FOLDERS, GRAMMARS, IDS, IMATRICES, MESSAGES, MODELS, SCHEMAS, TEMPLATES, TEXTS};

/// A file that a command line may write.
#[derive(Clone, Debug)]
pub(super) struct Output {
    name: String,
    /// Every file whose name begins with that, but for its ".gguf" (`--keep-split`).
    is_prefix: bool,
    /// It has its name while it is written, or is written several times.
    pub is_log: bool,
}

impl Output {
    /// Whether a file of the sandbox is this output: by its name, or where the link of that name leads.
    pub(super) fn is(&self, file: &str) -> bool {
        let name = self.name.strip_suffix('/').unwrap_or(&self.name);
        let led_to = match name {
            "soft.out" => Some("old.bin"),
            "dangling.out" => Some("nowhere.out"),
            "soft.gguf" => Some("m.gguf"),
            _ => None,
        };
        let prefix = name.strip_suffix(".gguf").unwrap_or(name);
        file == name || led_to == Some(file) || (self.is_prefix && file.starts_with(prefix))
    }
}

/// A command line with what is fed to it and what it may write.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub command: &'static str,
    pub args: Vec<String>,
    pub stdin: Vec<u8>,
    pub outputs: Vec<Output>,
    /// As a shell would have it.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A line in the making.
struct Draft<'a> {
    random: &'a mut SplitMix,
    /// Only values that make sense, which are the first ones of each list.
    is_tame: bool,
    args: Vec<String>,
    outputs: Vec<Output>,
}

const WHOLE: [&str; 17] = [
    "64",
    "31",
    "16",
    "7",
    "3",
    "100",
    "2",
    "1",
    "0",
    "500",
    "100000",
    "-1",
    "2147483647",
    "4294967296",
    "18446744073709551615",
    "-9223372036854775808",
    "x",
];
/// For what takes time in proportion.
const FEW: [&str; 10] = ["0", "1", "2", "5", "9", "-1", "-2", "x", "", "1.5"];
const REAL: [&str; 13] =
    ["0", "1", "0.5", "0.95", "1.5", "1e-40", "-1", "1e38", "-1e300", "inf", "nan", "x", ""];
const WORDS: [&str; 8] = ["Once", "", "x", "é😀", "%s%n", "\u{7f}\r\n", "<s>", "a very long word "];
const OUTPUTS: [&str; 14] = [
    "out.bin",
    "out.bin",
    "out.bin",
    "old.bin",
    "old.bin",
    "soft.out",
    "dangling.out",
    "/dev/null",
    "/dev/full",
    "folder",
    "nowhere/out.bin",
    "m.gguf",
    "p.txt",
    "out/",
];
const TYPES: [&str; 14] = [
    "Q4_0",
    "Q8_0",
    "Q4_K_M",
    "IQ2_XS",
    "IQ1_S",
    "F16",
    "BF16",
    "F32",
    "COPY",
    "MXFP4_MOE",
    "TQ1_0",
    "Q2_K",
    "7",
    "x",
];
const LOAD_MODES: [&str; 6] = ["none", "mmap", "mlock", "mmap+mlock", "dio", "x"];
const OVERRIDES: [&str; 9] = [
    "tokenizer.ggml.add_bos_token=bool:false",
    "llama.context_length=int:64",
    "general.alignment=int:64",
    "llama.context_length=int:4294967295",
    "llama.rope.freq_base=float:0",
    "general.alignment=int:2147483648",
    "tokenizer.ggml.eos_token_id=int:-1",
    "llama.attention.head_count=int:3",
    "x",
];

impl Draft<'_> {
    fn one<'b>(&mut self, from: &[&'b str]) -> &'b str {
        let n = if self.is_tame { (from.len() * 2).div_ceil(5) } else { from.len() };
        from[self.random.below(n as u64) as usize]
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn push(&mut self, arg: &str) {
        self.args.push(arg.to_owned());
    }

    fn flag(&mut self, flag: &str, one_in: u64) {
        if self.chance(one_in) {
            self.push(flag);
        }
    }

    fn option(&mut self, flag: &str, values: &[&str], one_in: u64) {
        if self.chance(one_in) {
            self.push(flag);
            let value = self.one(values);
            self.push(value);
        }
    }

    fn output(&mut self, is_prefix: bool, is_log: bool) {
        let name = if self.chance(40) { "o".repeat(255) } else { self.one(&OUTPUTS).to_owned() };
        self.outputs.push(Output { name: name.clone(), is_prefix, is_log });
        self.args.push(name);
    }

    fn model(&mut self, flag: Option<&str>) {
        if let Some(flag) = flag {
            if self.chance(12) {
                return;
            }
            self.push(flag);
        }
        let model = self.one(&MODELS);
        self.push(model);
    }

    fn loading(&mut self) {
        self.model(Some("-m"));
        self.option("--load-mode", &LOAD_MODES, 4);
        self.flag("--check-tensors", 6);
        self.option("--override-kv", &OVERRIDES, 6);
        self.option("--override-tensor", &["ffn=CPU", "attn=CPU", "x", "[=CPU", ""], 20);
        self.option("--n-gpu-layers", &FEW, 20);
        self.flag("-v", 10);
    }

    fn context(&mut self) {
        self.option("-c", &WHOLE, 3);
        self.option("-t", &["0", "1", "2", "3", "64", "100000", "-1", "18446744073709551615"], 3);
        self.option("--ubatch", &WHOLE, 5);
    }

    fn sampling(&mut self) {
        for flag in [
            "--temp",
            "--top-p",
            "--min-p",
            "--top-nsigma",
            "--xtc-probability",
            "--xtc-threshold",
            "--typical",
            "--repeat-penalty",
            "--presence-penalty",
            "--frequency-penalty",
            "--dry-multiplier",
            "--dry-base",
            "--adaptive-target",
            "--adaptive-decay",
            "--dynatemp-range",
            "--dynatemp-exp",
            "--mirostat-lr",
            "--mirostat-ent",
        ] {
            self.option(flag, &REAL, 24);
        }
        for flag in
            ["--top-k", "--repeat-last-n", "--dry-allowed-length", "--dry-penalty-last-n", "--mirostat"]
        {
            self.option(flag, &WHOLE, 24);
        }
        self.option("-s", &WHOLE, 3);
        self.option("--samplers", &["top_k;temperature", "", ";;", "x", "dry;xtc;mirostat"], 12);
        self.option("--sampler-seq", &["kfypmxt", "", "z"], 12);
        self.option("-l", &["1+1", "2-inf", "99999999+1", "x", "1+nan"], 12);
        self.option("--dry-sequence-breaker", &["none", "\n", ""], 14);
        self.option(
            "--grammar",
            &["root ::= [a-z]+", "root ::= root", "x", "", "root ::= \"\" | root \"a\""],
            10,
        );
        self.option("--grammar-file", &GRAMMARS, 16);
        self.option("-j", &["{}", "{\"type\": \"integer\"}", "false", "[", "{\"enum\": []}"], 14);
        self.option("--json-schema-file", &SCHEMAS, 16);
        self.flag("--ignore-eos", 10);
    }

    fn generation(&mut self) {
        self.flag("--context-shift", 8);
        self.option("--keep", &WHOLE, 8);
        self.flag("--special", 10);
        self.option("--time-limit", &["0", "0.05", "1", "-1", "nan", "1e300"], 8);
        self.flag("--perf", 8);
        if self.chance(4) {
            self.push("--events");
            self.output(false, true);
        }
    }

    fn templates(&mut self) {
        self.option(
            "--chat-template",
            &["{{ messages }}", "chatml", "{% for x in x %}", "", "{{ 1/0 }}", "llama2"],
            5,
        );
        self.option("--chat-template-file", &TEMPLATES, 6);
        self.option("--chat-template-kwargs", &["{}", "[", "{\"a\": [1]}", "1"], 10);
    }
}

impl Line {
    /// A line of any command.
    pub(super) fn draw(random: &mut SplitMix) -> Line {
        const COMMANDS: [&str; 16] = [
            "run",
            "chat",
            "render",
            "tokenize",
            "detokenize",
            "logits",
            "embed",
            "perplexity",
            "inspect",
            "grammar-check",
            "quantize",
            "imatrix",
            "split",
            "merge",
            "bench",
            "convert",
        ];
        let command = COMMANDS[random.below(COMMANDS.len() as u64) as usize];
        let mut stdin: Vec<u8> = match random.below(6) {
            0 => Vec::new(),
            1 => b"1 2 3\n".to_vec(),
            2 => b"Hello\n\nAnother line\n".to_vec(),
            3 => (0..random.below(2000)).map(|_| random.next_u64() as u8).collect(),
            4 => vec![b'a'; random.below(1 << 21) as usize],
            _ => b"Once upon a time\n".to_vec(),
        };
        let is_tame = random.below(3) > 0;
        let mut draft = Draft { random, is_tame, args: vec![command.to_owned()], outputs: Vec::new() };
        match command {
            "run" => {
                draft.loading();
                let (flag, values): (&str, &[&str]) =
                    if draft.chance(3) { ("-f", &TEXTS) } else { ("-p", &WORDS) };
                draft.option(flag, values, 1);
                draft.option("-n", &FEW, 1);
                draft.option("--stop", &WORDS, 5);
                draft.context();
                draft.generation();
                draft.sampling();
            }
            "chat" => {
                // An answer ends where the context does: short ones, for many lines may come.
                stdin.truncate(4000);
                draft.loading();
                draft.option("--system", &WORDS, 3);
                draft.option("-n", &["0", "1", "3"], 1);
                draft.templates();
                draft.context();
                draft.generation();
                draft.sampling();
            }
            "render" => {
                draft.model(Some("-m"));
                draft.option("--messages", &MESSAGES, 1);
                draft.option("--tools", &MESSAGES, 4);
                draft.option("--kwargs", &["{}", "[", "{\"bos_token\": 1}"], 4);
                draft.flag("--no-generation-prompt", 4);
                draft.templates();
            }
            "tokenize" => {
                draft.loading();
                draft.option("-p", &WORDS, 3);
                draft.option("-f", &TEXTS, 3);
                for flag in ["--nul", "--no-special", "--parse-special"] {
                    draft.flag(flag, 3);
                }
            }
            "detokenize" => {
                draft.loading();
                draft.flag("--remove-special", 3);
                draft.flag("--no-special", 3);
            }
            "logits" => {
                draft.loading();
                draft.option("--tokens", &IDS, 1);
                draft.push("-o");
                draft.output(false, false);
                draft.context();
            }
            "embed" => {
                draft.loading();
                stdin.truncate(2000);
                draft.option("-f", &TEXTS, 2);
                if draft.chance(2) {
                    draft.push("-o");
                    draft.output(false, false);
                }
                draft.option("--pooling", &["none", "mean", "cls", "last", "x"], 2);
                draft.flag("--no-normalize", 3);
                draft.context();
            }
            "perplexity" => {
                draft.loading();
                draft.option("-f", &TEXTS, 1);
                draft.option("-c", &WHOLE, 1);
                draft.option("-t", &FEW, 3);
            }
            "inspect" => {
                draft.model(None);
                draft.flag("--json", 3);
                if draft.chance(3) {
                    draft.push("--plan");
                    draft.option("--n-ctx", &WHOLE, 2);
                    draft.option("--ubatch", &["0", "1", "16", "64", "100000"], 2);
                    draft.flag("--offline", 2);
                    if draft.chance(2) {
                        draft.push("--svg");
                        draft.output(false, false);
                    }
                }
            }
            "grammar-check" => {
                if draft.chance(2) {
                    draft.option("-j", &SCHEMAS, 1);
                    draft.option("--json-schema-mode", &["exact", "llama", "x"], 3);
                } else {
                    let grammar = draft.one(&GRAMMARS);
                    draft.push(grammar);
                }
                let text = draft.one(&TEXTS);
                draft.push(text);
                draft.option("--root", &WORDS, 8);
            }
            "quantize" => {
                draft.flag("--allow-requantize", 2);
                for flag in ["--leave-output-tensor", "--pure", "--keep-split", "--dry-run"] {
                    draft.flag(flag, 6);
                }
                draft.option("--imatrix", &IMATRICES, 4);
                draft.option("--include-weights", &["attn", "", "x"], 12);
                draft.option("--exclude-weights", &["attn", "", "x"], 12);
                draft.option("--output-tensor-type", &["q8_0", "f32", "iq1_s", "x"], 8);
                draft.option("--token-embedding-type", &["q8_0", "bf16", "x"], 8);
                draft.option("--tensor-type", &["attn=q8_0", "[=q8_0", "x", ".*=f64", "ffn=mxfp4"], 8);
                draft.option("--tensor-type-file", &["types.txt", "noise.bin", "missing.txt"], 10);
                draft.option("--prune-layers", &["0", "1", "0,1,2,3", "99", "x"], 8);
                draft.option("--override-kv", &OVERRIDES, 6);
                draft.model(None);
                let is_prefix = draft.args.iter().any(|arg| arg == "--keep-split");
                draft.output(is_prefix, false);
                let kind = draft.one(&TYPES);
                draft.push(kind);
                let threads = draft.one(&["0", "1", "2", "64", "100000", "x"]);
                if draft.chance(3) {
                    draft.push(threads);
                }
            }
            "imatrix" => {
                draft.loading();
                draft.option("-f", &TEXTS, 1);
                let often = draft.chance(3);
                if often {
                    draft.option("--output-frequency", &["0", "1"], 1);
                    draft.option("--save-frequency", &["0", "1", "2"], 1);
                }
                draft.push("-o");
                draft.output(often, often);
                draft.option("--output-format", &["gguf", "dat", "x"], 3);
                draft.option("--in-file", &IMATRICES, 4);
                draft.flag("--process-output", 4);
                draft.flag("--parse-special", 4);
                draft.option("--chunk", &WHOLE, 6);
                draft.option("--chunks", &["0", "1", "2", "3"], 1);
                draft.option(
                    "-c",
                    &["0", "1", "2", "3", "16", "64", "500", "4294967296", "18446744073709551615"],
                    1,
                );
                draft.option("-t", &FEW, 3);
            }
            "split" => {
                draft.option("--max-tensors", &WHOLE, 2);
                draft.option("--max-size", &["1M", "0M", "99999G", "x"], 4);
                draft.flag("--no-tensor-first-split", 3);
                draft.flag("--dry-run", 4);
                draft.model(None);
                draft.output(true, false);
            }
            "merge" => {
                draft.flag("--dry-run", 4);
                let first = if draft.chance(2) { "s-00001-of-00003.gguf" } else { draft.one(&MODELS) };
                draft.push(first);
                draft.output(false, false);
            }
            "bench" => {
                draft.loading();
                draft.option("-p", &["0", "1", "8", "64", "8,1", "100000000000", "x", ""], 1);
                draft.option("-n", &["0", "1", "4", "0,2", "x"], 1);
                draft.option("-r", &["0", "1", "2", "x"], 1);
                draft.option("-t", &FEW, 3);
                draft.option("--ubatch", &WHOLE, 4);
                draft.option("-o", &["md", "json", "csv", "x"], 2);
            }
            _ => {
                let folder = draft.one(&FOLDERS);
                draft.push(folder);
                draft.push("-o");
                draft.output(false, false);
                // A folder as the output means a name in it that the converter chooses.
                let named =
                    draft.outputs.pop().map(|output| Output { is_prefix: output.name == "folder", ..output });
                draft.outputs.extend(named);
                draft.option("--outtype", &["f32", "f16", "bf16", "q8_0", "auto", "x"], 2);
                draft.flag("--vocab-only", 4);
                draft.option("--model-name", &WORDS, 4);
                draft.option("--pre", &["llama-bpe", "default", "x"], 2);
            }
        }
        // Now and then a flag that is none, or one too few.
        if draft.chance(60) {
            draft.push("--no-such-flag");
        }
        if draft.chance(60) {
            draft.args.pop();
        }
        let Draft { args, outputs, .. } = draft;
        Line::new(command, args, stdin, outputs)
    }

    fn new(command: &'static str, args: Vec<String>, stdin: Vec<u8>, outputs: Vec<Output>) -> Line {
        let mut text = String::from("quipu");
        for arg in &args {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+".contains(&byte);
            let plain = !arg.is_empty() && arg.bytes().all(is_plain);
            let _ = if plain { write!(text, " {arg}") } else { write!(text, " {arg:?}") };
        }
        let _ = write!(text, "  ({} bytes on stdin)", stdin.len());
        Line { command, args, stdin, outputs, text }
    }
}

/// One line of every command that does its work.
pub(super) fn samples() -> Vec<Line> {
    let line = |command: &'static str, args: &[&str], stdin: &str, output: Option<&str>, is_prefix: bool| {
        let args = std::iter::once(command).chain(args.iter().copied()).map(str::to_owned).collect();
        let outputs = output.map(|name| Output { name: name.to_owned(), is_prefix, is_log: false });
        Line::new(command, args, stdin.as_bytes().to_vec(), outputs.into_iter().collect())
    };
    vec![
        line("run", &["-m", "m.gguf", "-p", "Once", "-n", "4"], "", None, false),
        line(
            "run",
            &["-m", "q.gguf", "--load-mode", "none", "-p", "Once", "-n", "4", "-t", "4"],
            "",
            None,
            false,
        ),
        line(
            "chat",
            &["-m", "m.gguf", "--chat-template-file", "chat.jinja", "-n", "3"],
            "Hello\nAnd?\n",
            None,
            false,
        ),
        line(
            "render",
            &["--messages", "messages.json", "--chat-template-file", "chat.jinja"],
            "",
            None,
            false,
        ),
        line("tokenize", &["-m", "m.gguf", "-f", "t.txt"], "", None, false),
        line("detokenize", &["-m", "m.gguf"], "1 2 3", None, false),
        line("logits", &["-m", "m.gguf", "--tokens", "ids.txt", "-o", "out.bin"], "", Some("out.bin"), false),
        line("embed", &["-m", "m.gguf", "-f", "lines.txt", "-o", "old.bin"], "", Some("old.bin"), false),
        line("perplexity", &["-m", "m.gguf", "-f", "t.txt", "-c", "64"], "", None, false),
        line("inspect", &["m.gguf"], "", None, false),
        line("inspect", &["m.gguf", "--plan", "--offline", "--svg", "out.bin"], "", Some("out.bin"), false),
        line("grammar-check", &["g.gbnf", "p.txt"], "", None, false),
        line("grammar-check", &["-j", "s.json", "a.json"], "", None, false),
        line("quantize", &["m.gguf", "old.bin", "Q4_0", "2"], "", Some("old.bin"), false),
        line(
            "imatrix",
            &["-m", "m.gguf", "-f", "t.txt", "-c", "32", "--chunks", "2", "-o", "out.bin"],
            "",
            Some("out.bin"),
            false,
        ),
        line("split", &["--max-tensors", "16", "m.gguf", "out"], "", Some("out"), true),
        line("merge", &["s-00001-of-00003.gguf", "out.bin"], "", Some("out.bin"), false),
        line("bench", &["-m", "m.gguf", "-p", "8", "-n", "2", "-r", "1"], "", None, false),
        line("convert", &["hf", "-o", "out.bin"], "", Some("out.bin"), false),
        line("convert", &["hf-json", "--pre", "llama-bpe", "-o", "out.bin"], "", Some("out.bin"), false),
    ]
}
