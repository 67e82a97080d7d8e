//! What a header says, in the probe's layout: every field the reference's functions tell, and the header written again.

use quipu_gguf::{Array, Gguf, GgufWriter, Value};

/// The dump of a header. Texts end at a NUL, as the reference's functions give them out.
pub(super) fn of(gguf: &Gguf) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(gguf.version.to_le_bytes());
    out.extend(u64::from(gguf.alignment).to_le_bytes());
    out.extend(gguf.data_offset.to_le_bytes());
    out.extend((gguf.metadata.len() as u64).to_le_bytes());
    for (key, value) in gguf.metadata.iter() {
        text(&mut out, key.as_bytes());
        put_value(&mut out, value);
    }
    out.extend((gguf.tensors.len() as u64).to_le_bytes());
    for tensor in &gguf.tensors {
        text(&mut out, tensor.name.as_bytes());
        out.extend(tensor.dtype.id().to_le_bytes());
        out.extend(tensor.ne.iter().flat_map(|n| n.to_le_bytes()));
        out.extend(tensor.offset.to_le_bytes());
        out.extend(tensor.n_bytes.to_le_bytes());
    }
    if gguf.alignment <= 4096 {
        let mut header = GgufWriter::from_gguf(gguf).header().unwrap_or_default();
        // The reference pads a header even where the file ended without.
        header.resize(header.len().next_multiple_of(gguf.alignment as usize), 0);
        out.extend(header);
    }
    out
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    let shown = bytes.split(|&b| b == 0).next().unwrap_or_default();
    out.extend((shown.len() as u64).to_le_bytes());
    out.extend(shown);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    out.extend(value.value_type().id().to_le_bytes());
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.push(*v as u8),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => text(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(v) => put_array(out, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.element_type().id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => out.extend(v.iter().map(|v| *v as u8)),
        Array::U16(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::I16(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::U32(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::I32(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::F32(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|v| u8::from(*v))),
        Array::String(v) => v.iter().for_each(|s| text(out, s)),
        Array::U64(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::I64(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        Array::F64(v) => out.extend(v.iter().flat_map(|v| v.to_le_bytes())),
    }
}
