//! One malformed file per way a file can be wrong (`malformed/`). The messages are held in `snapshots/errors.txt`;
//! `UPDATE_SNAPSHOTS=1` writes them anew.

#[path = "support/malformed.rs"]
mod malformed;

use std::fmt::Write as _;

use malformed::one_tensor;
use quipu_gguf::{Error, Gguf, GgufFile};

#[test]
fn every_attack_is_refused_with_its_own_message() {
    let mut texts = String::new();
    for (name, bytes) in malformed::files() {
        let error = Gguf::parse(&bytes).expect_err(&name);
        writeln!(texts, "{name}: {error}").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/errors.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &texts).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    for (found, expected) in texts.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "(UPDATE_SNAPSHOTS=1 accepts the new texts)");
    }
    assert_eq!(texts.lines().count(), expected.lines().count());
}

#[test]
fn every_variant_about_file_contents_is_shown_by_an_attack() {
    let shown: Vec<String> = malformed::files()
        .iter()
        .map(|(name, bytes)| format!("{:?}", Gguf::parse(bytes).expect_err(name)))
        .map(|debug| debug.split([' ', '{', '(']).next().unwrap().to_owned())
        .collect();
    for variant in [
        "Truncated",
        "BadMagic",
        "VersionZero",
        "SwappedEndianness",
        "VersionOne",
        "VersionTooNew",
        "TensorCount",
        "KeyCount",
        "StringTooLong",
        "EmptyKey",
        "KeyNotUtf8",
        "DuplicateKey",
        "UnknownValueType",
        "NestedArray",
        "ArrayTooLong",
        "AlignmentType",
        "AlignmentNotPowerOfTwo",
        "TensorNameTooLong",
        "TensorNameNotText",
        "DuplicateTensor",
        "TooManyDims",
        "NegativeDim",
        "TooManyElements",
        "RemovedTensorType",
        "UnknownTensorType",
        "PartialBlock",
        "TensorTooLarge",
        "WrongDataOffset",
        "DataTooLarge",
        "DataStartMissing",
        "DataTruncated",
    ] {
        assert!(shown.iter().any(|s| s == variant), "{variant} is never shown");
    }
}

#[test]
fn every_truncation_of_a_valid_file_is_refused() {
    let file = malformed::valid().0;
    Gguf::parse(&file).expect("the whole file is valid");
    for len in 0..file.len() {
        let error = Gguf::parse(&file[..len]).expect_err("a part of it is not");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn an_empty_dimension_is_an_empty_tensor() {
    // The reference divides by zero here.
    for dims in [&[4, 0][..], &[0, 4], &[1, 1, 0, 1], &[0], &[3, 0, i64::MAX, i64::MAX]] {
        let gguf = Gguf::parse(&one_tensor("w", dims, 0, 0).0).unwrap();
        assert_eq!(gguf.tensors[0].n_bytes, 0, "{dims:?}");
    }
}

#[test]
fn files_that_cannot_be_opened_say_which() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.gguf");
    assert!(matches!(GgufFile::open(&missing), Err(Error::Open { path, .. }) if path == missing));
    assert!(matches!(GgufFile::open(dir.path()), Err(Error::NotAFile { path }) if path == dir.path()));
    let empty = dir.path().join("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    assert!(matches!(GgufFile::open(&empty), Err(Error::Truncated { offset: 0, .. })));
}

#[test]
fn the_folder_holds_what_the_generator_makes() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let mut found: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let files = malformed::files();
    let mut expected: Vec<String> = files.iter().map(|(name, _)| format!("{name}.gguf")).collect();
    expected.sort();
    assert!(found == expected, "cargo run -p quipu-gguf --example malformed writes the folder anew");
    for (name, bytes) in files {
        assert_eq!(std::fs::read(dir.join(format!("{name}.gguf"))).unwrap(), bytes, "{name}");
    }
}

#[test]
fn the_last_padding_is_asked_for_only_where_the_data_is_read_as_one() {
    let file = malformed::valid().0;
    let gguf = Gguf::parse(&file).unwrap();
    assert!(matches!(gguf.check_padded_data(file.len() as u64), Err(Error::PaddingTruncated { .. })));
    gguf.check_padded_data(file.len() as u64 + 30).unwrap();
}

#[test]
fn a_prefix_says_how_much_more_it_needs_until_it_is_enough() {
    let file = malformed::valid().0;
    let file_len = file.len() as u64;
    let whole = Gguf::parse(&file).unwrap();
    let header = file.len() - 98;
    for len in 0..=file.len() {
        match Gguf::parse_prefix(&file[..len], file_len) {
            Err(Error::PrefixTooShort { have, needed }) => {
                assert_eq!(have, len as u64);
                assert!(needed > have && needed <= file_len);
                assert!(len < header, "{len}");
            }
            Ok(gguf) => assert_eq!(gguf, whole),
            Err(error) => panic!("{len}: {error}"),
        }
    }
    // What is wrong is found as soon as it is in memory.
    for (name, bytes) in malformed::files() {
        let expected = Gguf::parse(&bytes).unwrap_err().to_string();
        let found = (0..=bytes.len())
            .map(|len| Gguf::parse_prefix(&bytes[..len], bytes.len() as u64))
            .find(|done| !matches!(done, Err(Error::PrefixTooShort { .. })))
            .expect("the whole file is enough");
        assert_eq!(found.unwrap_err().to_string(), expected, "{name}");
    }
}
