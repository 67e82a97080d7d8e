//! One file into a set of several, as `llama-gguf-split --split` cuts.

use std::fs::File;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::copy::{Copier, write_file};
use crate::split_set::{SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
use crate::tensor::padded;
use crate::{
    DEFAULT_ALIGNMENT, Error, Gguf, GgufWriter, Inputs, NewFile, Result, TensorInfo, Value, split_path,
};

/// What fills a file of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitLimit {
    /// So many tensors.
    Tensors(NonZeroU32),
    /// So many bytes of tensors, each counted with its padding to 32. A single tensor may be larger.
    Bytes(u64),
}

/// How a file is cut. The default is the reference's: 128 tensors in each file, from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitOptions {
    /// When the next file begins.
    pub limit: SplitLimit,
    /// The first file holds metadata only.
    pub no_tensor_first_split: bool,
}

impl Default for SplitOptions {
    fn default() -> SplitOptions {
        let limit = SplitLimit::Tensors(NonZeroU32::new(128).expect("128 is not 0"));
        SplitOptions { limit, no_tensor_first_split: false }
    }
}

/// How a file will be cut, before anything is written. Answers to `split_strategy` of gguf-split.
#[derive(Clone, Debug)]
pub struct SplitPlan {
    input: PathBuf,
    file: std::sync::Arc<File>,
    gguf: Gguf,
    splits: Vec<Split>,
}

#[derive(Clone, Debug)]
struct Split {
    writer: GgufWriter,
    /// Which tensors of the input it gets.
    tensors: Range<usize>,
}

impl SplitPlan {
    /// Reads the header of the file at `input` and decides where it is cut.
    ///
    /// # Errors
    /// As [`Gguf::open`]; [`Error::SplitTooSmall`] if a file other than the intended first one would get no
    /// tensor; [`Error::TooManySplits`].
    pub fn new(input: impl AsRef<Path>, options: &SplitOptions) -> Result<SplitPlan> {
        let input = input.as_ref().to_owned();
        let (gguf, file) = Gguf::open(&input)?;
        let ranges = cut(&gguf.tensors, options)?;
        let count = u16::try_from(ranges.len()).map_err(|_| Error::TooManySplits { found: ranges.len() })?;
        let splits = ranges
            .into_iter()
            .zip(0..count)
            .map(|(tensors, no)| Ok(Split { writer: writer(&gguf, &tensors, no, count)?, tensors }))
            .collect::<Result<Vec<Split>>>()?;
        Ok(SplitPlan { input, file: std::sync::Arc::new(file), gguf, splits })
    }

    /// Number of files, 1 or more.
    pub fn n_splits(&self) -> u16 {
        self.splits.len() as u16
    }

    /// Number of tensors in all files.
    pub fn n_tensors(&self) -> usize {
        self.gguf.tensors.len()
    }

    /// Number of tensors of each file, and its bytes as gguf-split counts them: header and data without padding.
    ///
    /// # Errors
    /// As [`GgufWriter::header`].
    pub fn sizes(&self) -> Result<Vec<(usize, u64)>> {
        self.splits
            .iter()
            .map(|split| {
                let data: u64 = self.gguf.tensors[split.tensors.clone()].iter().map(|t| t.n_bytes).sum();
                Ok((split.tensors.len(), split.writer.header()?.len() as u64 + data))
            })
            .collect()
    }

    /// The paths of the files.
    pub fn paths(&self, prefix: &Path) -> Vec<PathBuf> {
        (0..self.n_splits()).map(|no| split_path(prefix, no, self.n_splits())).collect()
    }

    /// Writes the files, over whatever is at their paths (as gguf-split does), except the input itself. Tensor data
    /// passes through one buffer of 1 MiB. `started` is told each path before it is written. The files take their names
    /// when all of them are complete: until then, and after a failure, what was there is there.
    ///
    /// # Errors
    /// [`Error::OutputIsInput`] before anything is written; [`Error::Create`]; [`Error::DataLength`] if the input
    /// was cut meanwhile.
    pub fn write(&self, prefix: &Path, mut started: impl FnMut(&Path)) -> Result<()> {
        let mut inputs = Inputs::new();
        inputs.add_open(&self.input, &self.file);
        let paths = self.paths(prefix);
        paths.iter().try_for_each(|path| inputs.refuse(path))?;
        let mut copier = Copier::new();
        let mut files = Vec::with_capacity(paths.len());
        for (split, path) in self.splits.iter().zip(&paths) {
            started(path);
            let mut out = NewFile::create(path, &inputs)?;
            write_file(&mut out, &split.writer, |i, sink| {
                let tensor = &self.gguf.tensors[split.tensors.start + i];
                let offset = self.gguf.data_offset + tensor.offset;
                copier.copy(&self.input, &self.file, offset, tensor.n_bytes, sink)
            })?;
            files.push(out);
        }
        NewFile::finish_all(files)
    }
}

/// Which tensors go into which file.
fn cut(tensors: &[TensorInfo], options: &SplitOptions) -> Result<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    if options.no_tensor_first_split {
        ranges.push(0..0);
    }
    let mut start = 0;
    let mut size = 0u64;
    for (i, tensor) in tensors.iter().enumerate() {
        // The bytes lie in a file, so neither rounding nor the sum overflows in earnest.
        let n_bytes = padded(tensor.n_bytes, DEFAULT_ALIGNMENT).unwrap_or(u64::MAX);
        let next = size.saturating_add(n_bytes);
        let full = match options.limit {
            SplitLimit::Bytes(limit) => next > limit,
            SplitLimit::Tensors(limit) => i > 0 && i % limit.get() as usize == 0,
        };
        if !full {
            size = next;
            continue;
        }
        if start == i {
            let limit = if let SplitLimit::Bytes(limit) = options.limit { limit } else { 0 };
            return Err(Error::SplitTooSmall { name: tensor.name.clone(), found: n_bytes, limit });
        }
        ranges.push(start..i);
        start = i;
        size = n_bytes;
    }
    ranges.push(start..tensors.len());
    Ok(ranges)
}

/// The header of file `no`: all metadata in the first, and the three keys of the set in all.
fn writer(gguf: &Gguf, tensors: &Range<usize>, no: u16, count: u16) -> Result<GgufWriter> {
    let mut writer = GgufWriter::new();
    if no == 0 {
        writer.metadata = gguf.metadata.clone();
    }
    let n_tensors = i32::try_from(gguf.tensors.len())
        .map_err(|_| Error::TensorCount { found: gguf.tensors.len() as i64, limit: i32::MAX as u64 })?;
    // gguf-split sets the count last, when it is known; setting moves a key to the end.
    writer.metadata.set(SPLIT_NO, Value::U16(no));
    writer.metadata.set(SPLIT_TENSORS_COUNT, Value::I32(n_tensors));
    writer.metadata.set(SPLIT_COUNT, Value::U16(count));
    for tensor in &gguf.tensors[tensors.clone()] {
        writer.add_tensor(&tensor.name, tensor.dtype, &tensor.ne)?;
    }
    Ok(writer)
}
