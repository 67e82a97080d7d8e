//! A GGUF file ready for use: its bytes and what they say.

use std::path::Path;
use std::sync::Arc;

use crate::{ByteSource, Error, Gguf, MappedFile, MemoryFile, Metadata, Result, TensorInfo};

/// A checked GGUF file over a shared byte source. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct GgufFile {
    source: Arc<dyn ByteSource>,
    gguf: Arc<Gguf>,
}

impl GgufFile {
    /// Maps and checks the file at `path`; no tensor data is read.
    ///
    /// # Errors
    /// As [`MappedFile::open`] and [`Gguf::parse`].
    pub fn open(path: impl AsRef<Path>) -> Result<GgufFile> {
        GgufFile::from_source(Arc::new(MappedFile::open(path)?))
    }

    /// Checks a file compiled into the program, used in place if it is aligned to
    /// [`crate::SOURCE_ALIGNMENT`] and copied once otherwise.
    pub fn from_static(bytes: &'static [u8]) -> Result<GgufFile> {
        GgufFile::from_source(Arc::new(MemoryFile::from_static(bytes)))
    }

    /// Checks a file held in memory.
    pub fn from_vec(bytes: Vec<u8>) -> Result<GgufFile> {
        GgufFile::from_source(Arc::new(MemoryFile::from_vec(bytes)))
    }

    /// Checks a file from any source.
    pub fn from_source(source: Arc<dyn ByteSource>) -> Result<GgufFile> {
        let gguf = Arc::new(Gguf::parse(source.bytes())?);
        Ok(GgufFile { source, gguf })
    }

    /// What the file says before its data.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// The keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.gguf.metadata
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.gguf.tensors
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &Arc<dyn ByteSource> {
        &self.source
    }

    /// The descriptor of the tensor called `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        self.gguf.tensor(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
    }

    /// The data of the tensor called `name`, in place.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor_bytes(&self, name: &str) -> Result<&[u8]> {
        let range = self.range_of(self.tensor(name)?);
        Ok(&self.source.bytes()[range])
    }

    /// The data of tensor `index` in file order, in place.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn tensor_bytes_at(&self, index: usize) -> Result<&[u8]> {
        Ok(&self.source.bytes()[self.tensor_range(index)?])
    }

    /// Where the data of tensor `index` lies in the source.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn tensor_range(&self, index: usize) -> Result<std::ops::Range<usize>> {
        let n_tensors = self.tensors().len();
        let info = self.tensors().get(index).ok_or(Error::NoSuchTensor { index, n_tensors })?;
        Ok(self.range_of(info))
    }

    /// Lets go of the memory behind the data of tensor `index`, after it was copied elsewhere.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn release_tensor(&self, index: usize) -> Result<()> {
        self.source.release(self.tensor_range(index)?);
        Ok(())
    }

    /// Both ends were checked against the source's length when the file was parsed.
    fn range_of(&self, info: &TensorInfo) -> std::ops::Range<usize> {
        let start = (self.gguf.data_offset + info.offset) as usize;
        start..start + info.n_bytes as usize
    }
}
