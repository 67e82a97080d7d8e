//! GGUF files: read, validate, write; and the byte sources behind them.
//!
//! Counterpart of `gguf.cpp` and `llama-mmap.cpp`. [`GgufFile::open`] maps a file and checks everything it
//! says against its own length, without touching tensor data; [`GgufFile::tensor_bytes`] hands the data
//! out in place. [`GgufSet`] does the same for files in one piece or several, through any [`ByteSource`]. [`GgufWriter`] writes files as the reference does, byte for byte. What metadata keys
//! mean is the business of `quipu-model` and `quipu-tokenizer`.
//!
//! A file written and read in memory; [`GgufFile::open`] takes one on disk:
//!
//! ```
//! use quipu_gguf::{GgufFile, GgufWriter, Value};
//! use quipu_quant::DType;
//!
//! let mut writer = GgufWriter::new();
//! writer.metadata.set("general.architecture", Value::from("llama"));
//! writer.metadata.set("llama.block_count", Value::U32(1));
//! writer.add_tensor("token_embd.weight", DType::F32, &[2, 1])?;
//! let mut bytes = Vec::new();
//! writer.write_to(&mut bytes, |_tensor, sink| sink.write_all(&[0; 8]))?;
//!
//! let file = GgufFile::from_vec(bytes)?;
//! let architecture = file.metadata().str("general.architecture")?;
//! assert_eq!(file.metadata().u32(&format!("{architecture}.block_count"))?, 1);
//! assert_eq!(file.tensor_bytes("token_embd.weight")?, [0; 8]);
//! # Ok::<(), quipu_gguf::Error>(())
//! ```
//!
//! A file is little-endian, and so must the machine be.

mod copy;
mod error;
mod file;
mod header;
mod merge;
mod metadata;
mod out_of_memory;
mod output;
mod overrides;
mod parse;
mod reader;
mod set;
mod source;
mod split;
mod split_set;
mod tensor;
mod value;
mod writer;

pub use error::{Error, Result};
pub use file::GgufFile;
pub use header::read_file;
pub use merge::MergePlan;
pub use metadata::{FromValue, Metadata};
pub use out_of_memory::ExitOnOutOfMemory;
pub use output::{Inputs, NewFile, remove_unfinished, stdout_was_closed};
pub use overrides::{IgnoredOverride, MetadataOverride, OverrideValue};
pub use parse::Gguf;
pub use set::GgufSet;
pub use source::{
    BufferedFile, ByteSource, DirectFile, HostMemory, LoadMode, MappedFile, MemoryFile, MemoryLock,
    SOURCE_ALIGNMENT, SourceKind, open_source,
};
pub use split::{SplitLimit, SplitOptions, SplitPlan};
pub use split_set::{check_split_set, split_count, split_path, split_paths, split_prefix};
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value, ValueType};
pub use writer::GgufWriter;

/// Newest version of the format; also the one written.
pub const MAX_VERSION: u32 = 3;
/// Alignment of tensor data without `general.alignment`.
pub const DEFAULT_ALIGNMENT: u32 = 32;
/// Longest string in bytes.
pub const MAX_STRING_LEN: u64 = 1 << 30;
/// Most elements in an array.
pub const MAX_ARRAY_LEN: u64 = 1 << 30;
/// Tensor names are shorter than this many bytes (`GGML_MAX_NAME`).
pub const MAX_TENSOR_NAME: usize = 64;
