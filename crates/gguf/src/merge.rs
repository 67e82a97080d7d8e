//! A set of split files into one, as `llama-gguf-split --merge` joins.

use std::path::{Path, PathBuf};

use crate::copy::{Copier, write_file};
use crate::split_set::SPLIT_COUNT;
use crate::{Error, Gguf, GgufWriter, NewFile, Result, Value, check_split_set, split_paths};

/// A set that was read and checked, ready to be written as one file.
#[derive(Debug)]
pub struct MergePlan {
    files: Vec<(PathBuf, Gguf, std::fs::File)>,
    writer: GgufWriter,
}

impl MergePlan {
    /// Reads and checks the headers of the set whose first file is `first`.
    ///
    /// # Errors
    /// As [`Gguf::open`] and [`check_split_set`]; [`Error::MissingKey`] without `split.count`,
    /// [`Error::NotSplit`] if it is 0 (already merged), [`Error::SplitName`].
    pub fn new(first: impl AsRef<Path>) -> Result<MergePlan> {
        let first = first.as_ref();
        let (gguf, file) = Gguf::open(first)?;
        let count = gguf.metadata.require::<u16>(SPLIT_COUNT)?;
        if count == 0 {
            return Err(Error::NotSplit);
        }
        let paths = split_paths(first, count)?;
        let mut files = vec![(first.to_owned(), gguf, file)];
        for path in paths.into_iter().skip(1) {
            let (gguf, file) = Gguf::open(&path)?;
            files.push((path, gguf, file));
        }
        check_split_set(&files.iter().map(|(_, gguf, _)| gguf).collect::<Vec<_>>())?;

        let mut writer = GgufWriter::new();
        writer.metadata = files[0].1.metadata.clone();
        // So that nobody takes the result for a part of a set.
        writer.metadata.set(SPLIT_COUNT, Value::U16(0));
        for (_, gguf, _) in &files {
            for tensor in &gguf.tensors {
                writer.add_tensor(&tensor.name, tensor.dtype, &tensor.ne)?;
            }
        }
        Ok(MergePlan { files, writer })
    }

    /// The files of the set in order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|(path, _, _)| path.as_path())
    }

    /// Number of tensors in all files.
    pub fn n_tensors(&self) -> usize {
        self.files.iter().map(|(_, gguf, _)| gguf.tensors.len()).sum()
    }

    /// Writes the file, which must not exist yet; a failure leaves none. Tensor data passes through one buffer of
    /// 1 MiB.
    ///
    /// # Errors
    /// [`Error::OutputExists`]; [`Error::Create`]; [`Error::DataLength`] if an input was cut meanwhile.
    pub fn write(&self, out: impl AsRef<Path>) -> Result<()> {
        let mut out = NewFile::create_new(out)?;
        let mut copier = Copier::new();
        // Tensors come in the order they were added: file by file.
        let mut sources = self.files.iter().flat_map(|(path, gguf, file)| {
            gguf.tensors
                .iter()
                .map(move |tensor| (path, file, gguf.data_offset + tensor.offset, tensor.n_bytes))
        });
        write_file(&mut out, &self.writer, |_, sink| {
            // There are as many as were added; a missing one would be reported as too short.
            let Some((path, file, offset, len)) = sources.next() else { return Ok(()) };
            copier.copy(path, file, offset, len, sink)
        })?;
        out.finish()
    }
}
