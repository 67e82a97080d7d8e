//! What holds for any file: written files read back equal, and no bytes make the reader panic.

use proptest::prelude::*;
use quipu_gguf::{Array, Gguf, GgufWriter, Value};
use quipu_quant::DType;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..20)
}

fn array() -> impl Strategy<Value = Array> {
    fn of<T: std::fmt::Debug + Clone>(element: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
        prop::collection::vec(element, 0..6)
    }
    prop_oneof![
        of(any::<u8>()).prop_map(Array::U8),
        of(any::<i8>()).prop_map(Array::I8),
        of(any::<u16>()).prop_map(Array::U16),
        of(any::<i16>()).prop_map(Array::I16),
        of(any::<u32>()).prop_map(Array::U32),
        of(any::<i32>()).prop_map(Array::I32),
        of(-1e9f32..1e9).prop_map(Array::F32),
        of(any::<bool>()).prop_map(Array::Bool),
        of(bytes()).prop_map(|v| Array::String(v.into_iter().collect())),
        of(any::<u64>()).prop_map(Array::U64),
        of(any::<i64>()).prop_map(Array::I64),
        of(-1e99f64..1e99).prop_map(Array::F64),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        (-1e9f32..1e9).prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        bytes().prop_map(Value::String),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e99f64..1e99).prop_map(Value::F64),
        array().prop_map(Value::Array),
    ]
}

prop_compose! {
    fn writer()(
        keys in prop::collection::vec(("[a-z.]{1,12}", value()), 0..8),
        log2_alignment in prop::option::of(0u32..8),
        tensors in prop::collection::vec(
            ("[a-z.]{0,12}", prop::sample::select(DType::ALL.to_vec()), prop::collection::vec(0u64..4, 0..=4)),
            0..6,
        ),
    ) -> GgufWriter {
        let mut w = GgufWriter::new();
        for (key, value) in keys {
            w.metadata.set(&key, value);
        }
        if let Some(log2) = log2_alignment {
            w.metadata.set("general.alignment", Value::U32(1 << log2));
        }
        for (name, dtype, mut dims) in tensors {
            match dims.first_mut() {
                Some(n) => *n *= dtype.block_len() as u64,
                None => dims.push(dtype.block_len() as u64),
            }
            // Names may collide; the first one stays.
            let _ = w.add_tensor(&name, dtype, &dims);
        }
        w
    }
}

fn write(w: &GgufWriter) -> Vec<u8> {
    let sizes: Vec<u64> =
        Gguf::parse_header(&w.header().unwrap()).unwrap().tensors.iter().map(|t| t.n_bytes).collect();
    let mut out = Vec::new();
    w.write_to(&mut out, |i, sink| sink.write_all(&vec![i as u8; sizes[i] as usize])).unwrap();
    out
}

proptest! {
    #[test]
    fn written_files_read_back_equal(w in writer()) {
        let file = write(&w);
        let gguf = Gguf::parse(&file).unwrap();
        prop_assert_eq!(&gguf.metadata, &w.metadata);
        prop_assert_eq!(file.len() as u64 % u64::from(gguf.alignment), 0);
        prop_assert_eq!(write(&GgufWriter::from_gguf(&gguf)), file);
    }

    #[test]
    fn mutated_files_never_panic(
        w in writer(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut file = write(&w);
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if cut {
            file.truncate(keep.index(file.len()));
        }
        let _ = Gguf::parse_header(&file);
        if let Ok(gguf) = Gguf::parse(&file) {
            let last = gguf.tensors.last().map_or(0, |t| gguf.data_offset + t.offset + t.n_bytes);
            prop_assert!(last <= file.len() as u64);
        }
    }

    #[test]
    fn any_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400), n_tensors in 0u64..3, n_keys in 0u64..3) {
        let _ = Gguf::parse(&tail);
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(n_tensors.to_le_bytes());
        file.extend(n_keys.to_le_bytes());
        file.extend(tail);
        let _ = Gguf::parse(&file);
    }
}
