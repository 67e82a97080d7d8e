//! The crate's one error type: each cause has its variant, with the blob's key, the place in it and what was expected.

use crate::fields::FieldError;
use crate::key::Key;
use crate::types::Type;

/// Why a `.sbs` file could not be opened, understood, converted or written. Offsets are bytes from the file's start
/// unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are what the messages say
#[non_exhaustive]
pub enum Error {
    // The file as such.
    #[error(transparent)]
    Gguf(#[from] quipu_gguf::Error),
    #[error("cannot write {what}: {source}")]
    Write { what: String, source: std::io::Error },
    #[error("the file has {len} bytes, too few for a blob store: expected {needed} or more")]
    TooShort { len: u64, needed: u64 },
    #[error("not a .sbs file: at offset {offset} stands {found:#010x}, expected 0x0a534253 (\"SBS\\n\")")]
    BadMagic { offset: u64, found: u32 },
    #[error("the header at offset {offset} says {found} blobs, expected 1 to {limit}")]
    BlobCount { offset: u64, found: u32, limit: u64 },
    #[error("the header at offset {offset} says that the file has {found} bytes, but it has {len}")]
    FileBytes { offset: u64, found: u64, len: u64 },
    #[error("the name of blob {index} at offset {offset} is empty, expected 1 to 16 bytes")]
    EmptyKey { index: usize, offset: u64 },
    #[error("blob {index} is called '{key}' like blob {first}, expected different names")]
    DuplicateKey { index: usize, first: usize, key: Key },
    #[error("blob '{key}' begins at offset {offset}, expected {expected}: blobs lie one behind the other")]
    BlobOffset { key: Key, offset: u64, expected: u64 },
    #[error("blob '{key}' at offset {offset} has {bytes} bytes, expected 1 to {limit}")]
    BlobSize { key: Key, offset: u64, bytes: u64, limit: u64 },
    #[error("the file has no blob '{key}'")]
    MissingBlob { key: String },
    #[error("'{key}' is no name for a blob: expected 1 to 16 bytes without NUL")]
    BadKey { key: String },
    #[error("blob '{key}' has {found} bytes, expected {expected}")]
    BlobBytes { key: Key, found: u64, expected: u64 },

    // Fields.
    #[error("blob '{key}' at offset {offset}: {cause}")]
    Fields { key: Key, offset: u64, cause: FieldError },
    #[error("cannot write the fields: {0}")]
    WriteFields(FieldError),

    // Metadata.
    #[error("the file has no 'config' blob, and its {n_layers} layers are those of no known model")]
    UnknownModel { n_layers: usize },
    #[error(
        "'{specifier}' names no model: expected a model, a type and perhaps -it or -pt, as gemma3-270m-sfp-it"
    )]
    Specifier { specifier: String },
    #[error("the config {what}")]
    Config { what: String },
    #[error("tensor '{name}' is {found_rows} x {found_cols}, expected {rows} x {cols} in {model}")]
    Shape { name: String, found_rows: usize, found_cols: usize, rows: usize, cols: usize, model: String },
    #[error("tensor '{name}' is {what}")]
    Tensor { name: String, what: String },
    #[error("tensor '{name}' is not in the file")]
    MissingTensor { name: String },
    #[error("tensor '{name}' is listed twice")]
    DuplicateTensor { name: String },
    #[error("the file has {have} tensor scales, expected {needed}: one for each tensor that takes one")]
    Scales { have: usize, needed: usize },
    #[error("the smallest type of the tensors is {found}, expected {expected} as in the config")]
    WeightType { found: Type, expected: Type },

    // Codecs.
    #[error("{codec}: {values} values need {expected} bytes, but there are {found}")]
    CodecLength { codec: &'static str, values: usize, expected: usize, found: usize },
    #[error("{codec}: value {index} is {value}, expected {expected}")]
    CodecValue { codec: &'static str, index: usize, value: f32, expected: &'static str },
    #[error("the codec has no {what} for values of type {found}")]
    CodecType { what: &'static str, found: Type },

    // Conversion.
    #[error("cannot convert: {what}")]
    Convert { what: String },
}

/// The crate's results.
pub type Result<T> = std::result::Result<T, Error>;
