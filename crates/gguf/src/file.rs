//! A GGUF file ready for use: its bytes and what they say.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::{
    ByteSource, Error, Gguf, MappedFile, MemoryFile, Metadata, Result, SourceKind, TensorInfo, open_source,
};

/// Bytes read at first from a file that is not in memory; enough for a header without a vocabulary.
const FIRST_PREFIX: u64 = 1 << 16;

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

    /// Checks the file at `path`, read in another way; no tensor data is read except into [`SourceKind::Memory`].
    ///
    /// # Errors
    /// As [`open_source`] and [`GgufFile::from_source`].
    pub fn open_with(path: impl AsRef<Path>, kind: SourceKind) -> Result<GgufFile> {
        GgufFile::from_source(open_source(path, kind)?)
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

    /// Checks a file from any source. Of a source that is not in memory as much is read as the header takes, at most twice.
    ///
    /// # Errors
    /// As [`Gguf::parse`]; also [`Error::Read`].
    pub fn from_source(source: Arc<dyn ByteSource>) -> Result<GgufFile> {
        let gguf = match source.in_place() {
            Some(bytes) => {
                let parsed = Gguf::parse(bytes);
                // What was read of pages that went missing says nothing.
                source.check_unchanged()?;
                parsed?
            }
            None => parse_on_demand(source.as_ref())?,
        };
        Ok(GgufFile { source, gguf: Arc::new(gguf) })
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
    /// [`Error::MissingTensor`], [`Error::NotInPlace`].
    pub fn tensor_bytes(&self, name: &str) -> Result<&[u8]> {
        self.bytes_of(self.tensor(name)?)
    }

    /// The data of tensor `index` in file order, in place.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::NotInPlace`].
    pub fn tensor_bytes_at(&self, index: usize) -> Result<&[u8]> {
        self.bytes_of(self.info(index)?)
    }

    /// The data of tensor `index`: in place where the source is in memory, read into memory of its own otherwise.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::Read`].
    pub fn tensor_data(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let info = self.info(index)?;
        if self.source.in_place().is_some() {
            return self.bytes_of(info).map(Cow::Borrowed);
        }
        let mut bytes = zeroed(info.n_bytes as usize)?;
        self.source.read_at(self.start_of(info), &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// Fills `out` with the data of tensor `index` from its byte `from` on.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::OutOfRange`], [`Error::Read`].
    pub fn read_tensor(&self, index: usize, from: u64, out: &mut [u8]) -> Result<()> {
        let info = self.info(index)?;
        let len = out.len() as u64;
        if from.checked_add(len).is_none_or(|end| end > info.n_bytes) {
            return Err(Error::OutOfRange { offset: from, len, file_len: info.n_bytes });
        }
        self.source.read_at(self.start_of(info) + from, out)
    }

    /// Where the data of tensor `index` lies in the source.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn tensor_range(&self, index: usize) -> Result<Range<usize>> {
        Ok(self.range_of(self.info(index)?))
    }

    /// Lets go of the memory behind the data of tensor `index`, after it was copied elsewhere.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn release_tensor(&self, index: usize) -> Result<()> {
        let range = self.tensor_range(index)?;
        self.source.release(range.start as u64..range.end as u64);
        Ok(())
    }

    fn info(&self, index: usize) -> Result<&TensorInfo> {
        let n_tensors = self.tensors().len();
        self.tensors().get(index).ok_or(Error::NoSuchTensor { index, n_tensors })
    }

    fn bytes_of(&self, info: &TensorInfo) -> Result<&[u8]> {
        let bytes = self.source.in_place().ok_or_else(|| Error::NotInPlace { name: info.name.clone() })?;
        Ok(&bytes[self.range_of(info)])
    }

    fn start_of(&self, info: &TensorInfo) -> u64 {
        self.gguf.data_offset + info.offset
    }

    /// Both ends were checked against the source's length when the file was parsed.
    fn range_of(&self, info: &TensorInfo) -> Range<usize> {
        let start = self.start_of(info) as usize;
        start..start + info.n_bytes as usize
    }
}

/// Reads a growing prefix until the header is complete.
fn parse_on_demand(source: &dyn ByteSource) -> Result<Gguf> {
    let file_len = source.len();
    let mut prefix = Vec::new();
    let mut wanted = FIRST_PREFIX.min(file_len);
    loop {
        let start = prefix.len();
        reserve(&mut prefix, wanted as usize - start)?;
        prefix.resize(wanted as usize, 0);
        source.read_at(start as u64, &mut prefix[start..])?;
        match Gguf::parse_prefix(&prefix, file_len) {
            // `needed` lies within the file, so this grows.
            Err(Error::PrefixTooShort { have, needed }) => wanted = needed.max(2 * have).min(file_len),
            done => return done,
        }
    }
}

/// `size` zero bytes; their number comes from a file.
fn zeroed(size: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, size)?;
    bytes.resize(size, 0);
    Ok(bytes)
}

fn reserve(bytes: &mut Vec<u8>, size: usize) -> Result<()> {
    let refused = |error| Error::OutOfMemory { size, source: std::io::Error::other(error) };
    bytes.try_reserve_exact(size).map_err(refused)
}
