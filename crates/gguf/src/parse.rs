//! The reader: header, metadata, tensor table, and all the rules that make a file valid.

use std::collections::BTreeMap;

use quipu_quant::DType;

use crate::reader::Reader;
use crate::tensor::{padded, tensor_bytes};
use crate::{
    DEFAULT_ALIGNMENT, Error, MAX_TENSOR_NAME, MAX_VERSION, Metadata, Result, TensorInfo, Value, ValueType,
};

/// Bytes of the shortest metadata entry: a key of one byte and a value of one.
const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
/// Bytes of the shortest tensor entry: no name, no dimensions, type and offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

/// Positions of tensors by name.
type TensorIndex = BTreeMap<Box<str>, usize>;

/// What a GGUF file says before its data: version, metadata, tensor table. Answers to `gguf_context`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// Alignment of every tensor's data, a power of two.
    pub alignment: u32,
    /// The keys and values in file order.
    pub metadata: Metadata,
    /// The tensors in file order, which is data order.
    pub tensors: Vec<TensorInfo>,
    /// Bytes from the file's start to the data section.
    pub data_offset: u64,
    tensor_index: TensorIndex,
    /// The file ends with the last key, without padding: what gguf-py writes where there are no tensors.
    pub(crate) ends_unpadded: bool,
}

impl Gguf {
    /// Reads and checks a whole file, without touching the data itself.
    ///
    /// As the reference's model loader, it asks that each tensor's bytes lie within the file, and does
    /// not mind a missing padding after the last one. Answers to `gguf_init_from_file` and the bounds
    /// check of `llama_model_loader`.
    ///
    /// # Errors
    /// Every variant of [`Error`] that speaks of file contents.
    pub fn parse(file: &[u8]) -> Result<Gguf> {
        Gguf::parse_prefix(file, file.len() as u64)
    }

    /// As [`Gguf::parse`] for a file of `file_len` bytes of which only the first, `prefix`, are in memory.
    ///
    /// # Errors
    /// [`Error::PrefixTooShort`] if the header goes beyond the prefix and nothing is wrong so far: read
    /// more and try again. Otherwise as [`Gguf::parse`]; claims are held against `file_len`, memory is
    /// allocated in proportion to `prefix`.
    pub fn parse_prefix(prefix: &[u8], file_len: u64) -> Result<Gguf> {
        let mut r = Reader::new(prefix, file_len);
        let gguf = Gguf::read(&mut r)?;
        gguf.check_data(file_len)?;
        Ok(gguf)
    }

    /// As [`Gguf::parse`], but the tensors' data may be missing (files written as metadata only). Answers to
    /// `gguf_init_from_file` with `no_alloc`.
    ///
    /// # Errors
    /// As [`Gguf::parse`], without [`Error::DataTruncated`].
    pub fn parse_header(file: &[u8]) -> Result<Gguf> {
        Gguf::read(&mut Reader::new(file, file.len() as u64))
    }

    /// Checks that each tensor's bytes lie within a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`Error::DataTruncated`].
    pub fn check_data(&self, file_len: u64) -> Result<()> {
        for t in &self.tensors {
            let start = self.data_offset.saturating_add(t.offset);
            let end = start.saturating_add(t.n_bytes);
            if end > file_len {
                return Err(Error::DataTruncated { name: t.name.clone(), start, end, file_len });
            }
        }
        Ok(())
    }

    /// As [`Gguf::check_data`], and the padding after the last tensor must be there, too. Answers to
    /// `gguf_init_from_file` without `no_alloc`, which reads the data as one block.
    ///
    /// # Errors
    /// Also [`Error::PaddingTruncated`].
    pub fn check_padded_data(&self, file_len: u64) -> Result<()> {
        self.check_data(file_len)?;
        let Some(last) = self.tensors.last() else { return Ok(()) };
        let end = padded(last.n_bytes, self.alignment)
            .and_then(|n| n.checked_add(last.offset))
            .and_then(|n| n.checked_add(self.data_offset))
            .unwrap_or(u64::MAX);
        if end > file_len { Err(Error::PaddingTruncated { end, file_len }) } else { Ok(()) }
    }

    fn read(r: &mut Reader<'_>) -> Result<Gguf> {
        let version = read_version(r)?;
        let n_tensors = r.i64(&|| "number of tensors".to_owned())?;
        let n_keys = r.i64(&|| "number of metadata keys".to_owned())?;
        let limit = r.remaining() / MIN_TENSOR_BYTES;
        let n_tensors = u64::try_from(n_tensors)
            .ok()
            .filter(|&n| n <= limit)
            .ok_or(Error::TensorCount { found: n_tensors, limit })?;
        let limit = r.remaining() / MIN_KEY_BYTES;
        let n_keys = u64::try_from(n_keys)
            .ok()
            .filter(|&n| n <= limit)
            .ok_or(Error::KeyCount { found: n_keys, limit })?;

        let metadata = read_metadata(r, n_keys)?;
        let alignment = alignment_of(&metadata)?;
        let (tensors, tensor_index) = read_tensors(r, n_tensors, alignment)?;

        let mut data_offset = r.offset();
        if n_tensors > 0 {
            let file_len = data_offset + r.remaining();
            data_offset = padded(data_offset, alignment).unwrap_or(u64::MAX);
            if data_offset > file_len {
                return Err(Error::DataStartMissing { data_offset, file_len });
            }
        }
        let ends_unpadded = n_tensors == 0 && r.remaining() == 0;
        Ok(Gguf { version, alignment, metadata, tensors, data_offset, tensor_index, ends_unpadded })
    }

    /// Position of the tensor called `name` (`gguf_find_tensor`).
    pub fn tensor_position(&self, name: &str) -> Option<usize> {
        self.tensor_index.get(name).copied()
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor_position(name).map(|i| &self.tensors[i])
    }
}

fn read_version(r: &mut Reader<'_>) -> Result<u32> {
    let magic = r.take(4, &|| "the magic".to_owned())?;
    if magic != b"GGUF" {
        return Err(Error::BadMagic { found: magic.try_into().expect("four bytes were taken") });
    }
    let version = r.u32(&|| "the version".to_owned())?;
    match version {
        0 => Err(Error::VersionZero),
        // Small numbers of the other byte order have only zeros in the lower half.
        v if v.trailing_zeros() >= 16 => Err(Error::SwappedEndianness { found: v }),
        1 => Err(Error::VersionOne),
        2..=MAX_VERSION => Ok(version),
        found => Err(Error::VersionTooNew { found }),
    }
}

fn read_metadata(r: &mut Reader<'_>, n_keys: u64) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for index in 0..n_keys {
        let offset = r.offset();
        let key = r.string(&|| format!("metadata key {index}"))?;
        if key.is_empty() {
            return Err(Error::EmptyKey { index, offset });
        }
        let key = std::str::from_utf8(key)
            .ok()
            .filter(|key| !key.contains('\0'))
            .ok_or(Error::KeyNotUtf8 { index, offset })?;
        if let Some(first) = metadata.position(key) {
            let (key, first) = (key.to_owned(), first as u64);
            return Err(Error::DuplicateKey { key, offset, first, second: index });
        }
        let value = read_value(r, key)?;
        metadata.push(key.to_owned(), value);
    }
    Ok(metadata)
}

fn read_value_type(r: &mut Reader<'_>, key: &str) -> Result<ValueType> {
    let offset = r.offset();
    let id = r.u32(&|| format!("type of metadata key '{key}'"))?;
    ValueType::from_id(id).ok_or_else(|| Error::UnknownValueType {
        key: key.to_owned(),
        offset,
        found: id as i32,
    })
}

fn read_value(r: &mut Reader<'_>, key: &str) -> Result<Value> {
    let what: &dyn Fn() -> String = &|| format!("value of metadata key '{key}'");
    Ok(match read_value_type(r, key)? {
        ValueType::U8 => Value::U8(r.take(1, what)?[0]),
        ValueType::I8 => Value::I8(r.take(1, what)?[0] as i8),
        ValueType::U16 => Value::U16(r.u16(what)?),
        ValueType::I16 => Value::I16(r.u16(what)? as i16),
        ValueType::U32 => Value::U32(r.u32(what)?),
        ValueType::I32 => Value::I32(r.i32(what)?),
        ValueType::F32 => Value::F32(f32::from_bits(r.u32(what)?)),
        ValueType::Bool => Value::Bool(r.take(1, what)?[0] != 0),
        ValueType::String => Value::String(r.string(what)?.to_vec()),
        ValueType::U64 => Value::U64(r.u64(what)?),
        ValueType::I64 => Value::I64(r.i64(what)?),
        ValueType::F64 => Value::F64(f64::from_bits(r.u64(what)?)),
        ValueType::Array => {
            let offset = r.offset();
            let element = read_value_type(r, key)?;
            if element == ValueType::Array {
                return Err(Error::NestedArray { key: key.to_owned(), offset });
            }
            let offset = r.offset();
            let n = r.u64(&|| format!("array length of metadata key '{key}'"))?;
            Value::Array(r.array(element, n, key, offset)?)
        }
    })
}

/// The alignment that `general.alignment` asks for.
pub(crate) fn alignment_of(metadata: &Metadata) -> Result<u32> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(a)) if a.is_power_of_two() => Ok(*a),
        Some(Value::U32(a)) => Err(Error::AlignmentNotPowerOfTwo { found: *a }),
        Some(other) => Err(Error::AlignmentType { found: other.value_type() }),
    }
}

fn read_tensors(
    r: &mut Reader<'_>,
    n_tensors: u64,
    alignment: u32,
) -> Result<(Vec<TensorInfo>, TensorIndex)> {
    let mut tensors: Vec<TensorInfo> = Vec::new();
    let mut index = BTreeMap::new();
    let mut expected_offset = 0u64;
    for i in 0..n_tensors {
        let start = r.offset();
        let name = read_tensor_name(r, i)?;
        if let Some(&first) = index.get(name) {
            let (name, first) = (name.to_owned(), first as u64);
            return Err(Error::DuplicateTensor { name, offset: start, first, second: i });
        }
        let (n_dims, ne, shape_offset) = read_shape(r, name)?;
        let dtype = read_dtype(r, name)?;
        let n_bytes = tensor_bytes(name, dtype, &ne, shape_offset)?;
        let at = r.offset();
        let offset = r.u64(&|| format!("data offset of tensor '{name}'"))?;
        if offset != expected_offset {
            let (name, expected) = (name.to_owned(), expected_offset);
            return Err(Error::WrongDataOffset { name, offset: at, found: offset, expected });
        }
        expected_offset = padded(n_bytes, alignment)
            .and_then(|n| offset.checked_add(n))
            .ok_or_else(|| Error::DataTooLarge { name: name.to_owned() })?;
        index.insert(name.into(), tensors.len());
        if tensors.len() == tensors.capacity() {
            // Slower than doubling, and never beyond what was announced: descriptors are larger than their
            // entries in the file.
            let announced = usize::try_from(n_tensors - i).unwrap_or(usize::MAX);
            tensors.reserve_exact(announced.min(16 + tensors.len() / 4));
        }
        tensors.push(TensorInfo { name: name.to_owned(), dtype, ne, n_dims, offset, n_bytes });
    }
    Ok((tensors, index))
}

fn read_tensor_name<'a>(r: &mut Reader<'a>, index: u64) -> Result<&'a str> {
    let offset = r.offset();
    let name = r.string(&|| format!("name of tensor {index}"))?;
    if name.len() >= MAX_TENSOR_NAME {
        return Err(Error::TensorNameTooLong { index, offset, len: name.len() as u64 });
    }
    std::str::from_utf8(name).ok().filter(|n| !n.contains('\0')).ok_or_else(|| Error::TensorNameNotText {
        index,
        offset,
        found: name.to_vec(),
    })
}

/// Number of dimensions, the four extents, and where they stand.
fn read_shape(r: &mut Reader<'_>, name: &str) -> Result<(u32, [u64; 4], u64)> {
    let offset = r.offset();
    let n_dims = r.u32(&|| format!("number of dimensions of tensor '{name}'"))?;
    let mut ne = [1u64; 4];
    let Some(stored) = ne.get_mut(..n_dims as usize) else {
        return Err(Error::TooManyDims { name: name.to_owned(), offset, found: n_dims });
    };
    let shape_offset = r.offset();
    for (dim, n) in stored.iter_mut().enumerate() {
        let offset = r.offset();
        let found = r.i64(&|| format!("shape of tensor '{name}'"))?;
        *n = u64::try_from(found).map_err(|_| Error::NegativeDim {
            name: name.to_owned(),
            offset,
            dim,
            found,
        })?;
    }
    Ok((n_dims, ne, shape_offset))
}

fn read_dtype(r: &mut Reader<'_>, name: &str) -> Result<DType> {
    let offset = r.offset();
    let id = r.u32(&|| format!("type of tensor '{name}'"))?;
    DType::from_id(id).map_err(|_| {
        let name = name.to_owned();
        match id {
            0..=42 => Error::RemovedTensorType { name, offset, found: id },
            _ => Error::UnknownTensorType { name, offset, found: id as i32 },
        }
    })
}
