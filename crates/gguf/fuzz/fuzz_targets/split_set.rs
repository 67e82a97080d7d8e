//! Several headers made from the input: whatever they say about their set, the check returns; and what it accepts
//! has each tensor once and as many as announced.
#![no_main]

use std::collections::HashSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use quipu_gguf::{Gguf, GgufWriter, Value, check_split_set, split_count, split_path, split_paths, split_prefix};
use quipu_quant::DType;

/// A value of the type and size that a byte says; mostly what the key should have.
fn value(expected: Value, byte: u8) -> Option<Value> {
    let n = byte & 15;
    match byte >> 4 {
        0 => None,
        1 => Some(Value::U16(n.into())),
        2 => Some(Value::I32(i32::from(n) - 1)),
        3 => Some(Value::U32(n.into())),
        4 => Some(Value::from("2")),
        5 => Some(Value::U16(u16::MAX - u16::from(n))),
        _ => Some(expected),
    }
}

fn header(no: u16, count: u16, n_tensors: i32, bytes: &[u8]) -> Gguf {
    let mut writer = GgufWriter::new();
    let mut bytes = bytes.iter().copied();
    let mut next = || bytes.next().unwrap_or(255);
    for (key, expected) in [
        ("split.no", Value::U16(no)),
        ("split.count", Value::U16(count)),
        ("split.tensors.count", Value::I32(n_tensors)),
    ] {
        if let Some(value) = value(expected, next()) {
            writer.metadata.set(key, value);
        }
    }
    // One tensor in each file by default, or a few of names that may collide.
    let names = next();
    if names == 255 {
        writer.add_tensor(&format!("t{no}"), DType::F32, &[1]).expect("a new name");
    } else {
        for i in (0..4).filter(|i| names >> i & 1 == 1) {
            writer.add_tensor(&format!("t{}", i + (names >> 4)), DType::F32, &[1]).expect("a new name");
        }
    }
    let header = writer.header().expect("no alignment key");
    Gguf::parse_header(&header).expect("what was written can be read")
}

fuzz_target!(|bytes: &[u8]| {
    // A file of a set, or any other: names and prefixes.
    let Some((&[n_files, n_tensors, claimed], rest)) = bytes.split_first_chunk::<3>() else { return };
    let n_files = usize::from(n_files % 6);
    let count = if claimed < 200 { n_files as u16 } else { u16::from(claimed - 200) };
    let n_tensors = if n_tensors < 200 { n_files as i32 } else { i32::from(n_tensors) - 200 };
    let files: Vec<Gguf> = (0..n_files)
        .map(|i| header(i as u16, count, n_tensors, rest.get(4 * i..).unwrap_or_default()))
        .collect();
    let refs: Vec<&Gguf> = files.iter().collect();
    match check_split_set(&refs) {
        Ok(()) => {
            let expected = split_count(&files[0].metadata).expect("it was checked");
            assert_eq!(files.len(), usize::from(expected));
            let all: Vec<&str> = files.iter().flat_map(|g| &g.tensors).map(|t| t.name.as_str()).collect();
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
            if expected > 1 {
                assert_eq!(files[0].metadata.require::<i32>("split.tensors.count").ok(), Some(all.len() as i32));
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
    // Names: any text as a path, and every made path taken apart again.
    let text = String::from_utf8_lossy(rest);
    let path = Path::new(text.as_ref());
    if let Some(prefix) = split_prefix(path, u16::from(claimed), u16::from(claimed) + 1) {
        assert_eq!(split_path(&prefix, u16::from(claimed), u16::from(claimed) + 1), path);
    }
    let made = split_path(path, 0, count);
    assert_eq!(split_prefix(&made, 0, count).is_none(), text.is_empty());
    let _ = split_paths(&made, count.min(100));
});
