//! Carrying a plan out: tensor by tensor from the files read to the files written.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use quipu_gguf::{GgufSet, GgufWriter, Inputs, Metadata, NewFile};
use quipu_quant::DType;

use super::error::Error;
use super::plan::{QuantizePlan, TensorPlan};
use super::policy::is_token_embd;
use super::{QuantizeParams, rows};

/// Carries out `plan`, made of `set` and `params`, and writes one file for each of `outputs`. `progress` is
/// called before each tensor with its number; `false` cancels. Answers to `llama_model_quantize`.
///
/// The files come into being under their names when all are complete ([`NewFile`]), and none over one of `inputs`.
///
/// # Errors
/// A tensor whose data is invalid or cannot be converted, a missing or unfit importance matrix,
/// failures of writing, [`Error::Cancelled`].
pub fn quantize(
    set: &GgufSet,
    plan: &QuantizePlan,
    params: &QuantizeParams,
    outputs: &[PathBuf],
    inputs: &Inputs,
    mut progress: impl FnMut(usize, &TensorPlan) -> bool,
) -> Result<(), Error> {
    if let Some(tensor) = plan.first_needing_imatrix().filter(|_| params.imatrix.is_none()) {
        return Err(Error::ImatrixRequired { name: tensor.name.clone(), dtype: tensor.to });
    }
    outputs.iter().try_for_each(|path| inputs.refuse(path))?;
    let mut number = 0;
    let mut files = Vec::with_capacity(outputs.len());
    for (output, (path, metadata)) in outputs.iter().zip(&plan.metadata).enumerate() {
        let tensors: Vec<&TensorPlan> = plan.tensors.iter().filter(|t| t.output == output).collect();
        let mut file = NewFile::create(path, inputs)?;
        let mut converter = Converter { set, params, work: Vec::new() };
        write_file(&mut file, metadata, &tensors, |tensor, sink| {
            number += 1;
            if !progress(number - 1, tensor) {
                return Err(Failure::Engine(Error::Cancelled));
            }
            converter.put(tensor, sink)
        })?;
        files.push(file);
    }
    Ok(NewFile::finish_all(files)?)
}

/// What interrupts the writing of a tensor.
enum Failure {
    Engine(Error),
    Io(io::Error),
}

/// Reads a tensor and hands it on, converted if it should be.
struct Converter<'a> {
    set: &'a GgufSet,
    params: &'a QuantizeParams,
    work: Vec<u8>,
}

impl Converter<'_> {
    fn put(&mut self, tensor: &TensorPlan, sink: &mut dyn Write) -> Result<(), Failure> {
        let data = self.set.tensor_data(tensor.index).map_err(|error| Failure::Engine(error.into()))?;
        if tensor.from == tensor.to {
            rows::check(tensor, &data).map_err(Failure::Engine)?;
            sink.write_all(&data).map_err(Failure::Io)?;
        } else {
            self.convert(tensor, &data).map_err(Failure::Engine)?;
            sink.write_all(&self.work).map_err(Failure::Io)?;
        }
        let done = self.set.check_unchanged().and_then(|()| self.set.release_tensor(tensor.index));
        done.map_err(|error| Failure::Engine(error.into()))
    }

    fn convert(&mut self, tensor: &TensorPlan, data: &[u8]) -> Result<(), Error> {
        let name = || tensor.name.clone();
        let weights = column_weights(self.params, tensor)?;
        if weights.is_none() && tensor.requires_imatrix {
            return Err(Error::ImatrixRequired { name: name(), dtype: tensor.to });
        }
        match tensor.from {
            DType::F32 | DType::F16 | DType::BF16 => {}
            dtype if !dtype.is_quantized() => return Err(Error::NotConvertible { name: name(), dtype }),
            dtype if !self.params.allow_requantize => return Err(Error::Requantize { name: name(), dtype }),
            _ => {}
        }
        // Its size follows from that of the data at hand: nothing a header says is allocated unchecked.
        let size = tensor.n_bytes_new as usize;
        self.work
            .try_reserve(size.saturating_sub(self.work.len()))
            .map_err(|error| no_memory(size, error))?;
        self.work.resize(tensor.n_bytes_new as usize, 0);
        let n_threads = match self.params.n_threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            n => n,
        };
        rows::convert(tensor, data, weights, n_threads, &mut self.work)
    }
}

/// The weights of the columns of `tensor`, if there are any and of the right size. Token embeddings of
/// another size go without: the matrix was collected for the output they also serve as.
fn column_weights<'p>(params: &'p QuantizeParams, tensor: &TensorPlan) -> Result<Option<&'p [f32]>, Error> {
    let found = params.imatrix.as_ref().and_then(|imatrix| imatrix.get(&tensor.source_name));
    let Some(weights) = found else { return Ok(None) };
    let expected = tensor.ne[0].saturating_mul(tensor.ne[2]);
    if let Some(index) = weights.iter().position(|weight| !weight.is_finite()) {
        return Err(Error::Imatrix {
            path: tensor.source_name.clone(),
            problem: format!("weight {index} is {}, expected a finite number", weights[index]),
        });
    }
    if let Some(index) = weights.iter().position(|weight| *weight < 0.0) {
        return Err(Error::Imatrix {
            path: tensor.source_name.clone(),
            problem: format!("weight {index} is {}, expected 0 or more", weights[index]),
        });
    }
    if weights.len() as u64 == expected {
        return Ok(Some(weights));
    }
    if is_token_embd(&tensor.name) {
        return Ok(None);
    }
    Err(Error::ImatrixSize { name: tensor.name.clone(), found: weights.len(), expected })
}

fn no_memory(size: usize, error: std::collections::TryReserveError) -> Error {
    Error::Gguf(quipu_gguf::Error::OutOfMemory { size, source: io::Error::other(error) })
}

/// Writes one file; `put` writes the data of a tensor.
fn write_file(
    file: &mut NewFile,
    metadata: &Metadata,
    tensors: &[&TensorPlan],
    mut put: impl FnMut(&TensorPlan, &mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Error> {
    let mut writer = GgufWriter::new();
    writer.metadata = metadata.clone();
    for tensor in tensors {
        writer.add_tensor(&tensor.name, tensor.to, &tensor.ne)?;
    }
    let path = file.path().to_owned();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    // The writer passes i/o errors on; what else went wrong waits here.
    let mut failed = None;
    let written = writer.write_to(&mut out, |i, sink| match put(tensors[i], sink) {
        Ok(()) => Ok(()),
        Err(Failure::Io(error)) => Err(error),
        Err(Failure::Engine(error)) => {
            failed = Some(error);
            Err(io::Error::other("stopped"))
        }
    });
    match (failed, written) {
        (Some(error), _) => Err(error),
        (None, written) => Ok(written.map_err(|error| error.of_output(&path))?),
    }
}
