//! Files that no reader may take, each made by one named mutation: the generator of `tests/malformed`.
//!
//! `cargo run -p quipu-gguf --example malformed -- DIR` writes them.
#![allow(dead_code)] // each user takes a part

/// Bytes of a file, written piece by piece.
#[derive(Clone, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn header(version: u32, n_tensors: i64, n_keys: i64) -> Bytes {
        Bytes(b"GGUF".to_vec()).u32(version).i64(n_tensors).i64(n_keys)
    }

    pub fn u8(mut self, v: u8) -> Bytes {
        self.0.push(v);
        self
    }

    pub fn u32(mut self, v: u32) -> Bytes {
        self.0.extend(v.to_le_bytes());
        self
    }

    pub fn i64(self, v: i64) -> Bytes {
        self.u64(v as u64)
    }

    pub fn u64(mut self, v: u64) -> Bytes {
        self.0.extend(v.to_le_bytes());
        self
    }

    pub fn raw(mut self, v: &[u8]) -> Bytes {
        self.0.extend(v);
        self
    }

    pub fn str(self, v: &str) -> Bytes {
        self.u64(v.len() as u64).raw(v.as_bytes())
    }

    /// A key with a u32 value.
    pub fn key_u32(self, key: &str, v: u32) -> Bytes {
        self.str(key).u32(4).u32(v)
    }

    pub fn tensor(self, name: &str, dims: &[i64], dtype: u32, offset: u64) -> Bytes {
        let start = self.str(name).u32(dims.len() as u32);
        dims.iter().fold(start, |b, &n| b.i64(n)).u32(dtype).u64(offset)
    }

    pub fn zeros(mut self, n: usize) -> Bytes {
        self.0.resize(self.0.len() + n, 0);
        self
    }

    /// Zeros to the next multiple of `alignment`, then `n_data` more.
    pub fn data(mut self, alignment: usize, n_data: usize) -> Bytes {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self.zeros(n_data)
    }
}

pub fn v3(n_tensors: i64, n_keys: i64) -> Bytes {
    Bytes::header(3, n_tensors, n_keys)
}

pub fn one_tensor(name: &str, dims: &[i64], dtype: u32, offset: u64) -> Bytes {
    v3(1, 0).tensor(name, dims, dtype, offset).data(32, 64)
}

/// Room behind a short header, so that counts are not refused before what the case is about.
const ROOM: usize = 256;

/// Header, keys and tensors written by hand, wrong in one place.
fn hand_made() -> Vec<(&'static str, Bytes)> {
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

/// A file that every reader takes: keys of all kinds, two tensors, data. What it is made of, so that mutations know
/// where to cut.
pub fn valid() -> Bytes {
    v3(2, 3)
        .key_u32("general.alignment", 64)
        .str("names")
        .u32(9)
        .u32(8)
        .u64(2)
        .str("one")
        .str("two")
        .str("scale")
        .u32(6)
        .u32(1.5f32.to_bits())
        .tensor("v", &[4, 2], 0, 0)
        .tensor("w", &[32], 8, 64)
        .data(64, 64 + 34)
}

/// The valid file with `new` in the place of the first `old`.
fn swap(old: &[u8], new: &[u8]) -> Bytes {
    let mut file = valid().0;
    let at = file.windows(old.len()).position(|w| w == old).expect("the valid file has it");
    file.splice(at..at + old.len(), new.iter().copied());
    Bytes(file)
}

/// The valid file with `new` written over what stands at `at`.
fn patch(at: usize, new: &[u8]) -> Bytes {
    let mut file = valid().0;
    file[at..at + new.len()].copy_from_slice(new);
    Bytes(file)
}

/// Each type's shortest value and one byte less; each array type with one element more than there are bytes for.
fn cut_values() -> Vec<(String, Bytes)> {
    let sizes = [1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8];
    let names = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64"];
    let mut files = Vec::new();
    for (id, (name, size)) in names.into_iter().zip(sizes).enumerate() {
        if name == "arr" {
            continue;
        }
        let id = id as u32;
        files.push((format!("value_of_{name}_missing"), v3(0, 1).str("a.long.key").u32(id).zeros(size - 1)));
        let array = v3(0, 1).str("a").u32(9).u32(id).u64(3).zeros(3 * size - 1);
        files.push((format!("array_of_{name}_one_short"), array));
        let array = v3(0, 1).str("a").u32(9).u32(id).u64(u64::MAX).zeros(ROOM);
        files.push((format!("array_of_{name}_of_2_to_the_64"), array));
    }
    files
}

/// Types of tensors that ggml no longer has, or never had.
fn wrong_types() -> Vec<(String, Bytes)> {
    [5u32, 31, 32, 33, 36, 37, 38, 44, 1 << 16, 1 << 31]
        .into_iter()
        .map(|id| (format!("tensor_of_type_{id}"), one_tensor("w", &[256], id, 0)))
        .collect()
}

/// The valid file, wrong in one place.
fn mutated() -> Vec<(&'static str, Bytes)> {
    let end = valid().0.len();
    let cut = |len: usize| Bytes(valid().0[..len].to_vec());
    vec![
        ("magic_in_lower_case", patch(0, b"gguf")),
        ("magic_backwards", patch(0, b"FUGG")),
        ("version_2_byte_swapped", patch(4, &2u32.swap_bytes().to_le_bytes())),
        ("version_65536", patch(4, &65536u32.to_le_bytes())),
        ("version_largest", patch(4, &[0xff; 4])),
        ("tensor_count_smallest", patch(8, &i64::MIN.to_le_bytes())),
        ("tensor_count_largest", patch(8, &i64::MAX.to_le_bytes())),
        ("tensor_count_one_too_many", patch(8, &3u64.to_le_bytes())),
        ("key_count_largest", patch(16, &i64::MAX.to_le_bytes())),
        ("key_count_one_too_many", patch(16, &4u64.to_le_bytes())),
        ("key_count_one_too_few", patch(16, &2u64.to_le_bytes())),
        ("key_count_0", patch(16, &0u64.to_le_bytes())),
        ("first_key_length_0", patch(24, &0u64.to_le_bytes())),
        ("first_key_length_of_file", patch(24, &(end as u64).to_le_bytes())),
        ("first_key_length_2_to_the_63", patch(24, &(1u64 << 63).to_le_bytes())),
        ("first_key_length_one_over_a_gigabyte", patch(24, &((1u64 << 30) + 1).to_le_bytes())),
        ("key_with_nul", swap(b"names", b"na\0es")),
        ("key_with_half_a_character", swap(b"names", b"na\xe2\x82s")),
        ("alignment_128_with_data_of_64", patch(24 + 8 + 17 + 4, &128u32.to_le_bytes())),
        ("alignment_63", patch(24 + 8 + 17 + 4, &63u32.to_le_bytes())),
        ("alignment_largest", patch(24 + 8 + 17 + 4, &[0xff; 4])),
        ("alignment_i32", patch(24 + 8 + 17, &5u32.to_le_bytes())),
        ("alignment_f32", patch(24 + 8 + 17, &6u32.to_le_bytes())),
        ("alignment_as_array", v3(0, 1).str("general.alignment").u32(9).u32(4).u64(1).u32(32)),
        ("alignment_as_text", v3(0, 1).str("general.alignment").u32(8).str("32")),
        ("alignment_missing_with_data_of_64", swap(b"general.alignment", b"general.alignmenT")),
        ("array_of_empty_arrays", v3(0, 1).str("a").u32(9).u32(9).u64(0)),
        ("array_one_over_2_to_the_30", v3(0, 1).str("a").u32(9).u32(0).u64((1 << 30) + 1).zeros(ROOM)),
        ("array_of_strings_with_one_more", swap(&[8, 0, 0, 0, 2], &[8, 0, 0, 0, 3])),
        ("string_one_over_a_gigabyte", v3(0, 1).str("a").u32(8).u64((1 << 30) + 1).zeros(ROOM)),
        ("string_of_2_to_the_63", v3(0, 1).str("a").u32(8).u64(1 << 63).zeros(ROOM)),
        ("string_one_byte_short", v3(0, 1).str("a").u32(8).u64(5).raw(b"four")),
        ("string_length_that_wraps", v3(0, 1).str("a").u32(8).u64(u64::MAX - 36).zeros(ROOM)),
        ("tensor_name_of_65", one_tensor(&"x".repeat(65), &[1], 0, 0)),
        ("tensor_name_length_2_to_the_64", v3(1, 0).u64(u64::MAX).zeros(ROOM)),
        ("tensor_name_not_utf8", v3(1, 0).u64(1).raw(b"\xff").u32(1).i64(1).u32(0).u64(0).data(32, 32)),
        ("tensor_name_empty_twice", v3(2, 0).tensor("", &[8], 0, 0).tensor("", &[8], 0, 32).data(32, 64)),
        (
            "tensor_name_of_the_first_again",
            v3(3, 0).tensor("u", &[8], 0, 0).tensor("v", &[8], 0, 32).tensor("u", &[8], 0, 64).data(32, 96),
        ),
        ("tensor_of_2_to_the_32_dims", v3(1, 0).str("w").u32(u32::MAX).zeros(ROOM)),
        ("tensor_of_smallest_dim", one_tensor("w", &[i64::MIN], 0, 0)),
        ("tensor_of_negative_last_dim", one_tensor("w", &[1, 1, 1, -1], 0, 0)),
        ("tensor_of_largest_dim", one_tensor("w", &[i64::MAX], 24, 0)),
        ("tensor_of_2_to_the_63_in_four_dims", one_tensor("w", &[1 << 16, 1 << 16, 1 << 16, 1 << 15], 24, 0)),
        ("tensor_of_product_that_wraps_to_0", one_tensor("w", &[1 << 32, 1 << 32, 1], 0, 0)),
        ("tensor_of_2_to_the_62_f32", one_tensor("w", &[1 << 62], 0, 0)),
        ("tensor_of_half_a_superblock", one_tensor("w", &[128, 2], 12, 0)),
        ("tensor_of_empty_part_of_a_block", one_tensor("w", &[16, 0], 2, 0)),
        ("first_offset_1", one_tensor("w", &[8], 0, 1)),
        ("first_offset_largest", one_tensor("w", &[8], 0, u64::MAX)),
        (
            "second_offset_without_padding",
            v3(2, 0).tensor("v", &[1], 0, 0).tensor("w", &[8], 0, 4).data(32, 64),
        ),
        (
            "second_offset_before_first",
            v3(2, 0).tensor("v", &[8], 0, 32).tensor("w", &[8], 0, 0).data(32, 64),
        ),
        (
            "offsets_padded_to_16",
            v3(3, 0).tensor("u", &[4], 0, 0).tensor("v", &[4], 0, 16).tensor("w", &[4], 0, 32).data(32, 96),
        ),
        ("offset_of_another_alignment", swap(&[8, 0, 0, 0, 64], &[8, 0, 0, 0, 128])),
        ("data_missing", cut(end - 98)),
        ("data_of_second_tensor_missing", cut(end - 34)),
        ("data_of_a_gigabyte_missing", one_tensor("w", &[1 << 28], 0, 0)),
        ("data_of_2_to_the_60_missing", one_tensor("w", &[1 << 58], 0, 0)),
        ("last_byte_missing", cut(end - 1)),
    ]
}

/// All of them, by name; names are unique.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    files.extend(hand_made().into_iter().chain(mutated()).map(|(name, bytes)| (name.to_owned(), bytes.0)));
    files.extend(cut_values().into_iter().chain(wrong_types()).map(|(name, bytes)| (name, bytes.0)));
    files.sort();
    files
}
