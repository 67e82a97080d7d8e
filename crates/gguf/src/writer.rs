//! The writer: the byte layout of `gguf_write_to_file`, with tensor data streamed in.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use quipu_quant::DType;

use crate::parse::alignment_of;
use crate::tensor::{n_dims_without_ones, padded, tensor_bytes};
use crate::{Array, Error, Gguf, MAX_TENSOR_NAME, MAX_VERSION, Metadata, Result, Value, ValueType};

/// Padding that is written whatever the data: more must not exceed the data itself.
const MUCH_PADDING: u64 = 16 << 20;

/// Collects metadata and tensor descriptors, then writes the file in one pass.
///
/// `general.alignment` of the metadata decides the alignment, 32 without it.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    /// The keys and values, written in their order.
    pub metadata: Metadata,
    version: u32,
    tensors: Vec<(String, DType, [u64; 4], u64)>,
    names: HashSet<String>,
    /// Number of dimensions of the tensors that are written with trailing ones.
    with_ones: HashMap<usize, u32>,
    /// Without tensors, end with the last key.
    end_unpadded: bool,
}

impl Default for GgufWriter {
    fn default() -> Self {
        GgufWriter::new()
    }
}

impl GgufWriter {
    /// A version 3 file with nothing in it.
    pub fn new() -> GgufWriter {
        GgufWriter {
            metadata: Metadata::default(),
            version: MAX_VERSION,
            tensors: Vec::new(),
            names: HashSet::new(),
            with_ones: HashMap::new(),
            end_unpadded: false,
        }
    }

    /// Starts from what another file says: its version, metadata and tensor table. Written as it is, it gives
    /// the bytes of any file llama.cpp wrote; also of those gguf-py wrote without tensors, which lack the
    /// padding at their end.
    pub fn from_gguf(gguf: &Gguf) -> GgufWriter {
        GgufWriter {
            metadata: gguf.metadata.clone(),
            version: gguf.version,
            tensors: gguf.tensors.iter().map(|t| (t.name.clone(), t.dtype, t.ne, t.n_bytes)).collect(),
            names: gguf.tensors.iter().map(|t| t.name.clone()).collect(),
            with_ones: HashMap::new(),
            end_unpadded: gguf.ends_unpadded,
        }
    }

    /// Appends a tensor of 0 to 4 dimensions, innermost first, and returns its index.
    ///
    /// # Errors
    /// As when such a tensor is read: bad name, duplicate, shape or size that no reader would take. The
    /// offset in these errors is 0.
    pub fn add_tensor(&mut self, name: &str, dtype: DType, dims: &[u64]) -> Result<usize> {
        let index = self.tensors.len();
        if name.len() >= MAX_TENSOR_NAME {
            return Err(Error::TensorNameTooLong { index: index as u64, offset: 0, len: name.len() as u64 });
        }
        if name.contains('\0') {
            return Err(Error::TensorNameNotText {
                index: index as u64,
                offset: 0,
                found: name.as_bytes().to_vec(),
            });
        }
        if self.names.contains(name) {
            let first = self.tensors.iter().position(|t| t.0 == name).unwrap_or(0) as u64;
            return Err(Error::DuplicateTensor {
                name: name.to_owned(),
                offset: 0,
                first,
                second: index as u64,
            });
        }
        let mut ne = [1u64; 4];
        let Some(used) = ne.get_mut(..dims.len()) else {
            return Err(Error::TooManyDims {
                name: name.to_owned(),
                offset: 0,
                found: u32::try_from(dims.len()).unwrap_or(u32::MAX),
            });
        };
        used.copy_from_slice(dims);
        if let Some(dim) = dims.iter().position(|&n| i64::try_from(n).is_err()) {
            let found = dims[dim] as i64;
            return Err(Error::NegativeDim { name: name.to_owned(), offset: 0, dim, found });
        }
        let n_bytes = tensor_bytes(name, dtype, &ne, 0)?;
        self.names.insert(name.to_owned());
        self.tensors.push((name.to_owned(), dtype, ne, n_bytes));
        Ok(index)
    }

    /// As [`GgufWriter::add_tensor`], with trailing dimensions of 1 written too: gguf-py keeps them, ggml does not.
    ///
    /// # Errors
    /// As [`GgufWriter::add_tensor`].
    pub fn add_tensor_with_ones(&mut self, name: &str, dtype: DType, dims: &[u64]) -> Result<usize> {
        let index = self.add_tensor(name, dtype, dims)?;
        self.with_ones.insert(index, dims.len() as u32);
        Ok(index)
    }

    /// Everything before the data, padded to where the data starts (`gguf_get_meta_data`).
    ///
    /// # Errors
    /// [`Error::AlignmentType`], [`Error::AlignmentNotPowerOfTwo`], [`Error::TooMuchPadding`], [`Error::EmptyKey`],
    /// [`Error::DataTooLarge`].
    pub fn header(&self) -> Result<Vec<u8>> {
        let alignment = self.alignment()?;
        let mut out = self.unpadded_header(alignment)?;
        if !self.ends_with_keys() {
            out.resize(out.len().next_multiple_of(alignment as usize), 0);
        }
        Ok(out)
    }

    fn ends_with_keys(&self) -> bool {
        self.end_unpadded && self.tensors.is_empty()
    }

    /// The alignment, if it makes sense for what is to be written.
    fn alignment(&self) -> Result<u32> {
        let alignment = alignment_of(&self.metadata)?;
        let data = self.tensors.iter().fold(0u64, |sum, (_, _, _, n_bytes)| sum.saturating_add(*n_bytes));
        let left_over =
            |n_bytes: u64| padded(n_bytes, alignment).map_or(u64::from(alignment), |n| n - n_bytes);
        let of_tensors = self.tensors.iter().map(|(_, _, _, n_bytes)| left_over(*n_bytes));
        // The header is padded too, by less than one alignment.
        let padding = of_tensors.fold(u64::from(alignment), u64::saturating_add);
        if padding > data.max(MUCH_PADDING) {
            return Err(Error::TooMuchPadding { alignment, padding, data });
        }
        Ok(alignment)
    }

    fn unpadded_header(&self, alignment: u32) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.metadata.len() as u64).to_le_bytes());
        for (index, (key, value)) in self.metadata.iter().enumerate() {
            if key.is_empty() {
                return Err(Error::EmptyKey { index: index as u64, offset: out.len() as u64 });
            }
            put_string(&mut out, key.as_bytes());
            put_value(&mut out, value);
        }
        let mut offset = 0u64;
        for (index, (name, dtype, ne, n_bytes)) in self.tensors.iter().enumerate() {
            put_string(&mut out, name.as_bytes());
            let n_dims = self.with_ones.get(&index).copied().unwrap_or_else(|| n_dims_without_ones(ne));
            out.extend_from_slice(&n_dims.to_le_bytes());
            for n in &ne[..n_dims as usize] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            out.extend_from_slice(&dtype.id().to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            offset = padded(*n_bytes, alignment)
                .and_then(|n| offset.checked_add(n))
                .ok_or_else(|| Error::DataTooLarge { name: name.clone() })?;
        }
        Ok(out)
    }

    /// Writes the file. `data(i, sink)` is called once for each tensor in order and must write exactly
    /// the bytes of tensor `i` to the sink; nothing is buffered here, so wrap `out` in a `BufWriter` if
    /// the pieces are small. Answers to `gguf_write_to_file`.
    ///
    /// # Errors
    /// As [`GgufWriter::header`]; [`Error::DataLength`] if `data` wrote too little or too much (in that
    /// case what was too much has not been written); [`Error::Write`].
    pub fn write_to<W: Write>(
        &self,
        out: &mut W,
        mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let alignment = self.alignment()?;
        let header = self.unpadded_header(alignment)?;
        out.write_all(&header).map_err(Error::Write)?;
        if !self.ends_with_keys() {
            write_padding(out, header.len() as u64, alignment)?;
        }
        for (i, (name, _, _, n_bytes)) in self.tensors.iter().enumerate() {
            let mut sink = Sink { out, left: *n_bytes, given: 0 };
            let result = data(i, &mut sink);
            let given = sink.given;
            // A sink that is overrun fails the callback, too; the length is then the better explanation.
            if given > *n_bytes || (result.is_ok() && given < *n_bytes) {
                let name = name.clone();
                return Err(Error::DataLength { name, found: given, expected: *n_bytes });
            }
            result.map_err(Error::Write)?;
            write_padding(out, *n_bytes, alignment)?;
        }
        out.flush().map_err(Error::Write)
    }
}

/// Zeros from `written` bytes to the next multiple of `alignment`.
fn write_padding(out: &mut impl Write, written: u64, alignment: u32) -> Result<()> {
    let zeros = padded(written, alignment).map_or(0, |n| n - written);
    io::copy(&mut io::Read::take(io::repeat(0), zeros), out).map_err(Error::Write)?;
    Ok(())
}

/// Passes on as many bytes as the tensor has, and counts what it is given.
struct Sink<'a, W> {
    out: &'a mut W,
    left: u64,
    given: u64,
}

impl<W: Write> Write for Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            self.given = self.given.saturating_add(bytes.len() as u64);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more data than the tensor has"));
        }
        let n = self.out.write(bytes)?;
        self.left -= n as u64;
        self.given += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn put_string(out: &mut Vec<u8>, s: &[u8]) {
    out.extend_from_slice(&(s.len() as u64).to_le_bytes());
    out.extend_from_slice(s);
}

fn put_type(out: &mut Vec<u8>, value_type: ValueType) {
    out.extend_from_slice(&value_type.id().to_le_bytes());
}

fn put_numbers<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], to_bytes: fn(T) -> [u8; N]) {
    out.reserve(values.len() * N);
    for &v in values {
        out.extend_from_slice(&to_bytes(v));
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    put_type(out, value.value_type());
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.push(*v as u8),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(s) => put_string(out, s),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    put_type(out, array.element_type());
    out.extend_from_slice(&(array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend_from_slice(v),
        Array::I8(v) => put_numbers(out, v, i8::to_le_bytes),
        Array::U16(v) => put_numbers(out, v, u16::to_le_bytes),
        Array::I16(v) => put_numbers(out, v, i16::to_le_bytes),
        Array::U32(v) => put_numbers(out, v, u32::to_le_bytes),
        Array::I32(v) => put_numbers(out, v, i32::to_le_bytes),
        Array::F32(v) => put_numbers(out, v, f32::to_le_bytes),
        Array::Bool(v) => put_numbers(out, v, |b| [u8::from(b)]),
        Array::String(v) => v.iter().for_each(|s| put_string(out, s)),
        Array::U64(v) => put_numbers(out, v, u64::to_le_bytes),
        Array::I64(v) => put_numbers(out, v, i64::to_le_bytes),
        Array::F64(v) => put_numbers(out, v, f64::to_le_bytes),
    }
}
