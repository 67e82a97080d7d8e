//! The crate's one error type: each cause has its variant, with the place in the file and what was expected.

use std::path::PathBuf;

use quipu_quant::DType;

use crate::{MAX_ARRAY_LEN, MAX_STRING_LEN, MAX_TENSOR_NAME, ValueType};

/// Why a GGUF file could not be opened, understood or written. Offsets are bytes from the file's start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are what the messages say
#[non_exhaustive]
pub enum Error {
    // The file as such.
    #[error("cannot read {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{} is not a regular file, expected a GGUF file", path.display())]
    NotAFile { path: PathBuf },
    #[error("file ends too early: {what} at offset {offset} needs {needed} bytes, but {remaining} remain", what = shown(what))]
    Truncated { what: String, offset: u64, needed: u64, remaining: u64 },

    #[error("the header goes beyond the first {have} bytes of the file, expected {needed} or more of them")]
    PrefixTooShort { have: u64, needed: u64 },

    // Header.
    #[error("not a GGUF file: it starts with \"{}\", expected \"GGUF\"", found.escape_ascii())]
    BadMagic { found: [u8; 4] },
    #[error("GGUF version 0 at offset 4, expected 2 or 3")]
    VersionZero,
    #[error(
        "GGUF version {found:#010x} at offset 4 looks byte-swapped: the file was written for a machine of \
         the other endianness, expected little-endian version 2 or 3"
    )]
    SwappedEndianness { found: u32 },
    #[error("GGUF version 1 at offset 4 is no longer supported, expected 2 or 3")]
    VersionOne,
    #[error("GGUF version {found} at offset 4 is newer than this reader, expected 2 or 3")]
    VersionTooNew { found: u32 },
    #[error("header at offset 8 says {found} tensors, expected 0 to {limit} (what the file has room for)")]
    TensorCount { found: i64, limit: u64 },
    #[error(
        "header at offset 16 says {found} metadata keys, expected 0 to {limit} (what the file has room for)"
    )]
    KeyCount { found: i64, limit: u64 },

    // Metadata.
    #[error("{what} at offset {offset} is {len} bytes long, expected at most {MAX_STRING_LEN}", what = shown(what))]
    StringTooLong { what: String, offset: u64, len: u64 },
    #[error("metadata key {index} at offset {offset} is empty, expected a name")]
    EmptyKey { index: u64, offset: u64 },
    #[error("metadata key {index} at offset {offset} is not UTF-8 without NUL")]
    KeyNotUtf8 { index: u64, offset: u64 },
    #[error(
        "metadata key '{key}' at offset {offset} is a duplicate: keys {first} and {second}, expected once", key = shown(key))]
    DuplicateKey { key: String, offset: u64, first: u64, second: u64 },
    #[error("metadata key '{key}' has value type {found} at offset {offset}, expected 0 to 12", key = shown(key))]
    UnknownValueType { key: String, offset: u64, found: i32 },
    #[error("metadata key '{key}' is an array of arrays at offset {offset}, expected plain elements", key = shown(key))]
    NestedArray { key: String, offset: u64 },
    #[error(
        "metadata key '{key}' is an array of {len} elements at offset {offset}, expected at most {MAX_ARRAY_LEN}", key = shown(key))]
    ArrayTooLong { key: String, offset: u64, len: u64 },
    #[error("general.alignment is of type {found}, expected u32")]
    AlignmentType { found: ValueType },
    #[error("general.alignment is {found}, expected a power of two")]
    AlignmentNotPowerOfTwo { found: u32 },

    // Tensor table.
    #[error(
        "name of tensor {index} at offset {offset} is {len} bytes long, expected fewer than {MAX_TENSOR_NAME}"
    )]
    TensorNameTooLong { index: u64, offset: u64, len: u64 },
    #[error("name of tensor {index} at offset {offset} is \"{}\", expected UTF-8 without NUL", found.escape_ascii())]
    TensorNameNotText { index: u64, offset: u64, found: Vec<u8> },
    #[error(
        "tensor name '{name}' at offset {offset} is a duplicate: tensors {first} and {second}, expected once", name = shown(name))]
    DuplicateTensor { name: String, offset: u64, first: u64, second: u64 },
    #[error("tensor '{name}' has {found} dimensions at offset {offset}, expected at most 4", name = shown(name))]
    TooManyDims { name: String, offset: u64, found: u32 },
    #[error("tensor '{name}' has {found} elements in dimension {dim} at offset {offset}, expected 0 or more", name = shown(name))]
    NegativeDim { name: String, offset: u64, dim: usize, found: i64 },
    #[error(
        "tensor '{name}' of shape {ne:?} at offset {offset} has too many elements, expected fewer than 2^63", name = shown(name))]
    TooManyElements { name: String, offset: u64, ne: [u64; 4] },
    #[error("tensor '{name}' has type id {found} at offset {offset}, which ggml removed", name = shown(name))]
    RemovedTensorType { name: String, offset: u64, found: u32 },
    #[error("tensor '{name}' has type id {found} at offset {offset}, expected a ggml type (0 to 42)", name = shown(name))]
    UnknownTensorType { name: String, offset: u64, found: i32 },
    #[error(
        "tensor '{name}' of type {dtype} has rows of {ne0} elements, expected a multiple of {}",
        dtype.block_len(), name = shown(name))]
    PartialBlock { name: String, dtype: DType, ne0: u64 },
    #[error("tensor '{name}' of type {dtype} and shape {ne:?} takes more bytes than 64 bits can count", name = shown(name))]
    TensorTooLarge { name: String, dtype: DType, ne: [u64; 4] },
    #[error(
        "tensor '{name}' has data offset {found} at offset {offset}, expected {expected} (tensors follow each other)", name = shown(name))]
    WrongDataOffset { name: String, offset: u64, found: u64, expected: u64 },
    #[error("tensor '{name}' makes the data longer than 64 bits can count", name = shown(name))]
    DataTooLarge { name: String },
    #[error("tensor data starts at offset {data_offset}, but the file has {file_len} bytes")]
    DataStartMissing { data_offset: u64, file_len: u64 },
    #[error("data of tensor '{name}' spans offsets {start} to {end}, but the file has {file_len} bytes", name = shown(name))]
    DataTruncated { name: String, start: u64, end: u64, file_len: u64 },

    #[error("the padding after the last tensor ends at offset {end}, but the file has {file_len} bytes")]
    PaddingTruncated { end: u64, file_len: u64 },

    // Sets of split files.
    #[error("file {file} of the split set: {error}")]
    SplitKey {
        file: usize,
        #[source]
        error: Box<Error>,
    },
    #[error("split.no is {found}, expected 0: a split model is opened by its first file")]
    NotFirstSplit { found: u16 },
    #[error("{} is not named like file {file} of {count}, expected a name ending in \"{expected}\"", path.display())]
    SplitName { path: PathBuf, file: usize, count: u16, expected: String },
    #[error("the split set has {found} files, expected {expected} (split.count of the first)")]
    SplitFiles { found: usize, expected: u16 },
    #[error("split.no of file {file} of the split set is {found}, expected {expected}")]
    SplitNo { file: usize, found: u16, expected: usize },
    #[error("split.count of file {file} of the split set is {found}, expected {expected} as in the first")]
    SplitCount { file: usize, found: u16, expected: u16 },
    #[error(
        "split.tensors.count of file {file} of the split set is {found}, expected {expected} as in the first"
    )]
    SplitTensorsCount { file: usize, found: i32, expected: i32 },
    #[error("the split set has {found} tensors, expected {expected} (split.tensors.count)")]
    SplitTensors { found: usize, expected: i32 },
    #[error("tensor '{name}' is in files {first} and {second} of the split set, expected once", name = shown(name))]
    SplitDuplicateTensor { name: String, first: usize, second: usize },
    #[error("split.count is 0, expected the number of files of a split set")]
    NotSplit,
    #[error("the file splits into {found} files, expected at most 65535")]
    TooManySplits { found: usize },
    #[error(
        "tensor '{name}' takes {found} bytes with padding and would leave a split without tensors, expected at most \
         the size limit of {limit}", name = shown(name))]
    SplitTooSmall { name: String, found: u64, limit: u64 },
    #[error("cannot write {}: it is the input {}, expected another output", path.display(), input.display())]
    OutputIsInput { path: PathBuf, input: PathBuf },
    #[error("{} exists already, expected a new file", path.display())]
    OutputExists { path: PathBuf },
    #[error("cannot write {}: {source}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("what was at {} is now at {}, and cannot be put back: {source}", path.display(), aside.display())]
    PutAside { path: PathBuf, aside: PathBuf, source: std::io::Error },

    // Overrides.
    #[error("metadata override \"{text}\": expected {expected}", text = shown(text))]
    BadOverride { text: String, expected: &'static str },

    // Asking.
    #[error("metadata key '{key}' is missing, expected {expected}", key = shown(key))]
    MissingKey { key: String, expected: &'static str },
    #[error("metadata key '{key}' is of type {found}, expected {expected}", key = shown(key))]
    WrongValueType { key: String, found: String, expected: &'static str },
    #[error("metadata key '{key}' is not UTF-8 text", key = shown(key))]
    ValueNotUtf8 { key: String },
    #[error("metadata key '{key}' is {found}, expected {expected}", key = shown(key))]
    ValueOutOfRange { key: String, found: u64, expected: &'static str },
    #[error("tensor '{name}' is missing from the file", name = shown(name))]
    MissingTensor { name: String },
    #[error("there is no tensor {index}, the file has {n_tensors}")]
    NoSuchTensor { index: usize, n_tensors: usize },

    // Writing.
    #[error("tensor '{name}' was given {found} bytes of data, expected {expected}", name = shown(name))]
    DataLength { name: String, found: u64, expected: u64 },
    #[error(
        "general.alignment is {alignment}: {padding} bytes of padding would go with {data} bytes of data, expected an \
         alignment that fits the data"
    )]
    TooMuchPadding { alignment: u32, padding: u64, data: u64 },
    #[error("cannot write the GGUF file: {0}")]
    Write(#[source] std::io::Error),

    // Sources of bytes.
    #[error("{} was cut off or became unreadable while it was in use, expected it to stay as it was opened", path.display())]
    MappingChanged { path: PathBuf },
    #[error("{} is longer than {limit} bytes, expected at most that", path.display())]
    FileTooLong { path: PathBuf, limit: u64 },
    #[error("cannot read {} at offset {offset}: {source}", path.display())]
    Read { path: PathBuf, offset: u64, source: std::io::Error },
    #[error("a read of {len} bytes at offset {offset} goes past the end, the file has {file_len} bytes")]
    OutOfRange { offset: u64, len: u64, file_len: u64 },
    #[error("no memory for {size} bytes: {source}")]
    OutOfMemory { size: usize, source: std::io::Error },
    #[error("data of tensor '{name}' is not in memory: its file is read on demand", name = shown(name))]
    NotInPlace { name: String },
    #[error("load mode '{found}' is unknown, expected one of: none, mmap, mlock, mmap+mlock, dio")]
    UnknownLoadMode { found: String },

    #[error("{}: {source}", path.display())]
    InFile { path: PathBuf, source: Box<Error> },
}

/// Text from a file as one line of bounded length: control characters escaped, the rest cut.
fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    let mut line = String::new();
    for c in text.chars().take(MAX_CHARS) {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// The crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The same of a file: a failure of writing names it.
    #[must_use]
    pub fn of_output(self, path: &std::path::Path) -> Error {
        match self {
            Error::Write(source) => Error::Create { path: path.to_owned(), source },
            other => other,
        }
    }
}
