//! Every architecture: recorded answers, knock-outs, the page that says what is proved, and files that lack something.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Context, ContextParams, MemoryBytes};
use quipu_gguf::{Gguf, GgufFile, GgufWriter, Metadata, Value};
use quipu_kv_cache::KvPart;
use quipu_model::{ARCHITECTURES, LoadOptions, LoadParams, Model};
use quipu_parity::small::{SMALL, Small};
use quipu_parity::{Row, Verdict, architectures};
use quipu_quant::DType;
use quipu_testing::SplitMix;

fn assert_all_equal(rows: &[Row]) {
    let bad: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn recorded_answers() {
    let rows = architectures::replay().expect("readable goldens");
    assert_all_equal(&rows);
    let expected: usize =
        SMALL.iter().map(|small| small.types().len() * small.replayed_ubatches().len()).sum();
    assert_eq!(rows.len(), expected);
}

#[test]
fn parts_that_are_taken_out_show() {
    let rows = architectures::knock_outs().expect("readable goldens");
    assert_all_equal(&rows);
    let unproved = rows.iter().filter(|row| row.note.contains("NOT PROVED")).count();
    assert!(rows.len() > 400 && unproved * 20 < rows.len(), "{unproved} of {}", rows.len());
}

/// Run `cargo xtask architectures` after a change of the table.
#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architectures.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    assert_eq!(page, architectures::page().expect("readable goldens"));
    for arch in ARCHITECTURES {
        assert!(!page.contains(&format!("| {arch} | keys and values | - |")), "{arch} has no proof");
    }
}

/// The model with other metadata and without some tensors.
fn edited(bytes: &[u8], edit: impl Fn(&mut Metadata), keep: impl Fn(&str) -> bool) -> Vec<u8> {
    let gguf = Gguf::parse(bytes).expect("a valid file");
    let mut writer = GgufWriter::new();
    writer.metadata = gguf.metadata.clone();
    edit(&mut writer.metadata);
    let kept: Vec<_> = gguf.tensors.iter().filter(|tensor| keep(&tensor.name)).collect();
    for tensor in &kept {
        writer
            .add_tensor(&tensor.name, tensor.dtype, &tensor.ne[..tensor.n_dims as usize])
            .expect("a new name");
    }
    let mut out = Vec::new();
    let data = |i: usize, sink: &mut dyn std::io::Write| {
        let start = (gguf.data_offset + kept[i].offset) as usize;
        sink.write_all(&bytes[start..start + kept[i].n_bytes as usize])
    };
    writer.write_to(&mut out, data).expect("memory is writable");
    out
}

fn refusal(bytes: Vec<u8>) -> Option<String> {
    let file = GgufFile::from_vec(bytes).ok()?;
    Model::load(&file, &CpuDevice::default(), &mut LoadParams::default()).err().map(|error| error.to_string())
}

/// One model of each architecture, and not the deep ones.
fn one_of_each() -> impl Iterator<Item = &'static Small> {
    let mut seen = BTreeSet::new();
    SMALL.iter().filter(move |small| small.name != "command-r-large" && seen.insert(small.arch))
}

#[test]
fn the_memory_that_is_told_is_what_a_session_takes() {
    let mut kinds = BTreeSet::new();
    for small in SMALL {
        let file = GgufFile::from_vec(small.gguf(DType::F32, 1).expect("a model")).expect("a valid file");
        let loaded = |no_alloc: bool| {
            let options = LoadOptions { no_alloc, ..LoadOptions::default() };
            Arc::new(Model::load(&file, &CpuDevice::default(), &mut options.into()).expect("loads"))
        };
        let params = ContextParams { n_ctx: 768, n_seq_max: 3, n_ubatch: 32, ..ContextParams::default() };
        let told = MemoryBytes::of(&loaded(true), &CpuDevice::default(), &params).expect("sizes");
        let context = Context::new(loaded(false), &CpuDevice::default(), &params).expect("a context");
        let memory = context.memory();
        let caches = [KvPart::Full, KvPart::Window].into_iter().filter_map(|part| memory.kv(part));
        let kv_cache = caches.map(|cache| cache.n_bytes() as u64).sum();
        let states = memory.recurrent().map_or(0, |states| states.n_bytes() as u64);
        assert_eq!(told, MemoryBytes { kv_cache, states }, "{}", small.name);
        kinds.insert((kv_cache > 0, states > 0, memory.kv(KvPart::Window).is_some()));
    }
    assert_eq!(kinds.len(), 6, "nothing, states, a cache or a pair, each alone and with states: {kinds:?}");
}

/// What files may lack: biases, factors, a second norm, an output matrix of their own, positions beside ALiBi; and what single
/// architectures do without.
fn may_be_absent(arch: &str, name: &str) -> bool {
    let parts = [
        "bias",
        "rope_",
        "scale",
        "output.weight",
        "attn_norm_2",
        "ffn_gate_exps",
        "position_embd",
        "cls",
        "dense_",
        "token_types",
    ];
    let by_arch = match arch {
        "codeshell" => name == "token_embd.weight",
        // Its last layers read what earlier ones remember.
        "gemma3n" => name.contains("attn_k") || name.contains("attn_v"),
        "gemma4" => name.contains("attn_v"),
        "grok" => ["ffn_gate", "ffn_up", "ffn_down", "_norm"].iter().any(|part| name.contains(part)),
        "mimo2" => name.contains("attn_sinks"),
        "step35" => ["attn_q_norm", "attn_k_norm", "attn_gate"].iter().any(|part| name.contains(part)),
        // A gate there may be, and norms, in either of two forms.
        "jina-bert-v2" => name.contains("ffn_") || name.contains("_norm"),
        "t5" | "t5encoder" => name.contains("ffn_gate"),
        "falcon-h1" => name.contains("ssm_norm"),
        "rwkv7" | "arwkv7" => name.starts_with("blk.0.time_mix_v"),
        "glm4moe" => name.contains("attn_q_norm") || name.contains("attn_k_norm"),
        _ => false,
    };
    by_arch || parts.iter().any(|part| name.contains(part)) || name.ends_with("exp_probs_b")
}

#[test]
fn tensors_that_are_missing_are_named() {
    let mut wrong = Vec::new();
    for small in one_of_each() {
        let bytes = small.gguf(DType::F32, 1).expect("a model");
        let names: Vec<String> = Gguf::parse(&bytes)
            .expect("a valid file")
            .tensors
            .iter()
            .map(|tensor| tensor.name.clone())
            .collect();
        // Layers are alike: those of the first and the last are enough.
        let layer = |name: &String| name.strip_prefix("blk.")?.split('.').next()?.parse::<usize>().ok();
        let last = format!("blk.{}.", names.iter().filter_map(layer).max().unwrap_or(0));
        for name in names
            .iter()
            .filter(|name| !name.starts_with("blk.") || name.starts_with("blk.0.") || name.starts_with(&last))
        {
            match refusal(edited(&bytes, |_| (), |other| other != name)) {
                Some(error) => {
                    // Without a router, a layer of these has no experts, and lacks what dense layers have, or has what these do not.
                    let by_router = ["gemma4", "hy_v3", "jamba", "mimo2", "step35"].contains(&small.arch);
                    let is_dense = by_router && name.ends_with("ffn_gate_inp.weight");
                    // Where two matrices are not merged they are wanted apart.
                    let apart =
                        [("gate_up_exps", "ffn_gate_exps"), ("time_mix_lerp_fused", "time_mix_lerp_w")];
                    let is_merged =
                        apart.iter().any(|(one, first)| name.contains(one) && error.contains(first));
                    let said = error.contains(name.as_str()) || is_dense || is_merged;
                    if !said || error.contains('\n') {
                        wrong.push(format!("{} without {name}: {error}", small.name));
                    }
                }
                None if may_be_absent(small.arch, name) => {}
                None => wrong.push(format!("{} loads without {name}", small.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn keys_of_another_type_are_named() {
    for small in one_of_each() {
        let bytes = small.gguf(DType::F32, 1).expect("a model");
        let keys: Vec<String> = Gguf::parse(&bytes)
            .expect("a valid file")
            .metadata
            .iter()
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.starts_with(small.arch))
            .collect();
        let mut refused = 0;
        for key in &keys {
            let Some(error) = refusal(edited(&bytes, |m| m.set(key, Value::from("many")), |_| true)) else {
                continue;
            };
            refused += 1;
            assert!(
                error.contains(key.as_str()) && !error.contains('\n'),
                "{} with {key}: {error}",
                small.name
            );
        }
        assert!(refused >= 8, "{}: {refused} of {} keys are read", small.name, keys.len());
    }
}

#[test]
fn spoiled_files_are_refused_or_loaded_but_never_a_panic() {
    for (i, small) in one_of_each().enumerate() {
        let bytes = small.gguf(DType::Q8_0, 1).expect("a model");
        let header = Gguf::parse(&bytes).expect("a valid file").data_offset as usize;
        let mut random = SplitMix::new(i as u64 + 1);
        for _ in 0..50 {
            let mut spoiled = bytes[..].to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(header as u64) as usize;
                spoiled[at] = random.next_u64() as u8;
            }
            drop(refusal(spoiled));
        }
    }
}
