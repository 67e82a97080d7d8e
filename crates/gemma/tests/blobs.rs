//! Blob stores: layouts byte by byte, round trips, and every way in which a file can be wrong.

use std::sync::Arc;

use proptest::prelude::*;
use quipu_gemma::{BlobStore, BlobWriter, Error, Layout, compare, write_v1};
use quipu_gguf::MemoryFile;

fn open(bytes: Vec<u8>) -> quipu_gemma::Result<BlobStore> {
    BlobStore::open(Arc::new(MemoryFile::from_vec(bytes)))
}

fn v2(blobs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = BlobWriter::new(Vec::new()).expect("memory takes everything");
    for (key, bytes) in blobs {
        writer.add(key, bytes).expect("a good blob");
    }
    writer.finish().expect("memory takes everything")
}

const TWO: [(&str, &[u8]); 2] = [("first", &[1; 300]), ("sixteen_letters_", &[2])];

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn the_second_layout_is_as_described() {
    let bytes = v2(&TWO);
    assert_eq!(bytes.len(), 65536);
    assert_eq!(bytes[..16], *b"SBS\n\0\0\0\0\0\0\x01\0\0\0\0\0");
    assert_eq!((bytes[255], bytes[256], bytes[555], bytes[556]), (0, 1, 1, 0));
    assert_eq!((bytes[768], bytes[769]), (2, 0));
    let directory = 65536 - 16 - 64;
    assert!(bytes[769..directory].iter().all(|&b| b == 0));
    assert_eq!(bytes[directory..directory + 16], *b"first\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[directory + 16..directory + 32], *b"sixteen_letters_");
    let numbers: Vec<u64> = bytes[directory + 32..65536 - 16]
        .chunks(8)
        .map(|b| u64::from_le_bytes(b.try_into().expect("eight")))
        .collect();
    assert_eq!(numbers, [256, 300, 768, 1]);
    assert_eq!(bytes[65536 - 16..], *b"SBS\n\x02\0\0\0\0\0\x01\0\0\0\0\0");
}

#[test]
fn both_layouts_hold_what_was_put_in() {
    let first = write_v1(Vec::new(), &TWO).expect("good blobs");
    assert_eq!(first.len(), 65536);
    for (bytes, layout) in [(first, Layout::V1), (v2(&TWO), Layout::V2)] {
        let store = open(bytes).expect("a good file");
        assert_eq!(store.layout(), layout);
        for ((key, data), blob) in TWO.iter().zip(store.blobs()) {
            assert_eq!(blob.key.as_str(), Some(*key));
            assert_eq!(store.read(store.require(key).expect("there")).expect("readable"), *data);
        }
        assert!(store.find("nothing").is_none() && store.find("").is_none());
        assert!(matches!(store.require("seventeen_letters"), Err(Error::MissingBlob { .. })));
    }
}

#[test]
fn a_file_that_fills_its_last_page_gets_another() {
    // Blobs end where the directory would begin.
    let blob = vec![7u8; 65536 - 256 - 256];
    let bytes = v2(&[("a", &blob)]);
    assert_eq!(bytes.len(), 65536);
    assert_eq!(open(bytes).expect("good").blobs()[0].bytes, blob.len() as u64);
    let bytes = v2(&[("a", &vec![7u8; blob.len() + 1])]);
    assert_eq!(bytes.len(), 2 * 65536);
    open(bytes).expect("good");
}

#[test]
fn older_files_end_behind_their_last_blob() {
    let mut bytes = write_v1(Vec::new(), &TWO).expect("good blobs");
    bytes.truncate(256 + 512 + 256);
    let len = bytes.len() as u64;
    put(&mut bytes, 8, len);
    assert_eq!(open(bytes).expect("as the reference reads them").blobs().len(), 2);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut writer = BlobWriter::new(Vec::new()).expect("memory");
    assert!(matches!(writer.add("", &[1]), Err(Error::BadKey { .. })));
    assert!(matches!(writer.add("seventeen_letters", &[1]), Err(Error::BadKey { .. })));
    assert!(matches!(writer.add("a\0b", &[1]), Err(Error::BadKey { .. })));
    assert!(matches!(writer.add("a", &[]), Err(Error::BlobSize { .. })));
    writer.add("a", &[1]).expect("good");
    assert!(matches!(writer.add("a", &[1]), Err(Error::DuplicateKey { index: 1, first: 0, .. })));
    let short = writer.add_with("b", 5, |sink| sink.write_all(&[1, 2]));
    assert!(matches!(short, Err(Error::BlobBytes { found: 2, expected: 5, .. })));
    let empty = BlobWriter::new(Vec::new()).expect("memory").finish();
    assert!(matches!(empty, Err(Error::BlobCount { .. })));
}

/// Each damage, and the error it is.
#[test]
fn every_damage_has_its_message() {
    let good = v2(&TWO);
    let (directory, header) = (65536 - 16 - 64, 65536 - 16);
    let damaged = |at: usize, value: u64| {
        let mut bytes = good.clone();
        put(&mut bytes, at, value);
        open(bytes).expect_err("damaged").to_string()
    };
    let cases = [
        (damaged(0, 0x0a53_4254), "not a .sbs file: at offset 0 stands 0x0a534254"),
        (damaged(header, 0x0002_0000_0000), "not a .sbs file: at offset 65520 stands 0x00000000"),
        (damaged(header, 0x0a53_4253), "says 0 blobs, expected 1 to 2047"),
        (damaged(header, 0xffff_ffff_0a53_4253), "says 4294967295 blobs, expected 1 to 2047"),
        (damaged(header + 8, 65537), "says that the file has 65537 bytes, but it has 65536"),
        (damaged(directory + 32, 512), "blob 'first' begins at offset 512, expected 256"),
        (damaged(directory + 40, 0), "blob 'first' at offset 256 has 0 bytes, expected 1 to 65200"),
        (damaged(directory + 40, u64::MAX), "has 18446744073709551615 bytes, expected 1 to 65200"),
        (damaged(directory + 48, 256), "blob 'sixteen_letters_' begins at offset 256, expected 768"),
        (damaged(directory + 56, 65536), "has 65536 bytes, expected 1 to 64688"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{message}\n  expected {expected}");
    }
    let mut same = good.clone();
    same.copy_within(directory..directory + 16, directory + 16);
    assert!(matches!(open(same), Err(Error::DuplicateKey { index: 1, first: 0, .. })));
    let mut nameless = good.clone();
    nameless[directory] = 0;
    assert!(matches!(open(nameless), Err(Error::EmptyKey { index: 0, .. })));
    assert!(matches!(open(good[..100].to_vec()), Err(Error::TooShort { len: 100, .. })));
    assert!(open(good[..65535].to_vec()).is_err());
}

#[test]
fn stores_are_compared_within_what_types_may_differ() {
    let floats = |x: [f32; 2]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let store = |x: [f32; 2], other: u8| open(v2(&[("Fx", &floats(x)), ("other", &[other])])).expect("good");
    let a = store([1.0, -1.0], 5);
    assert!(compare(&a, &store([1.0005, -1.0], 5)).expect("comparable").different.is_empty());
    let found = compare(&a, &store([1.0, -1.002], 6)).expect("comparable");
    assert_eq!(found.different.len(), 2);
    assert_eq!((found.different[0].n_mismatches, found.different[0].first), (1, 4));
    // In proportion only, and of a negative value, which the reference overlooks.
    let small = store([0.0, -0.0001], 5);
    assert_eq!(compare(&small, &store([0.0, -0.0002], 5)).expect("comparable").different.len(), 1);
    assert_eq!(compare(&small, &store([f32::NAN, -0.0001], 5)).expect("comparable").different.len(), 1);
    assert!(compare(&a, &open(v2(&TWO)).expect("good")).is_err());
    assert!(compare(&a, &open(v2(&[("one", &[1])])).expect("good")).is_err());
}

proptest! {
    #[test]
    fn what_is_written_again_is_the_same(blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..2000), 1..40)) {
        let named: Vec<(String, Vec<u8>)> = blobs.into_iter().enumerate().map(|(i, b)| (format!("blob_{i}"), b)).collect();
        let borrowed: Vec<(&str, &[u8])> = named.iter().map(|(k, b)| (k.as_str(), b.as_slice())).collect();
        let bytes = v2(&borrowed);
        for store in [open(bytes.clone()), open(write_v1(Vec::new(), &borrowed).expect("good"))] {
            let store = store.expect("good");
            let mut again = BlobWriter::new(Vec::new()).expect("memory");
            for blob in store.blobs() {
                again.add(blob.key.as_str().expect("text"), &store.read(blob).expect("there")).expect("good");
            }
            prop_assert!(again.finish().expect("memory") == bytes);
        }
    }

    #[test]
    fn damage_is_an_error_or_survived(at in 0usize..65536, bit in 0u8..8, v1 in any::<bool>()) {
        let mut bytes = if v1 { write_v1(Vec::new(), &TWO).expect("good") } else { v2(&TWO) };
        bytes[at] ^= 1 << bit;
        if let Ok(store) = open(bytes) {
            for blob in store.blobs() {
                prop_assert_eq!(store.read(blob).expect("in the file").len() as u64, blob.bytes);
            }
        }
    }
}
