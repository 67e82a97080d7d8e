//! A valid header, then keys and values made from the input: what parses answers every typed question without a
//! panic, takes overrides, and is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_gguf::{Array, Gguf, GgufWriter, Metadata, MetadataOverride, StringArray};

/// Keys and values from the input. Types, lengths and texts are its bytes, so a mutation changes one value and
/// leaves the rest in place; every now and then a type or a length is wrong.
fn file(mut bytes: &[u8]) -> Vec<u8> {
    let mut take = |n: usize| {
        let (head, rest) = bytes.split_at(n.min(bytes.len()));
        bytes = rest;
        head
    };
    let mut body = Vec::new();
    let mut n_keys = 0u64;
    while let &[kind, shape] = take(2) {
        n_keys += 1;
        let name = take(usize::from(shape & 7));
        body.extend((name.len() as u64).to_le_bytes());
        body.extend(name);
        let id = u32::from(kind % 14);
        body.extend(id.to_le_bytes());
        let size = |id: u32| [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8, 4][id as usize];
        let string = |body: &mut Vec<u8>, text: &[u8], lie: bool| {
            let len = if lie { u64::from_le_bytes([text.len() as u8; 8]) } else { text.len() as u64 };
            body.extend(len.to_le_bytes());
            body.extend(text);
        };
        match id {
            8 => {
                let text = take(usize::from(shape >> 3));
                string(&mut body, text, kind > 250);
            }
            9 => {
                let element = u32::from(shape >> 4) % 14;
                body.extend(element.to_le_bytes());
                let n = u64::from(kind >> 4);
                body.extend((if kind > 250 { n << (shape & 63) } else { n }).to_le_bytes());
                for _ in 0..n {
                    if element == 8 {
                        let text = take(usize::from(kind & 7));
                        string(&mut body, text, false);
                    } else {
                        let mut value = take(size(element)).to_vec();
                        value.resize(size(element), 0);
                        body.extend(value);
                    }
                }
            }
            _ => {
                let mut value = take(size(id)).to_vec();
                value.resize(size(id), 0);
                body.extend(value);
            }
        }
    }
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(0u64.to_le_bytes());
    file.extend(n_keys.to_le_bytes());
    file.extend(body);
    file
}

fn ask(metadata: &Metadata, key: &str) {
    let _ = metadata.u32(key);
    let _ = metadata.f32(key);
    let _ = metadata.bool(key);
    let _ = metadata.integer(key);
    let _ = metadata.require::<u8>(key);
    let _ = metadata.require::<i8>(key);
    let _ = metadata.require::<u16>(key);
    let _ = metadata.require::<i16>(key);
    let _ = metadata.require::<i32>(key);
    let _ = metadata.require::<u64>(key);
    let _ = metadata.require::<i64>(key);
    let _ = metadata.require::<f64>(key);
    let _ = metadata.require::<&[u8]>(key);
    let _ = metadata.require::<&[i32]>(key);
    let _ = metadata.require::<&[f32]>(key);
    let _ = metadata.require::<&[bool]>(key);
    if let Err(error) = metadata.str(key) {
        assert!(!error.to_string().contains('\n'));
    }
    if let Ok(strings) = metadata.require::<&StringArray>(key) {
        assert_eq!(strings.iter().count(), strings.len());
        assert!(strings.iter().enumerate().all(|(i, s)| strings.get(i) == Some(s)));
        assert_eq!(strings.get(strings.len()), None);
    }
    if let Ok(array) = metadata.require::<&Array>(key) {
        for i in 0..=array.len() {
            let _ = array.integer(i);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let file = file(bytes);
    let Ok(mut gguf) = Gguf::parse(&file) else { return };
    let keys: Vec<String> = gguf.metadata.iter().map(|(key, _)| key.to_owned()).collect();
    for key in &keys {
        ask(&gguf.metadata, key);
    }
    ask(&gguf.metadata, "not there");
    // Alignments other than the default would only add zeros.
    if gguf.alignment <= 4096 {
        let again = GgufWriter::from_gguf(&gguf).header().expect("what was read can be written");
        // Bools are the only values with two forms on disk.
        let second = Gguf::parse(&again).expect("what was written can be read");
        assert_eq!(second.metadata.len(), gguf.metadata.len());
        assert_eq!(GgufWriter::from_gguf(&second).header().expect("as before"), again);
    }
    let text = String::from_utf8_lossy(bytes);
    let overrides: Vec<MetadataOverride> = text.split(',').filter_map(|t| t.parse().ok()).take(8).collect();
    let ignored = gguf.metadata.apply_overrides(&overrides);
    assert!(ignored.iter().all(|i| !i.to_string().is_empty()));
    for key in keys.iter().rev() {
        assert!(gguf.metadata.remove(key).is_some() && !gguf.metadata.contains(key));
    }
});
