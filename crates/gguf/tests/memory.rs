//! What opening costs: no data pages, and no allocation that the file's own length does not justify.

use quipu_gguf::{Gguf, GgufWriter};
use quipu_testing::alloc::Counting;

#[path = "support/malformed.rs"]
mod malformed;

/// Largest single request, and most bytes held at once beyond those held before, while `f` runs.
fn cost<T>(f: impl FnOnce() -> T) -> (usize, usize) {
    let cost = quipu_testing::alloc::cost(f);
    (cost.largest, cost.most_held)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file of one array key whose type and length are chosen freely, with `room` zeros behind.
fn array_file(element: u32, len: u64, room: usize) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(0u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.push(b'a');
    file.extend(9u32.to_le_bytes());
    file.extend(element.to_le_bytes());
    file.extend(len.to_le_bytes());
    file.resize(file.len() + room, 0);
    file
}

#[test]
fn lengths_are_checked_before_they_are_allocated() {
    for element in 0..13 {
        for len in [1 << 10, 1 << 20, 1 << 30, 1 << 60, u64::MAX, u64::MAX / 8 + 1] {
            let file = array_file(element, len, 1000);
            let (largest, _) =
                cost(|| assert!(Gguf::parse(&file).is_err(), "element type {element}, length {len}"));
            assert!(largest <= file.len(), "element type {element}, length {len}: {largest} bytes");
        }
    }
    for counts in [[1u64 << 40, 0], [0, 1 << 40], [i64::MAX as u64, i64::MAX as u64]] {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        for n in counts {
            file.extend(n.to_le_bytes());
        }
        file.resize(1000, 0);
        let (largest, _) = cost(|| assert!(Gguf::parse(&file).is_err()));
        assert!(largest <= file.len());
    }
}

/// What messages and the first entries of tables may take whatever the file's length.
const SMALL: usize = 8 * 1024;

#[test]
fn no_malformed_file_takes_more_than_twice_its_length() {
    for (name, bytes) in malformed::files() {
        let (largest, most) = cost(|| Gguf::parse(&bytes));
        assert!(largest <= 2 * bytes.len() + 1024, "{name}: {largest} bytes at once for {}", bytes.len());
        assert!(most <= 2 * bytes.len() + SMALL, "{name}: {most} bytes for {}", bytes.len());
    }
}

#[test]
fn large_arrays_are_held_once() {
    let mut w = GgufWriter::new();
    let texts = (0..200_000).map(|i| format!("text {i}"));
    w.metadata.set("texts", quipu_gguf::Value::Array(quipu_gguf::Array::String(texts.collect())));
    w.metadata.set("numbers", quipu_gguf::Value::Array(quipu_gguf::Array::F32(vec![0.5; 500_000])));
    let file = w.header().unwrap();
    let (_, most) = cost(|| Gguf::parse(&file).unwrap());
    assert!(most <= file.len() + SMALL, "{most} bytes for {}", file.len());
}

/// Nothing but keys of a few letters with a one-byte value, or tensors of short names without data: the files whose
/// tables take most memory beside their length. A descriptor is 80 bytes for 36 in the file, so the tensors' table
/// is the one allocation that exceeds twice the length.
#[test]
fn tables_of_the_smallest_entries_stay_in_proportion() {
    let mut keys = GgufWriter::new();
    let mut tensors = GgufWriter::new();
    for i in 0..20_000u32 {
        keys.metadata.set(&format!("{i:x}"), quipu_gguf::Value::U8(0));
        tensors.add_tensor(&format!("{i:x}"), quipu_quant::DType::I8, &[0]).unwrap();
    }
    for (what, w, at_once) in [("keys", keys, 2), ("tensors", tensors, 3)] {
        let file = w.header().unwrap();
        let (largest, most) = cost(|| Gguf::parse(&file).unwrap());
        println!("{what}: {largest} at once, {most} in all for {} bytes", file.len());
        assert!(largest <= at_once * file.len(), "{what}: {largest} bytes at once for {}", file.len());
        assert!(most <= 10 * file.len(), "{what}: {most} bytes for {}", file.len());
    }
}

/// Resident bytes of this process that belong to mapped files.
#[cfg(target_os = "linux")]
fn resident_file_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("RssFile:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn opening_a_gigabyte_reads_the_header_only_and_release_gives_pages_back() {
    use std::io::Write as _;

    const MIB: usize = 1 << 20;
    let mut w = GgufWriter::new();
    for i in 0..64 {
        w.add_tensor(&format!("blk.{i}.weight"), quipu_quant::DType::F16, &[1 << 10, 1 << 13]).unwrap();
    }
    let header = w.header().unwrap();
    let mut tmp = tempfile::NamedTempFile::new().unwrap();
    tmp.write_all(&header).unwrap();
    // A hole stands for the data; reading it maps pages as any file does.
    tmp.as_file().set_len((header.len() + 64 * 16 * MIB) as u64).unwrap();

    let before = resident_file_bytes();
    let file = quipu_gguf::GgufFile::open(tmp.path()).unwrap();
    let opened = resident_file_bytes().saturating_sub(before);
    assert!(opened < 8 * MIB, "opening made {opened} bytes resident");

    for i in 0..4 {
        let sum: usize = file.tensor_bytes_at(i).unwrap().iter().map(|&b| usize::from(b)).sum();
        assert_eq!(sum, 0);
    }
    let touched = resident_file_bytes().saturating_sub(before);
    assert!(touched > 60 * MIB, "reading 64 MiB made {touched} bytes resident");
    for i in 0..4 {
        file.release_tensor(i).unwrap();
    }
    let released = resident_file_bytes().saturating_sub(before);
    assert!(released < 8 * MIB, "{released} bytes stayed resident after release");
}
