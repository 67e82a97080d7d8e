//! A model's file or files as one: every tensor knows the piece it lies in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::{
    Error, GgufFile, Metadata, Result, SourceKind, TensorInfo, check_split_set, split_count, split_paths,
};

/// A GGUF file, or the pieces of one that was split, opened together. Answers to the tensor index of `llama_model_loader`.
///
/// Tensors are numbered through: piece by piece, in file order. The metadata is the first piece's.
#[derive(Clone, Debug)]
pub struct GgufSet {
    shards: Vec<GgufFile>,
    paths: Vec<PathBuf>,
    /// Piece, and index within it, of every tensor.
    places: Vec<(usize, usize)>,
    index: HashMap<String, usize>,
    /// The first piece's metadata, if it was changed.
    changed: Option<Metadata>,
}

impl GgufSet {
    /// Opens the file at `path` and, if it is the first piece of a split model, the other pieces beside it.
    ///
    /// # Errors
    /// As [`GgufFile::open_with`] for every piece; a path that is not the first piece; pieces that do not
    /// belong together.
    pub fn open(path: impl AsRef<Path>, kind: SourceKind) -> Result<GgufSet> {
        let path = path.as_ref();
        let first = GgufFile::open_with(path, kind)?;
        let paths = match split_count(first.metadata())? {
            1 => vec![path.to_owned()],
            count => split_paths(path, count)?,
        };
        GgufSet::with_first(first, paths, kind)
    }

    /// Opens the pieces at `paths`, in their order, under whatever names they have
    /// (`llama_model_load_from_splits`).
    ///
    /// # Errors
    /// As [`GgufSet::open`]; [`Error::SplitFiles`] without paths.
    pub fn open_pieces(paths: &[PathBuf], kind: SourceKind) -> Result<GgufSet> {
        let first = paths.first().ok_or(Error::SplitFiles { found: 0, expected: 1 })?;
        GgufSet::with_first(GgufFile::open_with(first, kind)?, paths.to_vec(), kind)
    }

    fn with_first(first: GgufFile, paths: Vec<PathBuf>, kind: SourceKind) -> Result<GgufSet> {
        let mut shards = vec![first];
        for path in paths.get(1..).unwrap_or_default() {
            let piece = GgufFile::open_with(path, kind);
            shards.push(piece.map_err(|source| in_file(path, source))?);
        }
        GgufSet::from_shards(shards, paths)
    }

    /// Puts opened pieces together; `paths` name them in messages.
    ///
    /// # Errors
    /// Pieces that do not belong together.
    pub fn from_shards(shards: Vec<GgufFile>, paths: Vec<PathBuf>) -> Result<GgufSet> {
        check_split_set(&shards.iter().map(GgufFile::gguf).collect::<Vec<_>>())?;
        let mut places = Vec::new();
        let mut index = HashMap::new();
        for (shard, file) in shards.iter().enumerate() {
            for (within, tensor) in file.tensors().iter().enumerate() {
                index.insert(tensor.name.clone(), places.len());
                places.push((shard, within));
            }
        }
        Ok(GgufSet { shards, paths, places, index, changed: None })
    }

    /// The pieces in order; one for a model in one file.
    pub fn shards(&self) -> &[GgufFile] {
        &self.shards
    }

    /// Where the pieces were opened; empty for those that were not opened by path.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The keys and values.
    pub fn metadata(&self) -> &Metadata {
        self.changed.as_ref().unwrap_or_else(|| self.first().metadata())
    }

    /// The keys and values, to override some of them.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        let metadata = self.first().metadata().clone();
        self.changed.get_or_insert(metadata)
    }

    /// The first piece, or the only one.
    pub fn first(&self) -> &GgufFile {
        &self.shards[0]
    }

    /// Tensors in all pieces.
    pub fn n_tensors(&self) -> usize {
        self.places.len()
    }

    /// The tensors in order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.places.iter().map(|&(shard, within)| &self.shards[shard].tensors()[within])
    }

    /// Number of the tensor called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The descriptor of tensor `index`; its offset counts within its piece.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn tensor(&self, index: usize) -> Result<&TensorInfo> {
        let (shard, within) = self.place(index)?;
        Ok(&self.shards[shard].tensors()[within])
    }

    /// The piece that tensor `index` lies in.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn shard_of(&self, index: usize) -> Result<usize> {
        Ok(self.place(index)?.0)
    }

    /// Where the data of tensor `index` lies in its piece.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn tensor_range(&self, index: usize) -> Result<Range<usize>> {
        let (shard, within) = self.place(index)?;
        self.shards[shard].tensor_range(within)
    }

    /// The data of tensor `index`, in place.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::NotInPlace`].
    pub fn tensor_bytes(&self, index: usize) -> Result<&[u8]> {
        let (shard, within) = self.place(index)?;
        self.shards[shard].tensor_bytes_at(within)
    }

    /// As [`GgufFile::tensor_data`].
    pub fn tensor_data(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let (shard, within) = self.place(index)?;
        self.shards[shard].tensor_data(within)
    }

    /// As [`GgufFile::read_tensor`].
    pub fn read_tensor(&self, index: usize, from: u64, out: &mut [u8]) -> Result<()> {
        let (shard, within) = self.place(index)?;
        self.shards[shard].read_tensor(within, from, out)
    }

    /// Whether what was handed out in place so far was the files'; as [`crate::ByteSource::check_unchanged`].
    ///
    /// # Errors
    /// [`Error::MappingChanged`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.shards.iter().try_for_each(|file| file.source().check_unchanged())
    }

    /// Lets go of the memory behind the data of tensor `index`, after it was copied elsewhere.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn release_tensor(&self, index: usize) -> Result<()> {
        let (shard, within) = self.place(index)?;
        self.shards[shard].release_tensor(within)
    }

    /// As [`GgufSet::release_tensor`] for a range of the tensor's bytes.
    pub fn release_part(&self, index: usize, range: Range<usize>) -> Result<()> {
        let (shard, within) = self.place(index)?;
        let file = &self.shards[shard];
        let all = file.tensor_range(within)?;
        let end = all.end.min(all.start.saturating_add(range.end));
        let start = all.start.saturating_add(range.start).min(end);
        file.source().release(start as u64..end as u64);
        Ok(())
    }

    /// Elements of all tensors.
    pub fn n_params(&self) -> u64 {
        self.tensors().map(TensorInfo::n_elements).fold(0, u64::saturating_add)
    }

    /// Bytes of all tensors.
    pub fn n_bytes(&self) -> u64 {
        self.tensors().map(|tensor| tensor.n_bytes).fold(0, u64::saturating_add)
    }

    fn place(&self, index: usize) -> Result<(usize, usize)> {
        let n_tensors = self.places.len();
        self.places.get(index).copied().ok_or(Error::NoSuchTensor { index, n_tensors })
    }
}

/// Messages about opening name the file already.
fn in_file(path: &Path, source: Error) -> Error {
    match source {
        Error::Open { .. } | Error::NotAFile { .. } | Error::Read { .. } => source,
        source => Error::InFile { path: path.to_owned(), source: Box::new(source) },
    }
}

/// A file by itself, even if it says that it is a piece of more.
impl From<&GgufFile> for GgufSet {
    fn from(file: &GgufFile) -> GgufSet {
        GgufSet {
            shards: vec![file.clone()],
            paths: Vec::new(),
            places: (0..file.tensors().len()).map(|within| (0, within)).collect(),
            index: file.tensors().iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect(),
            changed: None,
        }
    }
}
