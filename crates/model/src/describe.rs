//! A model in the reference's words: values of metadata as text, the file type.

use quipu_gguf::{Array, GgufSet, Value};
use quipu_quant::DType;

use crate::error::Error;

/// Marks a file type that was guessed from the tensors (`LLAMA_FTYPE_GUESSED`).
const GUESSED: u32 = 1024;

/// Number, name and, where it is what most tensors of such a file have, tensor type of every file type
/// (`llama_ftype`).
const FILE_TYPES: [(u32, &str, Option<DType>); 36] = [
    (0, "all F32", Some(DType::F32)),
    (1, "F16", Some(DType::F16)),
    (2, "Q4_0", Some(DType::Q4_0)),
    (3, "Q4_1", Some(DType::Q4_1)),
    (7, "Q8_0", Some(DType::Q8_0)),
    (8, "Q5_0", Some(DType::Q5_0)),
    (9, "Q5_1", Some(DType::Q5_1)),
    (10, "Q2_K - Medium", Some(DType::Q2_K)),
    (11, "Q3_K - Small", None),
    (12, "Q3_K - Medium", Some(DType::Q3_K)),
    (13, "Q3_K - Large", None),
    (14, "Q4_K - Small", None),
    (15, "Q4_K - Medium", Some(DType::Q4_K)),
    (16, "Q5_K - Small", None),
    (17, "Q5_K - Medium", Some(DType::Q5_K)),
    (18, "Q6_K", Some(DType::Q6_K)),
    (19, "IQ2_XXS - 2.0625 bpw", Some(DType::IQ2_XXS)),
    (20, "IQ2_XS - 2.3125 bpw", Some(DType::IQ2_XS)),
    (21, "Q2_K - Small", None),
    (22, "IQ3_XS - 3.3 bpw", None),
    (23, "IQ3_XXS - 3.0625 bpw", Some(DType::IQ3_XXS)),
    (24, "IQ1_S - 1.5625 bpw", Some(DType::IQ1_S)),
    (25, "IQ4_NL - 4.5 bpw", Some(DType::IQ4_NL)),
    (26, "IQ3_S - 3.4375 bpw", Some(DType::IQ3_S)),
    (27, "IQ3_S mix - 3.66 bpw", None),
    (28, "IQ2_S - 2.5 bpw", Some(DType::IQ2_S)),
    (29, "IQ2_M - 2.7 bpw", None),
    (30, "IQ4_XS - 4.25 bpw", Some(DType::IQ4_XS)),
    (31, "IQ1_M - 1.75 bpw", Some(DType::IQ1_M)),
    (32, "BF16", Some(DType::BF16)),
    (36, "TQ1_0 - 1.69 bpw ternary", Some(DType::TQ1_0)),
    (37, "TQ2_0 - 2.06 bpw ternary", Some(DType::TQ2_0)),
    (38, "MXFP4 MoE", None),
    (39, "NVFP4", Some(DType::NVFP4)),
    (40, "Q1_0", Some(DType::Q1_0)),
    (41, "Q2_0", Some(DType::Q2_0)),
];

/// Name of a file type (`llama_ftype_name`).
pub fn file_type_name(file_type: u32) -> String {
    let name = FILE_TYPES.iter().find(|(number, ..)| *number == file_type & !GUESSED);
    let name = name.map_or("unknown, may not work", |(_, name, _)| name);
    if file_type & GUESSED == 0 { name.to_owned() } else { format!("(guessed) {name}") }
}

/// `general.file_type`, or the type that most tensors have, marked as guessed; the first to reach the most among equals, in
/// the reference's order of tensors.
fn file_type(set: &GgufSet) -> Result<u32, Error> {
    if let Some(said) = set.metadata().optional::<u32>("general.file_type")? {
        return Ok(said);
    }
    let mut tensors: Vec<_> = set.tensors().collect();
    // The reference counts in the order of its index: by layer, tensors without one first, then by name.
    tensors.sort_by_key(|tensor| (layer_of(&tensor.name), tensor.name.as_str()));
    let mut counts: Vec<(DType, usize)> = Vec::new();
    let (mut most, mut at_most) = (0, DType::F32);
    for tensor in tensors {
        let at = counts.iter().position(|(dtype, _)| *dtype == tensor.dtype);
        let at = at.unwrap_or_else(|| {
            counts.push((tensor.dtype, 0));
            counts.len() - 1
        });
        counts[at].1 += 1;
        if counts[at].1 > most {
            (at_most, most) = counts[at];
        }
    }
    let guess = FILE_TYPES.iter().find(|(_, _, dtype)| *dtype == Some(at_most));
    Ok(GUESSED | guess.map_or(0, |(number, ..)| *number))
}

fn layer_of(name: &str) -> i64 {
    let digits = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(-1)
}

/// Architecture, size class and file type (`llama_model::desc`).
pub(crate) fn description(arch: &str, size_class: &str, set: &GgufSet) -> Result<String, Error> {
    Ok(format!("{arch} {size_class} {}", file_type_name(file_type(set)?)))
}

/// A metadata value as the reference prints it (`gguf_kv_to_str`): numbers as C++'s `std::to_string`, strings as they are,
/// arrays in brackets with their strings quoted.
pub fn value_text(value: &Value) -> Vec<u8> {
    match value {
        Value::U8(v) => v.to_string().into(),
        Value::I8(v) => v.to_string().into(),
        Value::U16(v) => v.to_string().into(),
        Value::I16(v) => v.to_string().into(),
        Value::U32(v) => v.to_string().into(),
        Value::I32(v) => v.to_string().into(),
        Value::F32(v) => float_text(f64::from(*v)).into(),
        Value::Bool(v) => v.to_string().into(),
        Value::String(v) => v.clone(),
        Value::Array(v) => array_text(v),
        Value::U64(v) => v.to_string().into(),
        Value::I64(v) => v.to_string().into(),
        Value::F64(v) => float_text(*v).into(),
    }
}

/// `%f`.
fn float_text(x: f64) -> String {
    match x {
        _ if x.is_nan() => if x.is_sign_negative() { "-nan" } else { "nan" }.to_owned(),
        _ => format!("{x:.6}"),
    }
}

fn array_text(array: &Array) -> Vec<u8> {
    fn all<T>(values: &[T], text: impl Fn(&T) -> String) -> Vec<Vec<u8>> {
        values.iter().map(|value| text(value).into_bytes()).collect()
    }
    let parts = match array {
        Array::U8(v) => all(v, ToString::to_string),
        Array::I8(v) => all(v, ToString::to_string),
        Array::U16(v) => all(v, ToString::to_string),
        Array::I16(v) => all(v, ToString::to_string),
        Array::U32(v) => all(v, ToString::to_string),
        Array::I32(v) => all(v, ToString::to_string),
        Array::F32(v) => all(v, |x| float_text(f64::from(*x))),
        Array::Bool(v) => all(v, ToString::to_string),
        Array::String(v) => v.iter().map(quoted).collect(),
        Array::U64(v) => all(v, ToString::to_string),
        Array::I64(v) => all(v, ToString::to_string),
        Array::F64(v) => all(v, |x| float_text(*x)),
    };
    [b"[".as_slice(), &parts.join(b", ".as_slice()), b"]"].concat()
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in text {
        if matches!(byte, b'\\' | b'"') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_the_reference() {
        let text = |value: &Value| String::from_utf8(value_text(value)).unwrap();
        assert_eq!(text(&Value::F32(1e-5)), "0.000010");
        assert_eq!(text(&Value::F32(500000.0)), "500000.000000");
        assert_eq!(text(&Value::F64(f64::NEG_INFINITY)), "-inf");
        assert_eq!(text(&Value::Bool(true)), "true");
        assert_eq!(text(&Value::Array(Array::I32(vec![1, -2]))), "[1, -2]");
        assert_eq!(text(&Value::Array(Array::U8(Vec::new()))), "[]");
        assert_eq!(quoted(b"a\"\\b"), b"\"a\\\"\\\\b\"");
    }

    #[test]
    fn file_types_have_names() {
        assert_eq!(file_type_name(15), "Q4_K - Medium");
        assert_eq!(file_type_name(GUESSED), "(guessed) all F32");
        assert_eq!(file_type_name(4), "unknown, may not work");
        assert!(FILE_TYPES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
