//! How to load: plain data, and the callbacks beside it.

use std::fmt;
use std::path::{Path, PathBuf};

use quipu_gguf::{GgufSet, LoadMode, MetadataOverride, SourceKind};
use regex::Regex;

use super::UploadSink;
use crate::error::Error;

/// Bytes handed to a device at a time.
const UPLOAD_CHUNK: usize = 1 << 20;
/// Least bytes at a time: more than a block of any type.
const MIN_CHUNK: usize = 512;

/// How to load a model, with the reference's defaults (`llama_model_params`).
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent switches, as in the reference
pub struct LoadOptions {
    /// How the file is read, and whether memory is locked.
    pub load_mode: LoadMode,
    /// Files of a split model, if their names do not say so themselves; the path to open is then not used.
    pub pieces: Vec<PathBuf>,
    /// Only metadata and vocabulary: no weights, and a model that builds no graphs.
    pub vocab_only: bool,
    /// Weights get places and sizes, but no memory; graphs can be built and planned, not computed.
    pub no_alloc: bool,
    /// Check that every value and block scale of the weights is finite.
    pub check_tensors: bool,
    /// Refuse files with tensors that their architecture does not use, and (with `vocab_only`) unknown architectures.
    pub check_architecture: bool,
    /// Metadata to use instead of the file's; what does not fit a key is warned about and left out.
    pub metadata_overrides: Vec<MetadataOverride>,
    /// Memory to use instead of the device's choice; the first match decides.
    pub buffer_overrides: Vec<BufferOverride>,
    /// Bytes handed to a device at a time, 512 at least.
    pub upload_chunk: usize,
    /// Layers that go to other devices than the model's own, if there are such, counted from the last; the output counts as the
    /// one after it. Negative: all.
    pub n_gpu_layers: i32,
    /// How many of those layers each other device gets, as proportions; by free memory where nothing is said (`--tensor-split`).
    pub tensor_split: Vec<f32>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            load_mode: LoadMode::Mmap,
            pieces: Vec::new(),
            vocab_only: false,
            no_alloc: false,
            check_tensors: false,
            check_architecture: true,
            metadata_overrides: Vec::new(),
            buffer_overrides: Vec::new(),
            upload_chunk: UPLOAD_CHUNK,
            n_gpu_layers: -1,
            tensor_split: Vec::new(),
        }
    }
}

impl LoadOptions {
    /// Opens the file at `path`, or the pieces, in the way the options ask for, and applies the metadata overrides.
    ///
    /// # Errors
    /// As [`GgufSet::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<GgufSet, Error> {
        // Without weights there is nothing to map; the header is read either way.
        let kind = self.load_mode.source_kind(self.no_alloc || self.vocab_only);
        let kind = if self.vocab_only { SourceKind::Buffered } else { kind };
        let mut set = match self.pieces.as_slice() {
            [] => GgufSet::open(path, kind)?,
            pieces => GgufSet::open_pieces(pieces, kind)?,
        };
        self.override_metadata(&mut set);
        Ok(set)
    }

    /// Applies the overrides to files that were opened otherwise; [`LoadOptions::open`] does so itself.
    pub fn override_metadata(&self, set: &mut GgufSet) {
        if self.metadata_overrides.is_empty() {
            return;
        }
        for ignored in set.metadata_mut().apply_overrides(&self.metadata_overrides) {
            tracing::warn!("{ignored}");
        }
    }

    pub(super) fn chunk(&self) -> usize {
        self.upload_chunk.max(MIN_CHUNK)
    }
}

/// Which memory tensors of certain names go to (`llama_model_tensor_buft_override`).
#[derive(Clone, Debug)]
pub struct BufferOverride {
    pattern: Regex,
    buffer_type: String,
}

impl BufferOverride {
    /// Tensors whose name contains a match of `pattern` go to the memory called `buffer_type`.
    ///
    /// # Errors
    /// [`Error::OverridePattern`].
    pub fn new(pattern: &str, buffer_type: &str) -> Result<BufferOverride, Error> {
        let message = |error: regex::Error| Error::OverridePattern {
            pattern: pattern.to_owned(),
            message: error.to_string().lines().last().unwrap_or_default().to_owned(),
        };
        Ok(BufferOverride {
            pattern: Regex::new(pattern).map_err(message)?,
            buffer_type: buffer_type.to_owned(),
        })
    }

    /// Reads `PATTERN=TYPE,PATTERN=TYPE,...` (`--override-tensor`).
    ///
    /// # Errors
    /// [`Error::OverrideSyntax`], [`Error::OverridePattern`].
    pub fn parse_list(text: &str) -> Result<Vec<BufferOverride>, Error> {
        let one = |item: &str| match item.split_once('=') {
            Some((pattern, buffer_type)) => BufferOverride::new(pattern, buffer_type),
            None => Err(Error::OverrideSyntax { found: item.to_owned() }),
        };
        text.split(',').map(one).collect()
    }

    /// The memory's name.
    pub fn buffer_type(&self) -> &str {
        &self.buffer_type
    }

    /// Whether it speaks of the tensor called `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.pattern.is_match(name)
    }
}

/// [`LoadOptions`] and who is told while loading.
#[derive(Default)]
pub struct LoadParams<'a> {
    /// The plain part.
    pub options: LoadOptions,
    /// Called with the share of bytes done, 0 to 1 and never less than before; `false` cancels.
    pub progress: Option<&'a mut dyn FnMut(f32) -> bool>,
    /// Moves weights into memory that the host cannot read; without it they are written with [`quipu_backend::Buffer::write`].
    pub upload: Option<&'a mut dyn UploadSink>,
}

impl From<LoadOptions> for LoadParams<'_> {
    fn from(options: LoadOptions) -> Self {
        LoadParams { options, ..LoadParams::default() }
    }
}

impl fmt::Debug for LoadParams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadParams")
            .field("options", &self.options)
            .field("progress", &self.progress.is_some())
            .field("upload", &self.upload.is_some())
            .finish()
    }
}

/// What loading did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadStats {
    /// Bytes of all weights the model uses.
    pub bytes_total: u64,
    /// Bytes of those that are in place or copied by now.
    pub bytes_done: u64,
    /// Bytes used where the file is mapped.
    pub bytes_mapped: u64,
    /// Bytes read into host memory.
    pub bytes_read: u64,
    /// Bytes handed to the device.
    pub bytes_uploaded: u64,
    /// Bytes locked in physical memory.
    pub bytes_locked: u64,
    /// Whether the file is mapped and its weights used in place.
    pub used_mmap: bool,
}
