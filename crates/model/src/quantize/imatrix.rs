//! Importance matrices: what they hold, and the two file formats of llama-imatrix, read and written.
//!
//! How the sums come about is not told here (`quipu::imatrix` collects them while a model runs).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use quipu_gguf::{Array, GgufFile, GgufWriter, Metadata, StringArray, Value};
use quipu_quant::DType;

use super::error::Error;

const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";

/// Sums of squared activations for the weights of a model. Answers to `common_imatrix`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imatrix {
    /// By the name of the weight.
    pub entries: BTreeMap<String, ImatrixEntry>,
    /// Texts the sums were collected over.
    pub datasets: Vec<String>,
    /// Chunks of text evaluated.
    pub chunk_count: u32,
    /// Tokens in a chunk; 0 if the file does not say (the older format).
    pub chunk_size: u32,
    /// Whether the sums are means times evaluations, as the older format has them, instead of plain sums.
    pub is_legacy: bool,
}

/// What was summed for one weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImatrixEntry {
    /// One sum for each input column, matrix after matrix for weights that are stacks of experts.
    pub sums: Vec<f32>,
    /// Rows summed, one count for each matrix (or one for all).
    pub counts: Vec<i64>,
}

impl ImatrixEntry {
    /// Sums of each matrix that has a count.
    fn matrices(&self) -> impl Iterator<Item = (&[f32], i64)> {
        let ne0 = self.sums.len().checked_div(self.counts.len()).unwrap_or(0).max(1);
        self.sums.chunks(ne0).zip(self.counts.iter().copied())
    }
}

impl Imatrix {
    /// Reads a file of either format; it is the older one if it is not GGUF. Answers to
    /// `common_imatrix_load`.
    ///
    /// # Errors
    /// [`Error::Imatrix`]: unreadable, no entries, sums without counts, other types than f32.
    pub fn open(path: impl AsRef<Path>) -> Result<Imatrix, Error> {
        let path = path.as_ref();
        let failed = |problem: String| Error::Imatrix { path: path.display().to_string(), problem };
        let bytes = quipu_gguf::read_file(path, u64::MAX).map_err(|error| failed(error.to_string()))?;
        Imatrix::parse(bytes).map_err(failed)
    }

    /// As [`Imatrix::open`], of a file in memory; the error is the problem alone.
    ///
    /// # Errors
    /// As [`Imatrix::open`].
    pub fn parse(bytes: Vec<u8>) -> Result<Imatrix, String> {
        if bytes.starts_with(b"GGUF") {
            from_gguf(&GgufFile::from_vec(bytes).map_err(|error| error.to_string())?)
        } else {
            from_legacy(&bytes)
        }
    }

    /// The weight of each column of each tensor: the mean of its squared activations, 1 where none was seen.
    /// Answers to `load_imatrix` of llama-quantize.
    pub fn column_weights(&self) -> BTreeMap<String, Vec<f32>> {
        self.entries.iter().map(|(name, entry)| (name.clone(), self.weights_of(entry))).collect()
    }

    fn weights_of(&self, entry: &ImatrixEntry) -> Vec<f32> {
        if self.is_legacy {
            let calls = entry.counts.first().copied().unwrap_or(0);
            let divisor = if calls > 0 { calls as f32 } else { 1.0 };
            return entry.sums.iter().map(|sum| sum / divisor).collect();
        }
        let mut weights = Vec::with_capacity(entry.sums.len());
        for (sums, count) in entry.matrices() {
            let count = count as f32;
            weights.extend(sums.iter().map(|sum| if count > 0.0 { sum / count } else { 1.0 }));
        }
        // Columns that no count covers are left at nothing, as the reference leaves them.
        weights.resize(entry.sums.len(), 0.0);
        weights
    }

    /// Adds what another file holds, for models evaluated in parts. Answers to
    /// `IMatrixCollector::load_imatrix`; `chunk_size` converts entries of the older format into sums.
    ///
    /// # Errors
    /// [`Error::Imatrix`] (with `name` as its path) if an entry has another size here.
    pub fn add(&mut self, other: &Imatrix, name: &str, chunk_size: u32) -> Result<(), Error> {
        for (tensor, theirs) in &other.entries {
            let mine = self.entries.entry(tensor.clone()).or_default();
            let problem = |what: &str, found: usize, expected: usize| Error::Imatrix {
                path: name.to_owned(),
                problem: format!("{tensor} has {found} {what}, expected {expected}"),
            };
            if mine.sums.is_empty() {
                mine.sums.resize(theirs.sums.len(), 0.0);
            } else if mine.sums.len() != theirs.sums.len() {
                return Err(problem("sums", theirs.sums.len(), mine.sums.len()));
            }
            let n_counts = if other.is_legacy { mine.counts.len().max(1) } else { theirs.counts.len() };
            match mine.counts.as_slice() {
                [] => mine.counts.resize(n_counts, 0),
                &[count] => mine.counts.resize(n_counts, count),
                counts if counts.len() != n_counts => {
                    return Err(problem("counts", n_counts, counts.len()));
                }
                _ => {}
            }
            let (factor, rows) =
                if other.is_legacy { (chunk_size as f32, i64::from(chunk_size)) } else { (1.0, 1) };
            for (sum, more) in mine.sums.iter_mut().zip(&theirs.sums) {
                *sum += more * factor;
            }
            let first = theirs.counts.first().copied().unwrap_or(0);
            for (i, count) in mine.counts.iter_mut().enumerate() {
                let more = if other.is_legacy { first } else { theirs.counts[i] };
                *count = count.saturating_add(more.saturating_mul(rows));
            }
        }
        self.datasets.extend(other.datasets.iter().cloned());
        self.chunk_count = self.last_chunk(chunk_size);
        Ok(())
    }

    /// Whole chunks seen by the tensor that saw most.
    pub fn last_chunk(&self, chunk_size: u32) -> u32 {
        let most = self.entries.values().flat_map(|entry| &entry.counts).max().copied().unwrap_or(0);
        u32::try_from(most / i64::from(chunk_size.max(1))).unwrap_or(0)
    }

    /// Writes the GGUF form. Answers to `IMatrixCollector::save_imatrix`.
    ///
    /// # Errors
    /// [`Error::Gguf`] for names that no tensor can have or if writing fails.
    pub fn write_gguf(&self, out: &mut impl Write) -> Result<(), Error> {
        let mut writer = GgufWriter::new();
        writer.metadata.set("general.type", "imatrix".into());
        let datasets: StringArray = self.datasets.iter().collect();
        writer.metadata.set(DATASETS, Value::Array(Array::String(datasets)));
        writer.metadata.set(CHUNK_COUNT, Value::U32(self.chunk_count));
        writer.metadata.set(CHUNK_SIZE, Value::U32(self.chunk_size));
        let mut data: Vec<Vec<f32>> = Vec::new();
        for (name, entry) in &self.entries {
            let n_mat = entry.counts.len();
            if entry.sums.is_empty() || n_mat == 0 {
                continue;
            }
            let ne = [(entry.sums.len() / n_mat) as u64, n_mat as u64];
            writer.add_tensor(&format!("{name}.in_sum2"), DType::F32, &ne)?;
            data.push(entry.sums[..(ne[0] * ne[1]) as usize].to_vec());
            writer.add_tensor(&format!("{name}.counts"), DType::F32, &[1, n_mat as u64])?;
            data.push(entry.counts.iter().map(|&count| count as f32).collect());
        }
        Ok(writer.write_to(out, |i, sink| write_floats(sink, &data[i]))?)
    }

    /// Writes the older form. Answers to `IMatrixCollector::save_imatrix_legacy`; entries of which nothing was
    /// seen are left out.
    ///
    /// # Errors
    /// [`std::io::Error`] of the output.
    pub fn write_legacy(&self, out: &mut impl Write) -> std::io::Result<()> {
        let seen = |entry: &ImatrixEntry| entry.counts.iter().any(|&count| count != 0);
        let stored: Vec<_> = self.entries.iter().filter(|(_, entry)| seen(entry)).collect();
        let put = |out: &mut dyn Write, value: usize| out.write_all(&(value as i32).to_le_bytes());
        put(out, stored.len())?;
        let chunk_size = i64::from(self.chunk_size.max(1));
        for (name, entry) in stored {
            put(out, name.len())?;
            out.write_all(name.as_bytes())?;
            let most = entry.counts.iter().max().copied().unwrap_or(0);
            // Rounded up, so that it is never zero.
            let calls = most.saturating_add(chunk_size - 1) / chunk_size;
            put(out, calls as usize)?;
            put(out, entry.sums.len())?;
            let mut values = Vec::with_capacity(entry.sums.len());
            for (sums, count) in entry.matrices() {
                let mean = |sum: &f32| if count == 0 { 1.0 } else { sum / count as f32 };
                values.extend(sums.iter().map(|sum| mean(sum) * calls as f32));
            }
            write_floats(out, &values)?;
        }
        put(out, self.chunk_count as usize)?;
        let dataset = self.datasets.last().map_or("", String::as_str);
        put(out, dataset.len())?;
        out.write_all(dataset.as_bytes())
    }
}

fn write_floats(out: &mut dyn Write, values: &[f32]) -> std::io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    out.write_all(&bytes)
}

fn from_gguf(file: &GgufFile) -> Result<Imatrix, String> {
    let metadata = file.metadata();
    if file.tensors().is_empty() {
        return Err("has no tensors, expected sums and counts".to_owned());
    }
    let number = |key: &str| metadata.u32(key).map_err(|error| error.to_string());
    let mut imatrix = Imatrix {
        datasets: datasets(metadata)?,
        chunk_count: number(CHUNK_COUNT)?,
        chunk_size: number(CHUNK_SIZE)?,
        ..Imatrix::default()
    };
    let mut halves: BTreeMap<&str, [Option<Vec<f32>>; 2]> = BTreeMap::new();
    for (index, info) in file.tensors().iter().enumerate() {
        let Some((name, half)) = info
            .name
            .strip_suffix(".in_sum2")
            .map(|name| (name, 0))
            .or_else(|| info.name.strip_suffix(".counts").map(|name| (name, 1)))
        else {
            continue;
        };
        if info.dtype != DType::F32 {
            return Err(format!("tensor {} has type {}, expected f32", info.name, info.dtype));
        }
        let bytes = file.tensor_bytes_at(index).map_err(|error| error.to_string())?;
        let (floats, _) = bytes.as_chunks::<4>();
        let values = floats.iter().map(|&b| f32::from_le_bytes(b)).collect();
        halves.entry(name).or_default()[half] = Some(values);
    }
    for (name, halves) in halves {
        let [Some(sums), Some(counts)] = halves else {
            return Err(format!("{name} has only one of .in_sum2 and .counts, expected both"));
        };
        if counts.is_empty() || sums.len() % counts.len() != 0 {
            let (n_sums, n_counts) = (sums.len(), counts.len());
            return Err(format!("{name} has {n_sums} sums and {n_counts} counts, expected a multiple"));
        }
        let counts = counts.iter().map(|&count| count.round() as i64).collect();
        imatrix.entries.insert(name.to_owned(), ImatrixEntry { sums, counts });
    }
    Ok(imatrix)
}

fn datasets(metadata: &Metadata) -> Result<Vec<String>, String> {
    let names: &StringArray = metadata.require(DATASETS).map_err(|error| error.to_string())?;
    Ok(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Reads numbers and names from the older format.
struct Legacy<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Legacy<'a> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], String> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        let taken = taken.ok_or_else(|| {
            let left = self.bytes.len().saturating_sub(self.at);
            format!("{what} at offset {} needs {len} bytes, but {left} are left", self.at)
        })?;
        self.at += len;
        Ok(taken)
    }

    fn number(&mut self, what: &str) -> Result<i32, String> {
        let bytes = self.take(4, what)?;
        Ok(bytes.try_into().map_or(0, i32::from_le_bytes))
    }

    /// A number that counts something.
    fn length(&mut self, what: &str, least: i32) -> Result<usize, String> {
        let at = self.at;
        let n = self.number(what)?;
        let wrong = || format!("{what} at offset {at} is {n}, expected at least {least}");
        usize::try_from(n).ok().filter(|_| n >= least).ok_or_else(wrong)
    }
}

fn from_legacy(bytes: &[u8]) -> Result<Imatrix, String> {
    let mut file = Legacy { bytes, at: 0 };
    let mut imatrix = Imatrix { is_legacy: true, ..Imatrix::default() };
    for _ in 0..file.length("number of entries", 1)? {
        let len = file.length("length of a name", 0)?;
        let name = file.take(len, "name")?;
        // The reference reads names as C strings.
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let calls = file.number("number of evaluations")?;
        let n = file.length("number of values", 1)?;
        let values = file.take(n.saturating_mul(4), "values")?;
        let sums = values.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        imatrix.entries.insert(name, ImatrixEntry { sums, counts: vec![i64::from(calls)] });
    }
    // The end of the file is optional, piece by piece.
    if let Ok(chunks) = file.number("number of chunks") {
        imatrix.chunk_count = u32::try_from(chunks).unwrap_or(0);
        if let Ok(len) = file.length("length of the dataset", 1)
            && let Ok(name) = file.take(len, "dataset")
        {
            imatrix.datasets.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(imatrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Imatrix {
        let dense = ImatrixEntry { sums: vec![8.0, 16.0, 24.0], counts: vec![8] };
        let experts = ImatrixEntry { sums: vec![2.0, 4.0, 0.0, 0.0], counts: vec![2, 0] };
        Imatrix {
            entries: BTreeMap::from([
                ("blk.0.attn_q.weight".to_owned(), dense),
                ("blk.0.ffn_up_exps.weight".to_owned(), experts),
            ]),
            datasets: vec!["some.txt".to_owned()],
            chunk_count: 2,
            chunk_size: 4,
            is_legacy: false,
        }
    }

    fn reread(bytes: &[u8]) -> Result<Imatrix, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Imatrix::open(file.path())
    }

    #[test]
    fn both_formats_give_the_same_weights() {
        let imatrix = example();
        let mut gguf = Vec::new();
        imatrix.write_gguf(&mut gguf).unwrap();
        let read = reread(&gguf).unwrap();
        assert_eq!(read, imatrix);
        let weights = read.column_weights();
        assert_eq!(weights["blk.0.attn_q.weight"], [1.0, 2.0, 3.0]);
        assert_eq!(weights["blk.0.ffn_up_exps.weight"], [1.0, 2.0, 1.0, 1.0]);

        let mut legacy = Vec::new();
        imatrix.write_legacy(&mut legacy).unwrap();
        let read = reread(&legacy).unwrap();
        assert_eq!((read.chunk_count, read.datasets.as_slice()), (2, ["some.txt".to_owned()].as_slice()));
        assert_eq!(read.column_weights(), weights);
    }

    #[test]
    fn sums_of_several_files_add_up() {
        let mut sum = example();
        sum.add(&example(), "second", 4).unwrap();
        assert_eq!(sum.entries["blk.0.attn_q.weight"].counts, [16]);
        assert_eq!(sum.entries["blk.0.ffn_up_exps.weight"].sums, [4.0, 8.0, 0.0, 0.0]);
        assert_eq!((sum.chunk_count, sum.datasets.len()), (4, 2));
        let mut short = example();
        short.entries.get_mut("blk.0.attn_q.weight").unwrap().sums.pop();
        let error = sum.add(&short, "short", 4).unwrap_err();
        assert_eq!(error.to_string(), "importance matrix short: blk.0.attn_q.weight has 2 sums, expected 3");
    }

    #[test]
    fn broken_files_are_refused() {
        let mut legacy = Vec::new();
        example().write_legacy(&mut legacy).unwrap();
        for len in 0..legacy.len() {
            // Cut in the optional end, a file is still good.
            if let Err(error) = reread(&legacy[..len]) {
                assert!(error.to_string().contains("needs"), "{error}");
            } else {
                assert!(len > 70, "{len}");
            }
        }
        let huge = [1i32.to_le_bytes(), i32::MAX.to_le_bytes()].concat();
        assert!(reread(&huge).unwrap_err().to_string().contains("needs 2147483647 bytes, but 0 are left"));
        assert!(reread(&0i32.to_le_bytes()).unwrap_err().to_string().contains("expected at least 1"));
    }
}
