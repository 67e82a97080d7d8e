//! gemma.cpp's files: `.sbs` blob stores with its models, their codecs, and the way to GGUF and back.
//!
//! Answers to gemma.cpp's `io`, `compression` and `gemma/{configs,tensor_info,model_store}`. From the ground up:
//!
//! - [`fields`]: structs as u32 that old and new programs both read.
//! - [`BlobStore`], [`BlobWriter`]: named arrays of bytes in a file, both layouts.
//! - [`codec`]: SFP, NUQ, I8 and BF16; [`DistortionStats`] says what they cost, [`Analysis`] what weights are like.
//! - [`ModelConfig`], [`models`], [`TensorInfos`]: the models there are and their tensors.
//! - [`SbsFile`], [`SbsWriter`]: a model's file.
//! - [`gguf`]: the same model as a GGUF file, for everything else of Quipu, and back.
//!
//! How a model runs is not here: it runs as what [`gguf::to_gguf`] makes of it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use quipu_gemma::{BlobStore, BlobWriter};
//! use quipu_gguf::MemoryFile;
//!
//! let mut writer = BlobWriter::new(Vec::new())?;
//! writer.add("config", &[1, 2, 3, 4])?;
//! writer.add("toc", &[5; 300])?;
//! let bytes = writer.finish()?;
//! assert_eq!(bytes.len(), 65536);
//!
//! let store = BlobStore::open(Arc::new(MemoryFile::from_vec(bytes)))?;
//! let toc = store.require("toc")?;
//! assert_eq!((toc.offset, toc.bytes), (512, 300));
//! assert_eq!(store.read(toc)?, [5; 300]);
//! # Ok::<(), quipu_gemma::Error>(())
//! ```
#![forbid(unsafe_code)]

mod analysis;
mod blob;
pub mod codec;
mod compare;
mod config;
mod distortion;
mod error;
pub mod fields;
pub mod gguf;
mod key;
mod mat;
mod model;
pub mod models;
mod moments;
mod store;
mod tensors;
mod types;

pub use analysis::Analysis;
pub use blob::{BLOB_ALIGN, Blob, BlobStore, BlobWriter, END_ALIGN, Layout, MAX_BLOBS, write_v1};
pub use compare::{BlobDifference, Comparison, compare};
pub use config::{
    Activation, LayerConfig, LayerType, ModelConfig, PostNorm, PostQk, PromptWrapping, QueryScale, VitConfig,
};
pub use distortion::DistortionStats;
pub use error::{Error, Result};
pub use fields::FieldError;
pub use key::Key;
pub use mat::Mat;
pub use model::Model;
pub use models::config_of;
pub use moments::Moments;
pub use store::{MOCK_TOKENIZER, OpenOptions, SbsFile, SbsWriter};
pub use tensors::{Presence, TensorInfo, TensorInfos, base_name, used_tensors};
pub use types::Type;
