//! Quantising a model file to another, as llama-quantize does.

use std::path::{Path, PathBuf};

use quipu_gguf::{GgufSet, Inputs, SourceKind};
use quipu_model::quantize;
pub use quipu_model::quantize::{FileType, QuantizeParams, QuantizePlan, TensorPlan};

use crate::error::Error;
use crate::generate::Flow;

/// A model file opened for quantising, with what will become of it.
///
/// ```no_run
/// # fn main() -> Result<(), quipu::Error> {
/// let params = quipu::QuantizeParams { file_type: quipu::FileType::Q4_K_M, ..Default::default() };
/// let quantizer = quipu::Quantizer::open("model-f16.gguf", params)?;
/// quantizer.run("model-q4_k_m.gguf", |_, _| quipu::Flow::Continue)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Quantizer {
    input: PathBuf,
    set: GgufSet,
    params: QuantizeParams,
    plan: QuantizePlan,
    /// What no output may be written over.
    inputs: Inputs,
}

impl Quantizer {
    /// Opens `input` (of a split set, its first file) and decides what each tensor becomes.
    ///
    /// # Errors
    /// Unreadable files, tensors that fit no type, malformed parameters.
    pub fn open(input: impl AsRef<Path>, params: QuantizeParams) -> Result<Quantizer, Error> {
        let input = input.as_ref().to_owned();
        let set = GgufSet::open(&input, SourceKind::Mapped)
            .map_err(|source| Error::Open { path: input.clone(), source })?;
        let plan = quantize::plan(&set, &params).map_err(|e| in_file(&input, e))?;
        let inputs = set.paths().iter().collect();
        Ok(Quantizer { input, set, params, plan, inputs })
    }

    /// Names further files that were read for this, and that no output may be written over.
    pub fn keep(&mut self, files: impl IntoIterator<Item = impl AsRef<Path>>) {
        files.into_iter().for_each(|path| self.inputs.add(path));
    }

    /// What each tensor becomes.
    pub fn plan(&self) -> &QuantizePlan {
        &self.plan
    }

    /// Writes the new file. `progress` gets the number of each tensor before it is converted, and may stop the
    /// run; nothing is left behind then.
    ///
    /// With [`QuantizeParams::keep_split`], `output` without `.gguf` is the prefix of the files written.
    ///
    /// # Errors
    /// An output that is an input, invalid data, missing or unfit importance matrix, failures of writing, [`Error::Cancelled`].
    pub fn run(
        &self,
        output: impl AsRef<Path>,
        mut progress: impl FnMut(usize, &TensorPlan) -> Flow,
    ) -> Result<(), Error> {
        let outputs = self.outputs(output.as_ref());
        let go_on = |i: usize, tensor: &TensorPlan| progress(i, tensor) == Flow::Continue;
        quantize::quantize(&self.set, &self.plan, &self.params, &outputs, &self.inputs, go_on)
            .map_err(|error| in_file(&self.input, error))
    }

    fn outputs(&self, output: &Path) -> Vec<PathBuf> {
        if !self.params.keep_split {
            return vec![output.to_owned()];
        }
        let has_suffix = output.extension().is_some_and(|extension| extension == "gguf");
        let prefix = if has_suffix { output.with_extension("") } else { output.to_owned() };
        let count = self.plan.metadata.len() as u16;
        (0..count).map(|no| quipu_gguf::split_path(&prefix, no, count)).collect()
    }
}

fn in_file(path: &Path, error: quantize::Error) -> Error {
    match error {
        quantize::Error::Cancelled => Error::Cancelled,
        // They name the output.
        quantize::Error::Gguf(
            source @ (quipu_gguf::Error::Create { .. }
            | quipu_gguf::Error::OutputIsInput { .. }
            | quipu_gguf::Error::OutputExists { .. }
            | quipu_gguf::Error::PutAside { .. }),
        ) => Error::Gguf(source),
        source => Error::Quantize { name: path.display().to_string(), source },
    }
}
