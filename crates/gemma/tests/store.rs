//! Models in `.sbs` files: reading, refusing, migrating, and the way to GGUF and back.

mod common;

use proptest::prelude::*;
use quipu_gemma::gguf::{
    WriteOptions, sentencepiece_of, to_gguf, vocabulary, vocabulary_of, write_sbs, write_sbs_as,
};
use quipu_gemma::{BlobWriter, Error, Mat, ModelConfig, SbsWriter, Type, codec, write_v1};
use quipu_gguf::{Array, GgufFile, GgufSet, Metadata, Value};
use quipu_quant::{DType, dequantize_row};

const WEIGHTS: [Type; 5] = [Type::Sfp, Type::Bf16, Type::I8, Type::Nuq, Type::F32];

fn config_weight(weight: Type) -> Type {
    // Embedding and norms are BF16, which is then the smallest.
    if weight == Type::F32 { Type::Bf16 } else { weight }
}

/// A toy whose config says what its smallest type is.
fn toy(weight: Type) -> Vec<u8> {
    common::sbs_bytes(config_weight(weight))
}

#[test]
fn a_model_is_read_as_it_was_written() {
    for weight in WEIGHTS {
        let bytes = toy(weight);
        let sbs = common::open(bytes.clone()).expect("good");
        assert!(sbs.is_single_file() && sbs.notes().is_empty());
        assert_eq!(sbs.config(), &common::config(config_weight(weight)));
        let names: Vec<String> = sbs.mats().map(|mat| mat.name.clone()).collect();
        assert_eq!(names, common::names(sbs.config()));
        for mat in sbs.mats() {
            let expected = common::values(&mat.name, mat.n_values() as usize);
            let all = sbs.values(&mat.name, 0, expected.len()).expect("readable");
            let worst = all.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.06, "{} {}: {worst}", mat.name, mat.dtype);
            // From anywhere to anywhere.
            for (from, n) in [(1, 1), (31, 200), (255, 2), (130, 126)] {
                if from + n <= all.len() {
                    assert_eq!(sbs.values(&mat.name, from as u64, n).expect("readable"), all[from..from + n]);
                }
            }
            assert!(sbs.values(&mat.name, u64::MAX, 2).is_err());
        }
        // Migrating changes nothing, and nothing again.
        assert!(sbs.migrate(Vec::new(), None).expect("memory") == bytes);
    }
}

#[test]
fn files_of_before_2025_become_single_files() {
    let blobs = common::prefixed_blobs(&[0.5, 2.0, 1.0, 4.0, 0.25, 8.0, 1.0, 3.0]);
    let named: Vec<(&str, &[u8])> = blobs.iter().map(|(k, b)| (k.as_str(), b.as_slice())).collect();
    let sbs = common::open(write_v1(Vec::new(), &named).expect("good blobs")).expect("good");
    assert!(!sbs.is_single_file());
    // Scales go to att_ein, qkv_ein, gating_ein and linear_w of each layer in turn.
    let scale = |name: &str| sbs.find(name).expect("there").scale;
    assert_eq!(
        (scale("att_ein_0"), scale("qkv_ein_0"), scale("gating_ein_0"), scale("linear_w_0")),
        (0.5, 2.0, 1.0, 4.0)
    );
    assert_eq!((scale("att_ein_1"), scale("linear_w_1"), scale("c_embedding")), (0.25, 3.0, 1.0));
    let tokenizer = sentencepiece_of(&common::vocabulary()).expect("good");
    let migrated = sbs.migrate(Vec::new(), Some(&tokenizer)).expect("memory");
    let again = common::open(migrated.clone()).expect("good");
    assert!(again.is_single_file());
    assert_eq!(again.tokenizer().expect("readable").as_deref(), Some(&tokenizer[..]));
    for mat in sbs.mats() {
        let n = mat.n_values() as usize;
        assert_eq!(sbs.values(&mat.name, 0, n).expect("old"), again.values(&mat.name, 0, n).expect("new"));
    }
    assert!(again.migrate(Vec::new(), None).expect("memory") == migrated);

    let few = common::prefixed_blobs(&[0.5]);
    let named: Vec<(&str, &[u8])> = few.iter().map(|(k, b)| (k.as_str(), b.as_slice())).collect();
    let error = common::open(write_v1(Vec::new(), &named).expect("good blobs")).expect_err("one scale");
    assert!(matches!(error, Error::Scales { have: 1, needed: 8 }));
}

/// A file with one blob replaced.
fn with_blob(key: &str, data: &[u8]) -> Vec<u8> {
    let sbs = common::open(toy(Type::Sfp)).expect("good");
    let mut writer = BlobWriter::new(Vec::new()).expect("memory");
    for blob in sbs.blobs().blobs() {
        let name = blob.key.as_str().expect("text");
        let own = sbs.blobs().read(blob).expect("readable");
        writer.add(name, if name == key { data } else { &own }).expect("good");
    }
    writer.finish().expect("memory")
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |bytes: Vec<u8>| common::open(bytes).expect_err("refused").to_string();
    let message = refused(with_blob("config", &[1, 0, 0]));
    assert!(message.contains("blob 'config' at offset") && message.contains("3 bytes"), "{message}");
    let message = refused(with_blob("config", &[1, 0, 0, 0, 9, 0, 0, 0]));
    assert!(message.contains("is of model 'unknown' and type unknown"), "{message}");
    let message = refused(with_blob("qkv_ein_1", &[1, 2, 3]));
    assert!(message.contains("tensor 'qkv_ein_1' is 64 x 32 of type sfp in 2048 bytes"), "{message}");
    let mut other = common::config(Type::Sfp);
    other.layer_configs[1].ff_hidden_dim = 25;
    let message = refused(with_blob("config", &other.to_bytes().expect("writable")));
    assert!(
        message.contains("tensor 'gating_ein_1' is 48 x 32, expected 50 x 32 in gemma3-270m-sfp-it"),
        "{message}"
    );
    let mut other = common::config(Type::Bf16);
    let message = refused(with_blob("config", &other.to_bytes().expect("writable")));
    assert!(message.contains("smallest type of the tensors is sfp, expected bf16"), "{message}");
    other.layer_configs[0].qkv_dim = 5000;
    let message = refused(with_blob("config", &other.to_bytes().expect("writable")));
    assert!(message.contains("heads of 5000 in layer 0, expected at most 1024"), "{message}");
    let message = refused(with_blob("toc", &[0xff; 64]));
    assert!(message.contains("blob 'toc' at offset"), "{message}");
    let unknown = BlobWriter::new(Vec::new()).and_then(|mut writer| {
        writer.add("$x_3", &[1])?;
        writer.finish()
    });
    assert!(matches!(common::open(unknown.expect("memory")), Err(Error::UnknownModel { n_layers: 4 })));
}

#[test]
fn tensors_that_are_wrong_are_not_written() {
    let mut writer = SbsWriter::new(Vec::new()).expect("memory");
    assert!(writer.add(&common::mat("x", Type::Sfp, 2, 3), &[0; 5]).is_err());
    assert!(Mat::new("seventeen_letters", Type::Sfp, 1, 1, 1.0).is_err());
    assert!(Mat::new("x", Type::Sfp, 1 << 32, 1, 1.0).is_err());
    assert!(Mat::new("x", Type::Unknown, 1, 1, 1.0).is_err());
    assert!(writer.encode("x", Type::I8, 1, 2, &mut [f32::NAN, 0.0]).is_err());
    assert!(writer.finish(&ModelConfig::default(), None).is_err());
}

fn gguf_values(file: &GgufFile, name: &str) -> Vec<f32> {
    let info = file.tensor(name).expect("there");
    let mut out = vec![0.0; info.n_elements() as usize];
    dequantize_row(info.dtype, file.tensor_bytes(name).expect("there"), &mut out).expect("computed");
    out
}

#[test]
fn tensors_stand_in_gguf_where_they_belong() {
    let sbs = common::open(toy(Type::Sfp)).expect("good");
    let file = to_gguf(&sbs, None).expect("convertible");
    assert_eq!(file.metadata().str("general.architecture").expect("set"), "gemma3");
    assert_eq!(file.metadata().u32("gemma3.attention.sliding_window").expect("set"), 16);
    assert_eq!(file.tensors().len(), 2 + 2 * 13);
    assert_eq!(file.tensor("blk.0.attn_q.weight").expect("there").dtype, DType::BF16);
    let of = |name: &str| {
        let n = sbs.find(name).expect("there").n_values() as usize;
        sbs.values(name, 0, n).expect("readable")
    };
    let qkv = of("qkv_ein_1");
    let (d, h) = (32, 16);
    assert_eq!(gguf_values(&file, "blk.1.attn_q.weight"), qkv[..2 * h * d]);
    assert_eq!(gguf_values(&file, "blk.1.attn_k.weight"), qkv[2 * h * d..3 * h * d]);
    assert_eq!(gguf_values(&file, "blk.1.attn_v.weight"), qkv[3 * h * d..]);
    let (gating, f) = (of("gating_ein_0"), 24);
    assert_eq!(gguf_values(&file, "blk.0.ffn_gate.weight"), gating[..f * d]);
    assert_eq!(gguf_values(&file, "blk.0.ffn_up.weight"), gating[f * d..]);
    assert_eq!(gguf_values(&file, "blk.0.ffn_down.weight"), of("linear_w_0"));
    // Row m of the output has row m of each head.
    let (heads, output) = (of("att_ein_0"), gguf_values(&file, "blk.0.attn_output.weight"));
    for m in 0..d {
        for (head, j) in [(0, 0), (0, 15), (1, 3)] {
            assert_eq!(output[m * 2 * h + head * h + j], heads[(head * d + m) * h + j]);
        }
    }
    let norm: Vec<f32> = of("pre_ff_ns_1").iter().map(|x| x + 1.0).collect();
    assert_eq!(gguf_values(&file, "blk.1.ffn_norm.weight"), norm);
}

#[test]
fn joined_and_separate_tensors_are_the_same_model() {
    let sbs = common::open(toy(Type::Sfp)).expect("good");
    let mut writer = SbsWriter::new(Vec::new()).expect("memory");
    for mat in sbs.mats() {
        let bytes = sbs.read(&mat.name).expect("readable");
        let cut = |rows: usize| rows * mat.cols as usize;
        let (base, il) = mat.name.rsplit_once('_').expect("a suffix");
        let mut add = |name: &str, rows: std::ops::Range<usize>| {
            let part = common::mat(&format!("{name}_{il}"), mat.dtype, rows.len(), mat.cols as usize);
            writer.add(&part, &bytes[cut(rows.start)..cut(rows.end)]).expect("good");
        };
        match base {
            "qkv_ein" => {
                add("qkv1_w", 0..32);
                add("qkv2_w", 32..64);
            }
            "gating_ein" => {
                add("gating1_w", 0..24);
                add("gating2_w", 24..48);
            }
            "att_ein" => {
                let n = mat.n_values() as usize;
                let values = sbs.values(&mat.name, 0, n).expect("readable");
                let rows =
                    (0..32).flat_map(|m| [m, 32 + m]).flat_map(|r| values[r * 16..(r + 1) * 16].to_vec());
                let bytes = codec::encode(Type::Sfp, &rows.collect::<Vec<f32>>()).expect("in range");
                writer.add(&common::mat(&format!("att_w_{il}"), Type::Sfp, 32, 32), &bytes).expect("good");
            }
            _ => writer.add(mat, &bytes).expect("good"),
        }
    }
    let tokenizer = sbs.tokenizer().expect("readable");
    let bytes = writer.finish(sbs.config(), tokenizer.as_deref()).expect("memory");
    let separate = common::open(bytes).expect("good");
    let (a, b) = (to_gguf(&sbs, None).expect("joined"), to_gguf(&separate, None).expect("separate"));
    for info in a.tensors() {
        assert_eq!(gguf_values(&a, &info.name), gguf_values(&b, &info.name), "{}", info.name);
    }
}

#[test]
fn to_gguf_and_back_is_the_same_file() {
    for weight in [Type::Sfp, Type::Bf16, Type::Nuq] {
        let bytes = toy(weight);
        let sbs = common::open(bytes.clone()).expect("good");
        let set = GgufSet::from(&to_gguf(&sbs, None).expect("convertible"));
        let tokenizer = sbs.tokenizer().expect("readable");
        let options = WriteOptions { weight, instructed: Some(true), tokenizer: tokenizer.as_deref() };
        let back = write_sbs_as(&set, sbs.config(), &options, Vec::new()).expect("convertible");
        // The centres of NUQ's clusters are theirs again, but for those that are not used.
        if weight == Type::Nuq {
            let again = common::open(back).expect("good");
            for mat in sbs.mats() {
                let n = mat.n_values() as usize;
                let (a, b) = (sbs.values(&mat.name, 0, n), again.values(&mat.name, 0, n));
                assert_eq!(a.expect("readable"), b.expect("readable"), "{}", mat.name);
            }
        } else {
            assert!(back == bytes, "{weight}");
        }
        // By its sizes it is none of the models that there are.
        let error = write_sbs(&set, &options, Vec::new()).expect_err("a toy").to_string();
        assert!(error.contains("2 layers of 32"), "{error}");
    }
}

/// `IsEOS`: the end of a text and the end of a turn; ids that the vocabulary does not have are none.
#[test]
fn both_ends_are_carried_over() {
    let sbs = common::open(toy(Type::Sfp)).expect("good");
    for (second, expected) in [(7, Some(7)), (1, None), (106, None), (-1, None)] {
        let mut config = sbs.config().clone();
        config.secondary_eos_id = second;
        let mut writer = SbsWriter::new(Vec::new()).expect("memory");
        for mat in sbs.mats() {
            writer.add(mat, &sbs.read(&mat.name).expect("readable")).expect("good");
        }
        let bytes = writer.finish(&config, sbs_tokenizer().as_deref()).expect("memory");
        let sbs = common::open(bytes).expect("good");
        let file = to_gguf(&sbs, None).expect("convertible");
        for metadata in [file.metadata(), &vocabulary(&sbs).expect("a vocabulary")] {
            let id = |name: &str| metadata.optional_integer(&format!("tokenizer.ggml.{name}_token_id"));
            assert_eq!(id("eos").expect("a number"), Some(1));
            assert_eq!(id("eot").expect("a number"), expected, "{second}");
        }
    }
}

#[test]
fn scales_that_are_no_powers_of_two_cost_memory_and_no_bits() {
    let config = common::config(Type::Sfp);
    let mut writer = SbsWriter::new(Vec::new()).expect("memory");
    for name in common::names(&config) {
        let sbs = common::open(toy(Type::Sfp)).expect("good");
        let mut mat = sbs.find(&name).expect("there").clone();
        mat.scale = if name == "linear_w_0" {
            1.3
        } else if name == "linear_w_1" {
            4.0
        } else {
            1.0
        };
        writer.add(&mat, &sbs.read(&name).expect("readable")).expect("good");
    }
    let bytes = writer.finish(&config, sbs_tokenizer().as_deref()).expect("memory");
    let sbs = common::open(bytes).expect("good");
    let file = to_gguf(&sbs, None).expect("convertible");
    let dtype = |name: &str| file.tensor(name).expect("there").dtype;
    assert_eq!((dtype("blk.0.ffn_down.weight"), dtype("blk.1.ffn_down.weight")), (DType::F32, DType::BF16));
    for il in 0..2 {
        let values = sbs.values(&format!("linear_w_{il}"), 0, 32 * 24).expect("readable");
        assert_eq!(gguf_values(&file, &format!("blk.{il}.ffn_down.weight")), values);
    }
}

fn sbs_tokenizer() -> Option<Vec<u8>> {
    common::open(toy(Type::Sfp)).expect("good").tokenizer().expect("readable")
}

#[test]
fn a_vocabulary_survives_as_a_sentencepiece_model() {
    let before = common::vocabulary();
    let model = sentencepiece_of(&before).expect("good");
    let mut after = Metadata::default();
    vocabulary_of(&model, &mut after).expect("good");
    assert_eq!(after.get("tokenizer.ggml.tokens"), before.get("tokenizer.ggml.tokens"));
    let Some(Value::Array(Array::I32(kinds))) = after.get("tokenizer.ggml.token_type") else {
        panic!("types")
    };
    // Roles are control tokens, the unknown one has a type of its own, other marks are found in text.
    assert_eq!(kinds[..6], [3, 3, 3, 2, 4, 1]);
    let Some(Value::Array(Array::F32(scores))) = after.get("tokenizer.ggml.scores") else { panic!("scores") };
    assert_eq!((scores[0], scores[39]), (0.0, -39.0));
    for (key, id) in [("bos", 2), ("eos", 1), ("unknown", 3), ("padding", 0)] {
        assert_eq!(after.u32(&format!("tokenizer.ggml.{key}_token_id")).expect("set"), id);
    }
    let mut other = common::vocabulary();
    other.set("tokenizer.ggml.model", Value::from("gpt2"));
    assert!(sentencepiece_of(&other).is_err());
    other.set("tokenizer.ggml.model", Value::from("llama"));
    other.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; 3])));
    assert!(sentencepiece_of(&other).is_err());
    assert!(vocabulary_of(&[0xff; 9], &mut after).is_err());
}

proptest! {
    /// Damage in the metadata, where it does most, and anywhere.
    #[test]
    fn damage_is_an_error_or_survived(at in any::<prop::sample::Index>(), value in any::<u32>(), deep in any::<bool>()) {
        let mut bytes = toy(Type::Sfp);
        let sbs = common::open(bytes.clone()).expect("good");
        let range = if deep {
            let (config, toc) = (sbs.blobs().require("config").expect("there"), sbs.blobs().require("toc").expect("there"));
            config.offset as usize..toc.range().end as usize
        } else {
            0..bytes.len()
        };
        let at = range.start + at.index(range.len() - 3);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        if let Ok(sbs) = common::open(bytes) {
            for mat in sbs.mats() {
                let _ = sbs.values(&mat.name, 0, mat.n_values() as usize);
            }
            let _ = sbs.migrate(Vec::new(), None);
            let _ = to_gguf(&sbs, None);
        }
    }
}
