//! The same bytes through every source, in one file and in several; and what each source refuses.

use std::path::{Path, PathBuf};

use quipu_gguf::{
    BufferedFile, ByteSource, DirectFile, Error, GgufFile, GgufSet, GgufWriter, HostMemory, MappedFile,
    SourceKind, Value, open_source,
};
use quipu_quant::DType;
use quipu_testing::SplitMix;

const KINDS: [SourceKind; 4] =
    [SourceKind::Mapped, SourceKind::Buffered, SourceKind::Direct, SourceKind::Memory];

/// Tensors whose ends fall on no block of any file system; the last ones take more than a bounce buffer.
const SIZES: [u64; 5] = [1, 1000, 33, 700_001, 1_500_007];

fn byte(tensor: usize, at: u64) -> u8 {
    (at.wrapping_mul(2_654_435_761).wrapping_add(tensor as u64 * 97) >> 13) as u8
}

/// Writes the tensors of `range` with the keys a piece of a split model has.
fn write(path: &Path, range: std::ops::Range<usize>, keys: &[(&str, Value)]) {
    let mut writer = GgufWriter::new();
    // A vocabulary that does not fit in the first prefix read.
    let tokens: Vec<String> = (0..20_000).map(|i| format!("token {i}")).collect();
    writer.metadata.set("padding", Value::from(tokens.concat().as_str()));
    for (key, value) in keys {
        writer.metadata.set(key, value.clone());
    }
    for i in range.clone() {
        writer.add_tensor(&format!("t{i}"), DType::I8, &[SIZES[i]]).expect("a new name");
    }
    let mut out = Vec::new();
    let first = range.start;
    writer
        .write_to(&mut out, |i, sink| {
            let bytes: Vec<u8> = (0..SIZES[first + i]).map(|at| byte(first + i, at)).collect();
            sink.write_all(&bytes)
        })
        .expect("memory is writable");
    std::fs::write(path, out).expect("writable");
}

fn piece_keys(no: u16, count: u16, tensors: i32) -> [(&'static str, Value); 3] {
    [
        ("split.no", Value::U16(no)),
        ("split.count", Value::U16(count)),
        ("split.tensors.count", Value::I32(tensors)),
    ]
}

fn split(dir: &Path) -> PathBuf {
    let path = |no: usize| dir.join(format!("toy-{no:05}-of-00003.gguf"));
    write(&path(1), 0..2, &piece_keys(0, 3, 5));
    write(&path(2), 2..2, &piece_keys(1, 3, 5));
    write(&path(3), 2..5, &piece_keys(2, 3, 5));
    path(1)
}

fn check(set: &GgufSet, kind: SourceKind) {
    assert_eq!(set.n_tensors(), SIZES.len());
    for (i, size) in SIZES.into_iter().enumerate() {
        let expected: Vec<u8> = (0..size).map(|at| byte(i, at)).collect();
        assert_eq!(set.position(&format!("t{i}")), Some(i));
        assert_eq!(set.tensor(i).unwrap().n_bytes, size);
        assert_eq!(*set.tensor_data(i).unwrap(), expected, "{kind:?} t{i}");
        let (from, to) = (size / 3, size - size / 5);
        let mut part = vec![0; (to - from) as usize];
        set.read_tensor(i, from, &mut part).unwrap();
        assert_eq!(part, expected[from as usize..to as usize], "{kind:?} t{i}");
        let past = set.read_tensor(i, size, &mut [0]);
        assert!(matches!(past, Err(Error::OutOfRange { .. })), "{past:?}");
        let in_place = set.tensor_bytes(i);
        match kind {
            SourceKind::Mapped | SourceKind::Memory => assert_eq!(in_place.unwrap(), expected),
            _ => assert!(matches!(in_place, Err(Error::NotInPlace { .. }))),
        }
        set.release_tensor(i).unwrap();
        assert_eq!(*set.tensor_data(i).unwrap(), expected, "after release, {kind:?} t{i}");
    }
}

#[test]
fn every_source_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("toy.gguf");
    write(&path, 0..5, &[]);
    for kind in KINDS {
        let set = GgufSet::open(&path, kind).unwrap();
        assert_eq!(set.shards()[0].source().kind(), kind);
        check(&set, kind);
        assert!((0..5).all(|i| set.shard_of(i).unwrap() == 0));
    }
}

#[test]
fn split_sets_open_as_one_model_through_every_source() {
    let dir = tempfile::tempdir().unwrap();
    let first = split(dir.path());
    for kind in KINDS {
        let set = GgufSet::open(&first, kind).unwrap();
        check(&set, kind);
        let shards: Vec<usize> = (0..5).map(|i| set.shard_of(i).unwrap()).collect();
        assert_eq!(shards, [0, 0, 2, 2, 2]);
        assert_eq!(set.paths().len(), 3);
    }
    // Any names do, if they are given.
    let renamed: Vec<PathBuf> = (0..3).map(|i| dir.path().join(format!("piece{i}"))).collect();
    for (i, to) in renamed.iter().enumerate() {
        std::fs::copy(dir.path().join(format!("toy-{:05}-of-00003.gguf", i + 1)), to).unwrap();
    }
    check(&GgufSet::open_pieces(&renamed, SourceKind::Mapped).unwrap(), SourceKind::Mapped);
}

#[test]
fn sources_read_any_range_and_refuse_what_is_past_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    let len = 3_000_001u64;
    let bytes: Vec<u8> = (0..len).map(|at| byte(9, at)).collect();
    std::fs::write(&path, &bytes).unwrap();
    for kind in KINDS {
        let source = open_source(&path, kind).unwrap();
        assert_eq!(source.len(), len);
        assert_eq!(source.in_place().is_some(), matches!(kind, SourceKind::Mapped | SourceKind::Memory));
        source.prefetch(0..u64::MAX);
        let mut random = SplitMix::new(1);
        for _ in 0..60 {
            let start = random.below(len);
            let longest = 1 << random.below(22);
            let n = random.below(longest).min(len - start);
            let mut out = vec![0; n as usize];
            source.read_at(start, &mut out).unwrap();
            assert_eq!(out, bytes[start as usize..(start + n) as usize], "{kind:?} {start} {n}");
        }
        source.read_at(len, &mut []).unwrap();
        for (offset, n) in [(len, 1), (len - 1, 2), (u64::MAX, 1), (len + 5, 0)] {
            let error = source.read_at(offset, &mut vec![0; n]);
            assert!(matches!(error, Err(Error::OutOfRange { .. })), "{kind:?}: {error:?}");
        }
        source.release(10..u64::MAX);
        let mut last = [0];
        source.read_at(len - 1, &mut last).unwrap();
        assert_eq!(last[0], bytes[len as usize - 1]);
    }
}

#[test]
fn a_file_cut_short_after_opening_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    for kind in [SourceKind::Buffered, SourceKind::Direct] {
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let source = open_source(&path, kind).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(50_000).unwrap();
        let error = source.read_at(0, &mut vec![0; 100_000]);
        assert!(matches!(error, Err(Error::Read { .. })), "{kind:?}: {error:?}");
        source.read_at(0, &mut vec![0; 50_000]).unwrap();
    }
}

#[test]
fn truncated_files_are_refused_before_a_tensor_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("toy.gguf");
    write(&path, 0..5, &[]);
    let whole = std::fs::read(&path).unwrap();
    // Only the padding after the last tensor may be missing.
    for cut in [40, 1_500_007, 2_300_000, whole.len() - 100, whole.len()] {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let messages: Vec<String> =
            KINDS.iter().map(|kind| GgufFile::open_with(&path, *kind).unwrap_err().to_string()).collect();
        assert!(messages.windows(2).all(|pair| pair[0] == pair[1]), "{messages:?}");
    }
}

#[test]
fn what_is_not_a_file_is_refused_by_every_source() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        assert!(matches!(open_source(dir.path(), kind), Err(Error::NotAFile { .. })));
        assert!(matches!(open_source(dir.path().join("none"), kind), Err(Error::Open { .. })));
    }
}

#[test]
fn pieces_that_do_not_belong_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = split(dir.path());
    let open = |path: &Path| GgufSet::open(path, SourceKind::Mapped).unwrap_err();
    let piece = |no: usize| dir.path().join(format!("toy-{no:05}-of-00003.gguf"));

    assert!(matches!(open(&piece(2)), Error::NotFirstSplit { found: 1 }));
    let renamed = dir.path().join("toy.gguf");
    std::fs::copy(&first, &renamed).unwrap();
    assert!(matches!(open(&renamed), Error::SplitName { .. }));
    let pieces = [piece(1), piece(2)];
    let short = GgufSet::open_pieces(&pieces, SourceKind::Buffered).unwrap_err();
    assert!(matches!(short, Error::SplitFiles { found: 2, expected: 3 }), "{short}");
    assert!(matches!(GgufSet::open_pieces(&[], SourceKind::Mapped), Err(Error::SplitFiles { found: 0, .. })));

    write(&piece(2), 2..2, &piece_keys(2, 3, 5));
    assert!(matches!(open(&first), Error::SplitNo { found: 2, expected: 1, .. }));
    write(&piece(2), 1..2, &piece_keys(1, 3, 5));
    assert!(matches!(open(&first), Error::SplitDuplicateTensor { first: 1, second: 2, .. }));
    std::fs::write(piece(2), b"GGUF").unwrap();
    assert!(open(&first).to_string().contains("toy-00002-of-00003.gguf"));
    write(&piece(2), 2..2, &piece_keys(1, 3, 5));
    write(&piece(1), 0..1, &piece_keys(0, 3, 5));
    assert!(matches!(open(&first), Error::SplitTensors { found: 4, expected: 5 }));
    std::fs::remove_file(piece(3)).unwrap();
    let missing = open(&first).to_string();
    assert!(missing.contains("toy-00003-of-00003.gguf"), "{missing}");
}

#[test]
fn direct_reading_says_whether_it_is_direct() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    std::fs::write(&path, vec![1; 10_000]).unwrap();
    let file = DirectFile::open(&path).unwrap();
    let mut out = vec![0; 9_000];
    file.read_at(500, &mut out).unwrap();
    assert!(out.iter().all(|b| *b == 1));
    assert!(file.alignment().is_power_of_two());
    if !file.is_direct() {
        eprintln!("skipped: the file system of {} has no direct I/O", dir.path().display());
    }
    // A file system without direct I/O falls back, whether it refuses on opening or on reading.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let file = tempfile::NamedTempFile::new_in(memory).unwrap();
        std::fs::write(file.path(), vec![2; 10_000]).unwrap();
        let source = DirectFile::open(file.path()).unwrap();
        source.read_at(500, &mut out).unwrap();
        assert!(out.iter().all(|b| *b == 2));
    }
}

#[test]
fn memory_can_be_locked_or_says_how_little_was() {
    let mut memory = HostMemory::zeroed(10_000).unwrap();
    memory.as_mut_slice().fill(3);
    let locked = memory.lock(10_000);
    assert!(locked == 0 || locked >= 10_000);
    assert_eq!(memory.as_slice().len(), 10_000);
    assert!(HostMemory::zeroed(0).unwrap().as_slice().is_empty());
    assert!(matches!(HostMemory::zeroed(usize::MAX / 2), Err(Error::OutOfMemory { .. })));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    std::fs::write(&path, vec![1; 10_000]).unwrap();
    let mapped = MappedFile::open(&path).unwrap();
    assert!(mapped.lock(1) == 0 || mapped.lock(u64::MAX) >= 10_000);
    assert_eq!(BufferedFile::open(&path).unwrap().lock(100), 0);
}
