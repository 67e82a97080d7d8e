//! One hand-made file per way a file can be wrong. The messages are held in `snapshots/errors.txt`;
//! `UPDATE_SNAPSHOTS=1` writes them anew.

use std::fmt::Write as _;

use quipu_gguf::{Error, Gguf, GgufFile};

/// Bytes of a file, written piece by piece.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(version: u32, n_tensors: i64, n_keys: i64) -> Bytes {
        Bytes(b"GGUF".to_vec()).u32(version).i64(n_tensors).i64(n_keys)
    }

    fn u8(mut self, v: u8) -> Bytes {
        self.0.push(v);
        self
    }

    fn u32(mut self, v: u32) -> Bytes {
        self.0.extend(v.to_le_bytes());
        self
    }

    fn i64(self, v: i64) -> Bytes {
        self.u64(v as u64)
    }

    fn u64(mut self, v: u64) -> Bytes {
        self.0.extend(v.to_le_bytes());
        self
    }

    fn raw(mut self, v: &[u8]) -> Bytes {
        self.0.extend(v);
        self
    }

    fn str(self, v: &str) -> Bytes {
        self.u64(v.len() as u64).raw(v.as_bytes())
    }

    /// A key with a u32 value.
    fn key_u32(self, key: &str, v: u32) -> Bytes {
        self.str(key).u32(4).u32(v)
    }

    fn tensor(self, name: &str, dims: &[i64], dtype: u32, offset: u64) -> Bytes {
        let start = self.str(name).u32(dims.len() as u32);
        dims.iter().fold(start, |b, &n| b.i64(n)).u32(dtype).u64(offset)
    }

    fn zeros(mut self, n: usize) -> Bytes {
        self.0.resize(self.0.len() + n, 0);
        self
    }

    /// Zeros to the next multiple of `alignment`, then `n_data` more.
    fn data(mut self, alignment: usize, n_data: usize) -> Bytes {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self.zeros(n_data)
    }
}

fn v3(n_tensors: i64, n_keys: i64) -> Bytes {
    Bytes::header(3, n_tensors, n_keys)
}

fn one_tensor(name: &str, dims: &[i64], dtype: u32, offset: u64) -> Bytes {
    v3(1, 0).tensor(name, dims, dtype, offset).data(32, 64)
}

/// Room behind a short header, so that counts are not refused before what the case is about.
const ROOM: usize = 256;

fn attacks() -> Vec<(&'static str, Bytes)> {
    vec![
        ("empty_file", Bytes::default()),
        ("magic_cut_short", Bytes(b"GGU".to_vec())),
        ("magic_of_another_format", Bytes(b"\x7fELF\x02\x01".to_vec())),
        ("magic_of_ggml_times", Bytes(b"tjgg".to_vec())),
        ("version_missing", Bytes(b"GGUF\x03\0".to_vec())),
        ("version_0", Bytes::header(0, 0, 0)),
        ("version_1", Bytes::header(1, 0, 0)),
        ("version_4", Bytes::header(4, 0, 0)),
        ("version_byte_swapped", Bytes::header(3u32.swap_bytes(), 0, 0)),
        ("tensor_count_missing", Bytes(b"GGUF\x03\0\0\0".to_vec())),
        ("key_count_missing", Bytes(b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0".to_vec())),
        ("tensor_count_negative", v3(-1, 0)),
        ("tensor_count_beyond_file", v3(1 << 40, 0).zeros(ROOM)),
        ("key_count_negative", v3(0, i64::MIN)),
        ("key_count_beyond_file", v3(0, 1 << 60).zeros(ROOM)),
        ("key_length_missing", v3(0, 2).key_u32("key_of_16_bytes_", 1).raw(&[0; 7])),
        ("value_of_u64_cut_short", v3(0, 1).str("a").u32(10).u32(0)),
        ("key_with_line_breaks", v3(0, 1).str("a\nb\u{1b}[0m").u32(10).u32(0)),
        ("key_of_a_thousand_letters", v3(0, 1).str(&"k".repeat(1000)).u32(10).u32(0)),
        ("key_length_over_a_gigabyte", v3(0, 1).u64(u64::MAX).zeros(ROOM)),
        ("key_length_beyond_file", v3(0, 1).u64(1 << 30).zeros(ROOM)),
        ("key_empty", v3(0, 1).str("").u32(4).u32(1).zeros(ROOM)),
        ("key_not_utf8", v3(0, 1).u64(2).raw(b"\xff\xfe").u32(4).u32(1)),
        ("key_twice", v3(0, 3).key_u32("a", 1).key_u32("b", 2).key_u32("a", 3)),
        ("value_type_unknown", v3(0, 1).str("a").u32(13).zeros(ROOM)),
        ("value_type_negative", v3(0, 1).str("a").u32(u32::MAX).zeros(ROOM)),
        ("value_type_missing", v3(0, 1).str("a.key.of.some.length").u8(4)),
        ("value_cut_short", v3(0, 1).str("a.key").u32(12).raw(&[0; 7])),
        ("string_over_a_gigabyte", v3(0, 1).str("a").u32(8).u64(u64::MAX).zeros(ROOM)),
        ("string_beyond_file", v3(0, 1).str("a").u32(8).u64(1 << 20).zeros(ROOM)),
        ("array_of_arrays", v3(0, 1).str("a").u32(9).u32(9).u64(1).zeros(ROOM)),
        ("array_of_unknown_type", v3(0, 1).str("a").u32(9).u32(77).u64(1).zeros(ROOM)),
        ("array_length_missing", v3(0, 1).str("a").u32(9).u32(4).raw(&[1, 0])),
        ("array_of_2_to_the_60", v3(0, 1).str("a").u32(9).u32(4).u64(1 << 60).zeros(ROOM)),
        ("array_of_2_to_the_30", v3(0, 1).str("a").u32(9).u32(12).u64(1 << 30).zeros(ROOM)),
        ("strings_beyond_file", v3(0, 1).str("a").u32(9).u32(8).u64(1 << 30).zeros(ROOM)),
        ("string_in_array_beyond_file", v3(0, 1).str("a").u32(9).u32(8).u64(2).str("x").u64(99)),
        ("string_in_array_too_long", v3(0, 1).str("a").u32(9).u32(8).u64(1).u64(1 << 40)),
        ("alignment_u64", v3(0, 1).str("general.alignment").u32(10).u64(32)),
        ("alignment_0", v3(0, 1).key_u32("general.alignment", 0)),
        ("alignment_13", v3(0, 1).key_u32("general.alignment", 13)),
        ("tensor_name_cut_short", v3(1, 0).u64(20).raw(b"only sixteen byt")),
        ("tensor_name_of_64", one_tensor(&"x".repeat(64), &[1], 0, 0)),
        ("tensor_name_with_nul", one_tensor("a\0b", &[1], 0, 0)),
        ("tensor_twice", v3(2, 0).tensor("w", &[8], 0, 0).tensor("w", &[8], 0, 32).data(32, 64)),
        ("tensor_of_5_dims", one_tensor("w", &[1, 1, 1, 1, 1], 0, 0)),
        ("tensor_of_negative_dim", one_tensor("w", &[4, -1], 0, 0)),
        ("tensor_shape_missing", v3(1, 0).str("w").u32(4).i64(1).raw(&[0; 7])),
        ("tensor_of_2_to_the_64", one_tensor("w", &[1 << 32, 1 << 32], 24, 0)),
        ("tensor_of_too_many_bytes", one_tensor("w", &[(1 << 61) + 1], 27, 0)),
        ("tensor_of_removed_type", one_tensor("w", &[32], 4, 0)),
        ("tensor_of_unknown_type", one_tensor("w", &[32], 43, 0)),
        ("tensor_of_negative_type", one_tensor("w", &[32], u32::MAX, 0)),
        ("tensor_type_missing", v3(1, 0).str("name").u32(1).i64(1).raw(&[0; 3])),
        ("tensor_of_part_of_a_block", one_tensor("w", &[33, 2], 8, 0)),
        ("tensor_offset_missing", v3(1, 0).str("some.name").u32(0).u32(0).raw(&[0; 7])),
        ("first_tensor_not_at_0", one_tensor("w", &[8], 0, 32)),
        ("tensors_with_a_gap", v3(2, 0).tensor("v", &[8], 0, 0).tensor("w", &[8], 0, 64).data(32, 128)),
        ("tensors_overlapping", v3(2, 0).tensor("v", &[8], 0, 0).tensor("w", &[8], 0, 0).data(32, 64)),
        (
            "tensors_of_2_to_the_64_bytes",
            v3(3, 0)
                .tensor("u", &[i64::MAX - 63], 24, 0)
                .tensor("v", &[i64::MAX - 63], 24, (1 << 63) - 64)
                .tensor("w", &[i64::MAX - 63], 24, u64::MAX - 127)
                .zeros(ROOM),
        ),
        ("data_start_beyond_file", v3(1, 0).tensor("w", &[0], 0, 0).zeros(1)),
        (
            "data_start_beyond_file_by_alignment",
            v3(1, 1).key_u32("general.alignment", 1 << 31).tensor("w", &[1], 0, 0).data(32, 32),
        ),
        ("data_one_byte_short", v3(1, 0).tensor("w", &[8], 0, 0).data(32, 31)),
    ]
}

#[test]
fn every_attack_is_refused_with_its_own_message() {
    let mut texts = String::new();
    for (name, Bytes(bytes)) in attacks() {
        let error = Gguf::parse(&bytes).expect_err(name);
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
    let shown: Vec<String> = attacks()
        .iter()
        .map(|(name, b)| format!("{:?}", Gguf::parse(&b.0).expect_err(name)))
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
    let file = v3(2, 2)
        .key_u32("general.alignment", 64)
        .str("names")
        .u32(9)
        .u32(8)
        .u64(2)
        .str("one")
        .str("two")
        .tensor("v", &[8, 2], 0, 0)
        .tensor("w", &[32], 8, 64)
        .data(64, 64 + 34)
        .0;
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
