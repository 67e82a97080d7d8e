//! Reading, asking and writing through the public API; files of the reference where they are at hand.

use std::path::PathBuf;
use std::sync::Arc;

use quipu_gguf::{
    Array, ByteSource, Error, Gguf, GgufFile, GgufWriter, MappedFile, MemoryFile, SOURCE_ALIGNMENT,
    StringArray, Value,
};
use quipu_quant::DType;

/// A file with every value type, three tensors and their data: tensor `i` is filled with byte `i + 1`.
fn sample() -> Vec<u8> {
    let mut w = GgufWriter::new();
    let strings: StringArray = ["", "a\0b", "\u{2581}long"].into_iter().collect();
    let arrays = [
        ("a.u8", Array::U8(vec![1, 2])),
        ("a.i8", Array::I8(vec![-1])),
        ("a.u16", Array::U16(vec![300])),
        ("a.i16", Array::I16(vec![-300])),
        ("a.u32", Array::U32(vec![])),
        ("a.i32", Array::I32(vec![-70000, 5])),
        ("a.f32", Array::F32(vec![0.5, -1.5])),
        ("a.bool", Array::Bool(vec![true, false])),
        ("a.str", Array::String(strings)),
        ("a.u64", Array::U64(vec![u64::MAX])),
        ("a.i64", Array::I64(vec![i64::MIN])),
        ("a.f64", Array::F64(vec![1e300])),
    ];
    let scalars = [
        ("general.architecture", Value::from("llama")),
        ("u8", Value::U8(255)),
        ("i8", Value::I8(-128)),
        ("u16", Value::U16(65535)),
        ("i16", Value::I16(-32768)),
        ("u32", Value::U32(u32::MAX)),
        ("i32", Value::I32(i32::MIN)),
        ("f32", Value::F32(1e-5)),
        ("bool", Value::Bool(true)),
        ("bytes", Value::String(vec![0xff, 0])),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(-1)),
        ("f64", Value::F64(0.1)),
    ];
    for (key, value) in scalars {
        w.metadata.set(key, value);
    }
    for (key, array) in arrays {
        w.metadata.set(key, Value::Array(array));
    }
    w.add_tensor("token_embd.weight", DType::Q4_K, &[256, 3]).unwrap();
    w.add_tensor("scalar", DType::F32, &[]).unwrap();
    w.add_tensor("norm", DType::F32, &[5, 1, 1, 1]).unwrap();
    let mut file = Vec::new();
    let sizes = [432, 4, 20];
    w.write_to(&mut file, |i, sink| sink.write_all(&vec![i as u8 + 1; sizes[i]])).unwrap();
    file
}

#[test]
fn what_was_written_is_read() {
    let file = GgufFile::from_vec(sample()).unwrap();
    let m = file.metadata();
    assert_eq!(m.str("general.architecture").unwrap(), "llama");
    assert_eq!(m.u32("u32").unwrap(), u32::MAX);
    assert_eq!(m.f32("f32").unwrap(), 1e-5);
    assert!(m.bool("bool").unwrap());
    assert_eq!(m.require::<f64>("f64").unwrap(), 0.1);
    assert_eq!(m.require::<&[i32]>("a.i32").unwrap(), [-70000, 5]);
    assert_eq!(m.require::<&[bool]>("a.bool").unwrap(), [true, false]);
    let strings = m.strings("a.str").unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [&b""[..], b"a\0b", "\u{2581}long".as_bytes()]);
    assert_eq!((strings.get(1), strings.get(3)), (Some(&b"a\0b"[..]), None));
    assert_eq!(m.optional::<u32>("absent").unwrap(), None);
    assert_eq!(m.integer("i8").unwrap(), -128);
    assert_eq!(
        m.get("a.u16").and_then(|v| if let Value::Array(a) = v { a.integer(0) } else { None }),
        Some(300)
    );

    let t = file.tensor("token_embd.weight").unwrap();
    assert_eq!((t.dtype, t.ne, t.n_dims, t.n_bytes, t.offset), (DType::Q4_K, [256, 3, 1, 1], 2, 432, 0));
    assert_eq!(file.tensors()[1].offset, 448);
    assert_eq!(file.tensors()[2].n_dims, 1);
    for (i, t) in file.tensors().iter().enumerate() {
        let bytes = file.tensor_bytes(&t.name).unwrap();
        assert_eq!(bytes, vec![i as u8 + 1; t.n_bytes as usize]);
        assert_eq!(bytes.as_ptr().addr() % SOURCE_ALIGNMENT, 0);
        assert_eq!(file.tensor_bytes_at(i).unwrap(), bytes);
    }
}

#[test]
fn wrong_questions_say_what_is_there() {
    let file = GgufFile::from_vec(sample()).unwrap();
    let m = file.metadata();
    let texts = [
        m.u32("absent").unwrap_err(),
        m.u32("f32").unwrap_err(),
        m.str("bytes").unwrap_err(),
        m.strings("a.u8").unwrap_err(),
        m.integer("f64").unwrap_err(),
        m.integer("u64").unwrap_err(),
        file.tensor_bytes("output.weight").unwrap_err(),
        file.tensor_bytes_at(3).unwrap_err(),
    ]
    .map(|e| e.to_string());
    assert_eq!(
        texts,
        [
            "metadata key 'absent' is missing, expected u32",
            "metadata key 'f32' is of type f32, expected u32",
            "metadata key 'bytes' is not UTF-8 text",
            "metadata key 'a.u8' is of type arr[u8], expected arr[str]",
            "metadata key 'f64' is of type f64, expected an integer",
            "metadata key 'u64' is 18446744073709551615, expected at most 2^63 - 1",
            "tensor 'output.weight' is missing from the file",
            "there is no tensor 3, the file has 3",
        ]
    );
}

#[test]
fn setting_a_key_again_moves_it_to_the_end() {
    let mut m = GgufWriter::new().metadata;
    for (key, v) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        m.set(key, Value::U32(v));
    }
    assert_eq!(m.iter().map(|(k, _)| k).collect::<Vec<_>>(), ["b", "c", "a"]);
    assert_eq!(m.u32("a").unwrap(), 4);
    assert_eq!(m.remove("b"), Some(Value::U32(2)));
    assert_eq!((m.position("c"), m.position("a")), (Some(0), Some(1)));
}

#[test]
fn a_mapped_file_is_used_in_place_and_survives_release() {
    let mut tmp = tempfile::NamedTempFile::new().unwrap();
    let mut w = GgufWriter::new();
    let n = 3 << 20;
    w.add_tensor("big", DType::I8, &[n]).unwrap();
    w.write_to(&mut tmp, |_, sink| (0..n / 1024).try_for_each(|i| sink.write_all(&[i as u8; 1024]))).unwrap();
    let source = Arc::new(MappedFile::open(tmp.path()).unwrap());
    let file = GgufFile::from_source(source.clone()).unwrap();
    let before = file.tensor_bytes("big").unwrap().to_vec();
    file.release_tensor(0).unwrap();
    source.release(0..u64::MAX);
    assert_eq!(file.tensor_bytes("big").unwrap(), before);
    assert_eq!(before[1024 * 300], (300 % 256) as u8);
}

#[test]
fn memory_files_are_aligned_whatever_they_come_from() {
    static UNALIGNED: [u8; 100] = [7; 100];
    for skip in 0..SOURCE_ALIGNMENT {
        let source = MemoryFile::from_static(&UNALIGNED[skip..]);
        assert_eq!(source.bytes(), &UNALIGNED[skip..]);
        assert_eq!(source.bytes().as_ptr().addr() % SOURCE_ALIGNMENT, 0);
    }
    assert!(MemoryFile::from_vec(Vec::new()).bytes().is_empty());
}

#[test]
fn padding_keeps_to_the_size_of_the_data() {
    let writer = |alignment: u32, n_tensors: usize| {
        let mut w = GgufWriter::new();
        w.metadata.set("general.alignment", Value::U32(alignment));
        for i in 0..n_tensors {
            w.add_tensor(&i.to_string(), DType::F32, &[1]).unwrap();
        }
        w
    };
    assert!(writer(1 << 16, 100).header().is_ok());
    for (alignment, n_tensors) in [(1 << 31, 0), (1 << 31, 1), (1 << 20, 100)] {
        let w = writer(alignment, n_tensors);
        assert!(matches!(w.header(), Err(Error::TooMuchPadding { .. })), "{alignment} {n_tensors}");
        let written = w.write_to(&mut std::io::sink(), |_, sink| sink.write_all(&[0; 4]));
        assert!(matches!(written, Err(Error::TooMuchPadding { .. })), "{alignment} {n_tensors}");
    }
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    let mut w = GgufWriter::new();
    w.add_tensor("w", DType::F32, &[4]).unwrap();
    assert!(matches!(w.add_tensor("w", DType::F32, &[4]), Err(Error::DuplicateTensor { .. })));
    assert!(matches!(w.add_tensor(&"x".repeat(64), DType::F32, &[4]), Err(Error::TensorNameTooLong { .. })));
    assert!(matches!(w.add_tensor("a\0", DType::F32, &[4]), Err(Error::TensorNameNotText { .. })));
    assert!(matches!(w.add_tensor("5d", DType::F32, &[1; 5]), Err(Error::TooManyDims { .. })));
    assert!(matches!(w.add_tensor("q", DType::Q8_0, &[33]), Err(Error::PartialBlock { .. })));
    assert!(matches!(w.add_tensor("n", DType::F32, &[u64::MAX]), Err(Error::NegativeDim { .. })));
    for given in [0usize, 15, 17, 40] {
        let result = w.write_to(&mut Vec::new(), |_, sink| sink.write_all(&vec![0; given]));
        assert!(
            matches!(result, Err(Error::DataLength { found, expected: 16, .. }) if found == given as u64),
            "{given}"
        );
    }
    w.metadata.set("general.alignment", Value::U32(24));
    assert!(matches!(w.header(), Err(Error::AlignmentNotPowerOfTwo { found: 24 })));
}

#[test]
fn a_version_2_file_stays_one() {
    let mut bytes = sample();
    bytes[4] = 2;
    let file = GgufFile::from_vec(bytes.clone()).unwrap();
    assert_eq!(rewrite(&file), bytes);
}

fn rewrite(file: &GgufFile) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = GgufWriter::from_gguf(file.gguf());
    writer.write_to(&mut out, |i, sink| sink.write_all(file.tensor_bytes_at(i).unwrap())).unwrap();
    out
}

/// Files written by the reference: its vocabularies, and whatever `QUIPU_GGUF_FILES` lists.
fn reference_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::env::var_os("QUIPU_GGUF_FILES").iter().flat_map(std::env::split_paths).collect();
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vocab");
    match std::fs::read_dir(shared) {
        Ok(dir) => files.extend(dir.map(|e| e.unwrap().path())),
        Err(_) => println!("skipped: no vocabularies of the reference in {shared}"),
    }
    files.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
    files
}

#[test]
fn files_of_the_reference_are_rewritten_byte_for_byte() {
    for path in reference_files() {
        let original = std::fs::read(&path).unwrap();
        let file = GgufFile::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let written = rewrite(&file);
        assert!(written[..original.len()] == original, "{}", path.display());
        // Python's writer leaves out the padding behind a file without tensors; the reference's has it.
        assert!(written[original.len()..].iter().all(|&b| b == 0), "{}", path.display());
        assert!(written.len() - original.len() < 32, "{}", path.display());
        println!("{}: {} keys, {} tensors", path.display(), file.metadata().len(), file.tensors().len());
    }
}

#[test]
fn a_header_alone_can_be_read_as_such() {
    let bytes = sample();
    let header = GgufWriter::from_gguf(&Gguf::parse(&bytes).unwrap()).header().unwrap();
    assert!(matches!(Gguf::parse(&header), Err(Error::DataTruncated { .. })));
    assert_eq!(Gguf::parse_header(&header).unwrap(), Gguf::parse(&bytes).unwrap());
    assert_eq!(header.len() as u64, Gguf::parse(&bytes).unwrap().data_offset);
}
