//! Sets of split files: cutting, joining, checking, and what is refused. That the bytes are gguf-split's is held by
//! the `gguf` rows of the parity audit.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use quipu_gguf::{
    Error, Gguf, GgufFile, GgufWriter, MergePlan, SplitLimit, SplitOptions, SplitPlan, Value,
    check_split_set, split_paths,
};
use quipu_quant::DType;

/// A file of tensors of so many F32 values; the data is the tensor's number.
fn file(sizes: &[u64], alignment: Option<u32>) -> Vec<u8> {
    let mut w = GgufWriter::new();
    w.metadata.set("general.architecture", Value::from("llama"));
    if let Some(alignment) = alignment {
        w.metadata.set("general.alignment", Value::U32(alignment));
    }
    for (i, n) in sizes.iter().enumerate() {
        w.add_tensor(&format!("t{i}"), DType::F32, &[*n]).unwrap();
    }
    let mut out = Vec::new();
    w.write_to(&mut out, |i, sink| sink.write_all(&vec![i as u8; sizes[i] as usize * 4])).unwrap();
    out
}

fn by_tensors(n: u32) -> SplitOptions {
    SplitOptions { limit: SplitLimit::Tensors(NonZeroU32::new(n).unwrap()), no_tensor_first_split: false }
}

fn by_bytes(n: u64) -> SplitOptions {
    SplitOptions { limit: SplitLimit::Bytes(n), no_tensor_first_split: false }
}

/// A folder with `in.gguf`, and the set it was cut into.
fn cut(sizes: &[u64], options: &SplitOptions) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.gguf");
    std::fs::write(&input, file(sizes, None)).unwrap();
    let plan = SplitPlan::new(&input, options).unwrap();
    let prefix = dir.path().join("out");
    plan.write(&prefix, |_| {}).unwrap();
    (dir, plan.paths(&prefix))
}

fn counts(paths: &[PathBuf]) -> Vec<usize> {
    paths.iter().map(|path| GgufFile::open(path).unwrap().tensors().len()).collect()
}

#[test]
fn files_are_cut_by_tensors_and_by_bytes() {
    let sizes = [8, 8, 8, 100, 8];
    assert_eq!(counts(&cut(&sizes, &SplitOptions::default()).1), [5]);
    assert_eq!(counts(&cut(&sizes, &by_tensors(2)).1), [2, 2, 1]);
    let first_empty = SplitOptions { no_tensor_first_split: true, ..by_tensors(2) };
    assert_eq!(counts(&cut(&sizes, &first_empty).1), [0, 2, 2, 1]);
    // 8 values are 32 bytes; the one of 400 is larger than the limit and stands alone.
    assert_eq!(counts(&cut(&sizes, &by_bytes(64)).1), [2, 1, 1, 1]);
    assert_eq!(counts(&cut(&[], &by_tensors(2)).1), [0]);
}

#[test]
fn a_first_tensor_over_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.gguf");
    std::fs::write(&input, file(&[100, 1], None)).unwrap();
    for no_tensor_first_split in [false, true] {
        let options = SplitOptions { no_tensor_first_split, ..by_bytes(64) };
        let error = SplitPlan::new(&input, &options).unwrap_err();
        assert!(matches!(error, Error::SplitTooSmall { found: 416, limit: 64, .. }), "{error}");
    }
}

#[test]
fn joining_gives_the_tensors_back_and_says_so() {
    let sizes = [8, 3, 5, 100, 8];
    let (dir, paths) = cut(&sizes, &by_tensors(2));
    let merged = dir.path().join("merged.gguf");
    let plan = MergePlan::new(&paths[0]).unwrap();
    assert_eq!((plan.paths().len(), plan.n_tensors()), (3, 5));
    plan.write(&merged).unwrap();
    let whole = GgufFile::open(&merged).unwrap();
    for (i, n) in sizes.iter().enumerate() {
        assert_eq!(whole.tensor_bytes(&format!("t{i}")).unwrap(), vec![i as u8; *n as usize * 4]);
    }
    assert_eq!(whole.metadata().require::<u16>("split.count").unwrap(), 0);
    assert!(matches!(plan.write(&merged), Err(Error::OutputExists { .. })));
    assert!(matches!(MergePlan::new(&merged), Err(Error::NotSplit)));
    let plain = dir.path().join("in.gguf");
    assert!(matches!(MergePlan::new(&plain), Err(Error::MissingKey { .. })));
}

#[test]
fn an_alignment_of_its_own_stays_valid() {
    // gguf-split pads to 32 whatever the key says, and its files cannot be read again.
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.gguf");
    std::fs::write(&input, file(&[1, 1, 1], Some(64))).unwrap();
    let plan = SplitPlan::new(&input, &by_tensors(2)).unwrap();
    plan.write(&dir.path().join("out"), |_| {}).unwrap();
    let paths = plan.paths(&dir.path().join("out"));
    assert_eq!(counts(&paths), [2, 1]);
    let merged = dir.path().join("merged.gguf");
    MergePlan::new(&paths[0]).unwrap().write(&merged).unwrap();
    assert_eq!(GgufFile::open(&merged).unwrap().gguf().alignment, 64);
}

#[test]
fn the_input_is_never_written_over() {
    let (dir, paths) = cut(&[8, 8], &by_tensors(2));
    let before = std::fs::read(&paths[0]).unwrap();
    let plan = SplitPlan::new(&paths[0], &by_tensors(2)).unwrap();
    let error = plan.write(&dir.path().join("out"), |_| {}).unwrap_err();
    assert!(matches!(error, Error::OutputIsInput { .. }), "{error}");
    assert_eq!(std::fs::read(&paths[0]).unwrap(), before);
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.gguf");
    std::fs::write(&input, file(&[8, 8], None)).unwrap();
    let plan = SplitPlan::new(&input, &by_tensors(1)).unwrap();
    let error = plan.write(&dir.path().join("missing/out"), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Create { .. }), "{error}");
    // The input is cut while it is open: the second file would lack data.
    let len = std::fs::metadata(&input).unwrap().len();
    std::fs::File::options().write(true).open(&input).unwrap().set_len(len - 32).unwrap();
    let prefix = dir.path().join("out");
    assert!(matches!(plan.write(&prefix, |_| {}), Err(Error::DataLength { .. })));
    // Nor does the first, which was complete: a set is there whole or not at all.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// The three headers of a set, with the keys of file `i` changed.
fn set_with(i: usize, change: impl Fn(&mut GgufWriter)) -> Result<(), Error> {
    let headers: Vec<Gguf> = (0..3)
        .map(|no| {
            let mut w = GgufWriter::new();
            w.metadata.set("split.no", Value::U16(no));
            w.metadata.set("split.tensors.count", Value::I32(3));
            w.metadata.set("split.count", Value::U16(3));
            w.add_tensor(&format!("t{no}"), DType::F32, &[1]).unwrap();
            if usize::from(no) == i {
                change(&mut w);
            }
            Gguf::parse_header(&w.header().unwrap()).unwrap()
        })
        .collect();
    check_split_set(&headers.iter().collect::<Vec<_>>())
}

#[test]
fn each_inconsistency_has_its_own_error() {
    set_with(9, |_| {}).unwrap();
    // The others need nothing but their number.
    set_with(1, |w| {
        w.metadata.remove("split.count");
        w.metadata.remove("split.tensors.count");
    })
    .unwrap();
    let set = |key: &'static str, value: Value| move |w: &mut GgufWriter| w.metadata.set(key, value.clone());
    let cases: [(Result<(), Error>, &str); 13] = [
        (
            set_with(0, set("split.count", Value::U16(4))),
            "the split set has 3 files, expected 4 (split.count of the first)",
        ),
        (
            set_with(0, set("split.count", Value::U16(0))),
            "the split set has 3 files, expected 1 (split.count of the first)",
        ),
        (
            set_with(0, set("split.count", Value::U32(3))),
            "file 1 of the split set: metadata key 'split.count' is of type u32, expected u16",
        ),
        (
            set_with(0, set("split.no", Value::U16(1))),
            "split.no is 1, expected 0: a split model is opened by its first file",
        ),
        (
            set_with(0, |w| drop(w.metadata.remove("split.no"))),
            "file 1 of the split set: metadata key 'split.no' is missing, expected u16",
        ),
        (
            set_with(0, |w| drop(w.metadata.remove("split.tensors.count"))),
            "file 1 of the split set: metadata key 'split.tensors.count' is missing, expected i32",
        ),
        (
            set_with(0, set("split.tensors.count", Value::I32(4))),
            "split.tensors.count of file 2 of the split set is 3, expected 4 as in the first",
        ),
        (
            set_with(1, |w| drop(w.metadata.remove("split.no"))),
            "file 2 of the split set: metadata key 'split.no' is missing, expected u16",
        ),
        (set_with(1, set("split.no", Value::U16(2))), "split.no of file 2 of the split set is 2, expected 1"),
        (
            set_with(1, set("split.no", Value::I32(1))),
            "file 2 of the split set: metadata key 'split.no' is of type i32, expected u16",
        ),
        (
            set_with(2, set("split.count", Value::U16(2))),
            "split.count of file 3 of the split set is 2, expected 3 as in the first",
        ),
        (
            set_with(2, |w| drop(w.add_tensor("t0", DType::F32, &[1]))),
            "tensor 't0' is in files 1 and 3 of the split set, expected once",
        ),
        (
            set_with(2, |w| drop(w.add_tensor("u", DType::F32, &[1]))),
            "the split set has 4 tensors, expected 3 (split.tensors.count)",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found.expect_err(expected).to_string(), expected);
    }
    assert!(matches!(check_split_set(&[]), Err(Error::SplitFiles { found: 0, .. })));
}

#[test]
fn a_missing_file_is_named() {
    let (_dir, paths) = cut(&[8, 8, 8], &by_tensors(1));
    std::fs::remove_file(&paths[1]).unwrap();
    assert!(matches!(MergePlan::new(&paths[0]), Err(Error::Open { path, .. }) if path == paths[1]));
    assert!(matches!(MergePlan::new(&paths[2]), Err(Error::SplitName { .. } | Error::NotFirstSplit { .. })));
    let renamed = paths[0].with_file_name("renamed.gguf");
    std::fs::rename(&paths[0], &renamed).unwrap();
    assert!(matches!(MergePlan::new(&renamed), Err(Error::SplitName { count: 3, .. })));
}

#[test]
fn headers_larger_than_the_first_read_are_read_whole() {
    let mut w = GgufWriter::new();
    for i in 0..5000 {
        w.metadata.set(&format!("a.key.with.a.long.name.{i}"), Value::from("and a text with it"));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.gguf");
    let header = w.header().unwrap();
    assert!(header.len() > 200_000);
    std::fs::write(&path, &header).unwrap();
    assert_eq!(Gguf::open(&path).unwrap().0, Gguf::parse(&header).unwrap());
    assert!(matches!(Gguf::open(dir.path()), Err(Error::NotAFile { .. })));
    std::fs::write(&path, &header[..100_000]).unwrap();
    assert!(matches!(Gguf::open(&path), Err(Error::Truncated { .. } | Error::KeyCount { .. })));
    assert_eq!(split_paths(Path::new("m-00001-of-00001.gguf"), 1).unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_cut_joins_to_the_same(
        sizes in prop::collection::vec(1u64..40, 0..12),
        limit in prop_oneof![
            (1u32..6).prop_map(|n| SplitLimit::Tensors(NonZeroU32::new(n).unwrap())),
            (160u64..400).prop_map(SplitLimit::Bytes),
        ],
        no_tensor_first_split: bool,
    ) {
        let (dir, paths) = cut(&sizes, &SplitOptions { limit, no_tensor_first_split });
        let headers: Vec<Gguf> = paths.iter().map(|path| Gguf::open(path).unwrap().0).collect();
        check_split_set(&headers.iter().collect::<Vec<_>>()).unwrap();
        let merged = dir.path().join("merged.gguf");
        MergePlan::new(&paths[0]).unwrap().write(&merged).unwrap();
        let (whole, cut) = (GgufFile::open(&merged).unwrap(), GgufFile::open(dir.path().join("in.gguf")).unwrap());
        prop_assert_eq!(whole.tensors(), cut.tensors());
        for i in 0..sizes.len() {
            prop_assert_eq!(whole.tensor_bytes_at(i).unwrap(), cut.tensor_bytes_at(i).unwrap());
        }
    }
}
