//! Conversion as a caller sees it: what is refused, in which words, and that nothing is left behind.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use quipu_convert::{ConvertError, ConvertOptions, OutType, convert};
use quipu_testing::SplitMix;

const SNAPSHOT: &str = include_str!("snapshots/convert_errors.txt");

/// A tiny valid llama: one layer, a SentencePiece vocabulary of three pieces.
struct Fixture {
    root: tempfile::TempDir,
}

fn safetensors(tensors: &[(&str, &str, &[usize], usize)]) -> Vec<u8> {
    let mut header = String::from("{");
    let mut at = 0;
    for (i, (name, dtype, shape, n_bytes)) in tensors.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let end = at + n_bytes;
        write!(
            header,
            "{comma}\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}"
        )
        .expect("strings take all");
        at = end;
    }
    header.push('}');
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.resize(out.len() + at, 0);
    out
}

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
    "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 3}"#;

const TENSORS: [(&str, &str, &[usize], usize); 2] = [
    ("model.embed_tokens.weight", "F32", &[3, 4], 48),
    ("model.layers.0.self_attn.q_proj.weight", "F16", &[4, 4], 32),
];

impl Fixture {
    fn new() -> Fixture {
        let fixture = Fixture { root: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(fixture.dir()).expect("writable");
        fixture.write("config.json", CONFIG.as_bytes());
        fixture.write("model.safetensors", &safetensors(&TENSORS));
        let piece =
            |text: &str| [&[0x0a, text.len() as u8 + 2, 0x0a, text.len() as u8], text.as_bytes()].concat();
        fixture.write("tokenizer.model", &[piece("<unk>"), piece("a"), piece("b")].concat());
        fixture
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("model")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir().join(name), bytes).expect("writable");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir().join(name)).expect("it is there");
    }

    /// A tokenizer.json with this normalizer, in place of tokenizer.model.
    fn normalizer(&self, normalizer: &str) {
        self.remove("tokenizer.model");
        let normalizer = format!("\"normalizer\": {normalizer}");
        self.write("tokenizer.json", TOKENIZER.replace("\"normalizer\": null", &normalizer).as_bytes());
    }

    fn config(&self, from: &str, to: &str) {
        assert!(CONFIG.contains(from));
        self.write("config.json", CONFIG.replace(from, to).as_bytes());
    }

    fn convert(&self) -> Result<quipu_convert::Converted, ConvertError> {
        convert(&self.dir(), &self.root.path().join("out.gguf"), &ConvertOptions::default())
    }

    /// The error, with the folder's name taken out.
    fn error(&self) -> String {
        let message = self.convert().expect_err("refused").to_string();
        let left: Vec<_> = fs::read_dir(self.root.path()).expect("readable").collect();
        assert_eq!(left.len(), 1, "a failed conversion leaves no file: {left:?}");
        message.replace(&format!("{}", self.dir().display()), "DIR")
    }
}

type Mistake = (&'static str, fn(&Fixture));

/// A byte-level tokenizer that knows two tokens.
const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null, "truncation": null, "padding": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;

const MISTAKES: &[Mistake] = &[
    ("no configuration", |f| f.remove("config.json")),
    ("configuration is not JSON", |f| f.write("config.json", b"{\"a\": ")),
    ("configuration nests too deep", |f| f.write("config.json", "[".repeat(10_000).as_bytes())),
    ("configuration is a list", |f| f.write("config.json", b"[1, 2]")),
    ("no architecture", |f| f.config("[\"LlamaForCausalLM\"]", "[]")),
    ("another architecture", |f| f.config("LlamaForCausalLM", "NobodysForCausalLM")),
    ("another model type", |f| f.config("\"llama\"", "\"nobody\"")),
    ("a multimodal model", |f| f.config("\"vocab_size\": 3", "\"text_config\": {}")),
    ("a quantised checkpoint", |f| {
        f.config("\"vocab_size\": 3", "\"quantization_config\": {\"quant_method\": \"gptq\"}");
    }),
    ("scales that do not cover their weight", |f| {
        f.config(
            "\"vocab_size\": 3",
            "\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [1, 1]}",
        );
        let tensors = [
            ("lm_head.weight", "F8_E4M3", &[4, 4][..], 16),
            ("lm_head.weight_scale_inv", "F32", &[2, 4], 32),
        ];
        f.write("model.safetensors", &safetensors(&tensors));
    }),
    ("scales of nothing", |f| {
        f.config("\"vocab_size\": 3", "\"quantization_config\": {\"quant_method\": \"fp8\"}");
        f.write("model.safetensors", &safetensors(&[("lm_head.weight_scale_inv", "F32", &[2, 4], 32)]));
    }),
    ("blocks of no size", |f| {
        f.config(
            "\"vocab_size\": 3",
            "\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [0]}",
        );
    }),
    ("a draft model", |f| f.config("\"vocab_size\": 3", "\"draft_vocab_size\": 3")),
    ("no layers", |f| f.config("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0")),
    ("layers in words", |f| f.config("\"num_hidden_layers\": 1", "\"num_hidden_layers\": \"one\"")),
    ("heads of nothing", |f| f.config("\"num_attention_heads\": 1", "\"num_attention_heads\": 0")),
    ("a fractional size", |f| f.config("\"intermediate_size\": 4", "\"intermediate_size\": 4.5")),
    ("a size beyond 32 bits", |f| f.config("\"intermediate_size\": 4", "\"intermediate_size\": 4294967296")),
    ("a scaling that is text", |f| f.config("\"vocab_size\": 3", "\"rope_scaling\": \"linear\"")),
    ("an epsilon beyond f32", |f| {
        f.config("\"vocab_size\": 3", "\"vocab_size\": 3, \"rms_norm_eps\": 1e300");
    }),
    ("a vocabulary beyond memory", |f| f.config("\"vocab_size\": 3", "\"vocab_size\": 4000000000")),
    ("no weights", |f| f.remove("model.safetensors")),
    ("weights cut off in the header", |f| f.write("model.safetensors", &safetensors(&TENSORS)[..40])),
    ("weights cut off in the data", |f| {
        let bytes = safetensors(&TENSORS);
        f.write("model.safetensors", &bytes[..bytes.len() - 1]);
    }),
    ("weights of four bytes", |f| f.write("model.safetensors", &[0; 4])),
    ("a header of 2^63 bytes", |f| f.write("model.safetensors", &[0, 0, 0, 0, 0, 0, 0, 0x80, b'{'])),
    ("a header that is not JSON", |f| f.write("model.safetensors", &[1, 0, 0, 0, 0, 0, 0, 0, b'['])),
    ("data that does not fit its shape", |f| {
        f.write("model.safetensors", &safetensors(&[("model.norm.weight", "F32", &[5], 16)]));
    }),
    ("a shape that overflows", |f| {
        let huge = [("model.norm.weight", "F32", &[usize::MAX, usize::MAX][..], 16)];
        f.write("model.safetensors", &safetensors(&huge));
    }),
    ("tensors that overlap", |f| {
        let mut text =
            String::from_utf8(safetensors(&[("a", "U8", &[4], 4), ("b", "U8", &[4], 4)])).expect("ASCII");
        text = text.replace("[4,8]", "[2,6]");
        f.write("model.safetensors", text.as_bytes());
    }),
    ("a type of eight bits", |f| {
        f.write("model.safetensors", &safetensors(&[("model.norm.weight", "F8_E8M0", &[4], 4)]));
    }),
    ("a tensor without a place", |f| {
        f.write(
            "model.safetensors",
            &safetensors(&[("model.layers.1.self_attn.q_proj.weight", "F32", &[4], 16)]),
        );
    }),
    ("rows that are no heads", |f| {
        f.write(
            "model.safetensors",
            &safetensors(&[("model.layers.0.self_attn.q_proj.weight", "F32", &[3, 4], 48)]),
        );
    }),
    ("five dimensions", |f| {
        f.write("model.safetensors", &safetensors(&[("lm_head.weight", "F32", &[1, 1, 1, 1, 4], 16)]));
    }),
    ("a tensor in two shards", |f| f.write("model-2.safetensors", &safetensors(&TENSORS))),
    ("an index without a map", |f| f.write("model.safetensors.index.json", b"{}")),
    ("an index that leaves the folder", |f| {
        f.write("model.safetensors.index.json", br#"{"weight_map": {"a": "../model.safetensors"}}"#);
    }),
    ("an index of a missing shard", |f| {
        f.write("model.safetensors.index.json", br#"{"weight_map": {"a": "other.safetensors"}}"#);
    }),
    ("an index with a tensor too many", |f| {
        f.write(
            "model.safetensors.index.json",
            br#"{"weight_map": {"model.embed_tokens.weight": "model.safetensors",
                "model.layers.0.self_attn.q_proj.weight": "model.safetensors", "z": "model.safetensors"}}"#,
        );
    }),
    ("an index with a tensor too few", |f| {
        f.write(
            "model.safetensors.index.json",
            br#"{"weight_map": {"model.embed_tokens.weight": "model.safetensors"}}"#,
        );
    }),
    ("no tokenizer", |f| f.remove("tokenizer.model")),
    ("an empty tokenizer.model", |f| f.write("tokenizer.model", b"")),
    ("tokenizer.model is text", |f| f.write("tokenizer.model", b"hello, world")),
    ("a piece longer than the file", |f| f.write("tokenizer.model", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
    ("tokenizer.json is not a tokenizer", |f| {
        f.remove("tokenizer.model");
        f.write("tokenizer.json", b"{}");
    }),
    ("a tokenizer nobody knows", |f| {
        f.remove("tokenizer.model");
        f.write("tokenizer.json", TOKENIZER.as_bytes());
        f.write("tokenizer_config.json", b"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
    }),
    ("a tokenizer larger than its vocabulary", |f| {
        f.remove("tokenizer.model");
        f.write("tokenizer.json", TOKENIZER.replace("\"b\": 1", "\"b\": 7").as_bytes());
        f.write("tokenizer_config.json", b"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
    }),
    ("merges of numbers", |f| {
        f.remove("tokenizer.model");
        f.write("tokenizer.json", TOKENIZER.replace("\"merges\": []", "\"merges\": [1]").as_bytes());
    }),
    ("a tokenizer whose padding is longer than memory", |f| {
        f.remove("tokenizer.model");
        let padding = r#""padding": {"strategy": {"Fixed": 1000000000000}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"}"#;
        f.write("tokenizer.json", TOKENIZER.replace("\"padding\": null", padding).as_bytes());
        f.write("tokenizer_config.json", b"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
    }),
    ("a character map of garbage", |f| {
        f.normalizer(r#"{"type": "Precompiled", "precompiled_charsmap": "////f2Fi"}"#);
    }),
    ("normalizers that double a text forty times", |f| {
        let double = r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#;
        f.normalizer(&format!(r#"{{"type": "Sequence", "normalizers": [{}]}}"#, vec![double; 40].join(",")));
    }),
    ("an added token of 20 MB", |f| {
        f.remove("tokenizer.model");
        let token = format!(
            r#""added_tokens": [{{"id": 2, "content": "{}", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}}]"#,
            "x".repeat(20 << 20)
        );
        f.write("tokenizer.json", TOKENIZER.replace("\"added_tokens\": []", &token).as_bytes());
    }),
    ("an added token of 20 MB in the configuration", |f| {
        f.remove("tokenizer.model");
        f.write("tokenizer.json", TOKENIZER.as_bytes());
        let text = "x".repeat(20 << 20);
        f.write(
            "tokenizer_config.json",
            format!(r#"{{"added_tokens_decoder": {{"2": {{"content": "{text}"}}}}}}"#).as_bytes(),
        );
    }),
    ("a normalizer that nests too deep", |f| {
        let depth = 40;
        let open = r#"{"type": "Sequence", "normalizers": ["#.repeat(depth);
        f.normalizer(&format!("{open}{}", "]}".repeat(depth)));
    }),
    ("heads of 2^32 - 2 dimensions", |f| {
        let scaling = r#""vocab_size": 3, "head_dim": 4294967294, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}"#;
        f.config("\"vocab_size\": 3", scaling);
    }),
    ("a card whose aliases multiply bytes", |f| {
        let text = format!("---\na: &a {}\nb: [{}]\n---\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
        f.write("README.md", text.as_bytes());
    }),
    ("a card that is not text", |f| f.write("README.md", b"---\n\xff\n---\n")),
    ("a card with a number for text", |f| f.write("README.md", b"---\nversion: 1.5\n---\n")),
    ("a card that is not YAML", |f| f.write("README.md", b"---\na: [1\n---\n")),
    ("a special token below zero", |f| {
        f.config("\"vocab_size\": 3", "\"vocab_size\": 3, \"bos_token_id\": -1");
    }),
    ("a temperature in words", |f| f.write("generation_config.json", b"{\"temperature\": \"hot\"}")),
];

#[test]
fn every_mistake_has_its_message() {
    let mut found = String::new();
    for (name, make) in MISTAKES {
        let fixture = Fixture::new();
        make(&fixture);
        writeln!(found, "{name}\n    {}", fixture.error()).expect("strings take all");
    }
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/convert_errors.txt");
        fs::write(path, &found).expect("writable");
    } else {
        assert_eq!(found, SNAPSHOT);
    }
}

#[test]
fn a_valid_model_is_converted_and_can_be_read() {
    let fixture = Fixture::new();
    let done = fixture.convert().expect("valid");
    assert_eq!((done.n_tensors, done.n_params, done.out_type), (2, 28, OutType::F16));
    let file = quipu_gguf::GgufFile::open(&done.path).expect("readable");
    assert_eq!(file.metadata().str("general.architecture").expect("present"), "llama");
    assert_eq!(file.metadata().u32("llama.attention.head_count_kv").expect("present"), 1);
    assert_eq!(file.tensors().len(), 2);
    assert_eq!(done.n_bytes, fs::metadata(&done.path).expect("there").len());
}

/// What could not be written is named, and not what was read.
#[test]
#[cfg(target_os = "linux")]
fn a_full_device_is_named() {
    let fixture = Fixture::new();
    let error = convert(&fixture.dir(), Path::new("/dev/full"), &ConvertOptions::default());
    let message = error.expect_err("no space").to_string();
    assert!(message.starts_with("cannot write /dev/full: "), "{message}");
}

#[test]
fn output_names_are_filled_in() {
    let fixture = Fixture::new();
    let to = |name: &str, out_type: OutType| {
        let options = ConvertOptions { out_type, ..ConvertOptions::default() };
        convert(&fixture.dir(), &fixture.root.path().join(name), &options).expect("valid").path
    };
    assert_eq!(to("x-{ftype}.gguf", OutType::Auto), fixture.root.path().join("x-f16.gguf"));
    assert_eq!(to("x-{FTYPE}.gguf", OutType::Q8_0), fixture.root.path().join("x-Q8_0.gguf"));
    assert_eq!(to("", OutType::F32), fixture.root.path().join("Model-0.03K-F32.gguf"));
}

/// Opening a pipe would wait for its other end, and a device has none.
#[test]
#[cfg(unix)]
fn what_is_no_regular_file_is_refused() {
    for name in ["config.json", "tokenizer.model", "model.safetensors", "tokenizer_config.json"] {
        for make in ["mkfifo", "ln"] {
            let fixture = Fixture::new();
            let path = fixture.dir().join(name);
            let _ = fs::remove_file(&path);
            let mut command = std::process::Command::new(make);
            if make == "ln" {
                command.args(["-s", "/dev/zero"]);
            }
            assert!(command.arg(&path).status().expect("it runs").success());
            let message = fixture.convert().map(|done| done.n_tensors).map_err(|error| error.to_string());
            match message {
                Err(message) => assert!(
                    message.contains("DIR") || message.contains(name) || message.contains("no tokenizer"),
                    "{message}"
                ),
                Ok(_) => panic!("{name} as {make} was read"),
            }
        }
    }
}

/// Cuts and flips of every input file: an error or a file, never a panic.
#[test]
fn damaged_files_never_panic() {
    let names = ["config.json", "model.safetensors", "tokenizer.model", "README.md", "tokenizer_config.json"];
    let fixture = Fixture::new();
    fixture.write("README.md", b"---\nlicense: mit\ntags: [a, &x b, *x]\nbase_model: {name: c}\n---\n");
    fixture.write(
        "tokenizer_config.json",
        br#"{"added_tokens_decoder": {"1": {"content": "x"}}, "add_bos_token": true}"#,
    );
    let mut random = SplitMix::new(1);
    for name in names {
        let whole = fs::read(fixture.dir().join(name)).expect("readable");
        for _ in 0..150 {
            let mut bytes = whole.clone();
            let at = random.index(bytes.len());
            match random.below(8) {
                0 | 1 => bytes.truncate(at),
                2 => bytes[at] = b'9',
                3 => bytes[at] = b'"',
                _ => bytes[at] ^= 1 << random.below(8),
            }
            fixture.write(name, &bytes);
            let _ = fixture.convert();
        }
        fixture.write(name, &whole);
    }
    fixture.convert().expect("valid again");
}

/// Numbers nobody meant, in every key of every family: an error or a file, never a panic.
#[test]
fn hostile_configurations_never_panic() {
    let architectures = [
        ("Qwen2MoeForCausalLM", "qwen2_moe"),
        ("Phi3ForCausalLM", "phi3"),
        ("GptOssForCausalLM", "gpt_oss"),
        ("MambaForCausalLM", "mamba"),
        ("Mamba2ForCausalLM", "mamba2"),
        ("GPT2LMHeadModel", "gpt2"),
        ("StableLmForCausalLM", "stablelm"),
        ("FalconForCausalLM", "falcon"),
        ("DeepseekV2ForCausalLM", "deepseek_v2"),
        ("DeepseekV3ForCausalLM", "deepseek_v3"),
        ("Glm4ForCausalLM", "glm4"),
    ];
    let keys = [
        "hidden_size",
        "n_embd",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "num_kv_heads",
        "num_experts",
        "n_routed_experts",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "n_groups",
        "head_dim",
        "expand",
        "partial_rotary_factor",
        "vocab_size",
        "pad_vocab_size_multiple",
        "original_max_position_embeddings",
        "max_position_embeddings",
        "rope_scaling",
        "quantization_config",
    ];
    let values = [
        "0",
        "1",
        "2",
        "4",
        "16",
        "4294967295",
        "4294967296",
        "-1",
        "1e300",
        "0.5",
        "null",
        "\"x\"",
        "[]",
        "{}",
    ];
    let tensors = [
        ("model.layers.0.self_attn.kv_b_proj.weight", "F32", &[4, 4][..], 64),
        ("model.layers.0.mlp.experts.0.up_proj.weight", "F32", &[4, 4], 64),
        ("model.layers.0.mlp.experts.gate_up_proj", "F32", &[1, 4, 4], 64),
        ("model.layers.0.mlp.experts.down_proj_blocks", "U8", &[1, 0, 1, 16], 0),
        ("model.layers.0.mlp.experts.down_proj_scales", "U8", &[1, 0, 1], 0),
        ("transformer.h.0.self_attention.query_key_value.weight", "F32", &[4, 4], 64),
        ("transformer.h.0.attn.c_attn.weight", "F32", &[0, 4], 0),
        ("backbone.layers.0.mixer.norm.weight", "F32", &[4], 16),
        ("backbone.layers.0.mixer.A_log", "F32", &[4], 16),
    ];
    let mut random = SplitMix::new(2);
    for (arch, model_type) in architectures {
        for _ in 0..60 {
            let fixture = Fixture::new();
            let mut config = format!("{{\"architectures\": [\"{arch}\"], \"model_type\": \"{model_type}\"");
            for key in keys {
                if random.below(4) > 0 {
                    let value = if random.below(3) > 0 { "2" } else { values[random.index(values.len())] };
                    write!(config, ", \"{key}\": {value}").expect("strings take all");
                }
            }
            config.push('}');
            fixture.write("config.json", config.as_bytes());
            let chosen = tensors[random.index(tensors.len())];
            fixture.write("model.safetensors", &safetensors(&[chosen]));
            if let Err(error) = fixture.convert() {
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}
