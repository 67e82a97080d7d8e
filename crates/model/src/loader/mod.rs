//! Weights from a file into memory.
//!
//! An architecture asks for its tensors by name and shape; the loader checks them against the file ([`Loader`]), picks the memory each will
//! live in (`plan`), and then fills that memory (`fill`). Weights whose memory type is the own device's plain one are used in place where that
//! device can read the file's mapping, or read into one block of host memory where the file is not mapped. The others go to the device in
//! chunks (`upload`), and the source pages are let go as soon as they are there.

mod check;
mod fill;
mod params;
mod plan;
mod upload;
mod virtual_memory;

use quipu_backend::{DeviceId, Devices, WeightUse};
use quipu_gguf::{GgufSet, TensorInfo};
use quipu_graph::DType;

use crate::error::Error;
use crate::hparams::Hparams;
use crate::layer_map::LayerMap;
use crate::weight::Weight;

pub(crate) use fill::Filled;
pub use params::{BufferOverride, LoadOptions, LoadParams, LoadStats};
use plan::Plan;
pub use upload::{Upload, UploadSink};
pub use virtual_memory::SizeOnly;

/// Collects the weights an architecture asks for. Answers to `llama_model_loader`.
pub(crate) struct Loader<'a> {
    set: &'a GgufSet,
    layers: &'a LayerMap,
    plan: Plan,
    asked: Vec<Asked>,
}

/// What became of a tensor of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The architecture does not know it.
    Never,
    /// It is known, and no graph here has it.
    LeftOut,
    /// It is a weight.
    Weight,
}

impl Asked {
    fn leave_out(&mut self) {
        if *self == Asked::Never {
            *self = Asked::LeftOut;
        }
    }
}

impl<'a> Loader<'a> {
    /// A loader of `set` onto `devices`, of whose layers each has those that `layers` says.
    pub fn new(
        set: &'a GgufSet,
        devices: &Devices<'_>,
        layers: &'a LayerMap,
        options: &LoadOptions,
    ) -> Result<Loader<'a>, Error> {
        let plan = Plan::new(set, devices, options)?;
        Ok(Loader { set, layers, plan, asked: vec![Asked::Never; set.n_tensors()] })
    }

    /// Which device each layer lives on.
    pub fn layers(&self) -> &'a LayerMap {
        self.layers
    }

    /// A weight that must be there.
    pub fn require(&mut self, name: &str, ne: &[usize], usage: WeightUse) -> Result<Weight, Error> {
        self.optional(name, ne, usage)?.ok_or_else(|| Loader::missing(name, ne, &[]))
    }

    /// A weight that may be absent; its shape must be right if it is there.
    pub fn optional(&mut self, name: &str, ne: &[usize], usage: WeightUse) -> Result<Option<Weight>, Error> {
        self.optional_on(self.layers.of_tensor(name, usage), name, ne, usage)
    }

    /// As [`Loader::optional`], on a device that its name does not say. It may be asked for on several.
    pub fn optional_on(
        &mut self,
        device: DeviceId,
        name: &str,
        ne: &[usize],
        usage: WeightUse,
    ) -> Result<Option<Weight>, Error> {
        let Some(index) = self.set.position(name) else { return Ok(None) };
        self.asked[index] = Asked::Weight;
        let info = self.set.tensor(index)?;
        let found = shape(info);
        if found != four(ne) {
            return Err(Error::TensorShape { name: name.to_owned(), found, expected: four(ne) });
        }
        check_type(info, usage)?;
        let storage = self.plan.place(self.set, index, usage, device)?;
        Ok(Some(Weight { name: name.to_owned(), dtype: info.dtype, ne: found, storage }))
    }

    /// Accepts the tensors of layers from `first` on: they serve to draft tokens, and no graph here has them (`TENSOR_SKIP`).
    pub fn skip_layers_from(&mut self, first: usize) {
        for (tensor, asked) in self.set.tensors().zip(&mut self.asked) {
            let layer = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
            if layer.and_then(|il| il.parse::<usize>().ok()).is_some_and(|il| il >= first) {
                asked.leave_out();
            }
        }
    }

    /// Accepts a tensor that files may carry and that the reference's graph leaves out.
    pub fn ignore(&mut self, name: &str) {
        if let Some(index) = self.set.position(name) {
            self.asked[index].leave_out();
        }
    }

    /// The shape of a tensor, if the file has it.
    pub fn shape(&self, name: &str) -> Result<Option<[usize; 4]>, Error> {
        let Some(index) = self.set.position(name) else { return Ok(None) };
        Ok(Some(shape(self.set.tensor(index)?)))
    }

    /// Whether the file has a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.set.position(name).is_some()
    }

    /// Rows of a matrix, if the file has it.
    pub fn n_rows(&self, name: &str) -> Option<usize> {
        let info = self.set.tensor(self.set.position(name)?).ok()?;
        usize::try_from(info.ne[1]).ok()
    }

    /// Accepts the classification head that some files carry beside the output matrix.
    pub fn classifier(&mut self, hparams: &Hparams) -> Result<(), Error> {
        let Some(index) = self.set.position("cls.output.weight") else { return Ok(()) };
        let info = self.set.tensor(index)?;
        if info.ne[0] != hparams.n_embd as u64 {
            let expected = four(&[hparams.n_embd, shape(info)[1]]);
            return Err(Error::TensorShape { name: info.name.clone(), found: shape(info), expected });
        }
        self.asked[index].leave_out();
        Ok(())
    }

    /// The error of a weight that must be there; one of `instead` would have done too.
    pub fn missing(name: &str, ne: &[usize], instead: &[String]) -> Error {
        Error::MissingTensor { name: name.to_owned(), expected: four(ne), instead: instead.to_vec() }
    }

    /// Names of the tensors that are no weights, in the file's order.
    pub fn unused(&self) -> Vec<String> {
        let unused = self.set.tensors().zip(&self.asked).filter(|(_, asked)| **asked != Asked::Weight);
        unused.map(|(tensor, _)| tensor.name.clone()).collect()
    }

    /// Allocates memory and fills it.
    pub fn finish(
        self,
        architecture: &'static str,
        devices: &Devices<'_>,
        params: &mut LoadParams<'_>,
    ) -> Result<Filled, Error> {
        let mut unknown = self.set.tensors().zip(&self.asked).filter(|(_, asked)| **asked == Asked::Never);
        if params.options.check_architecture
            && let Some((first, _)) = unknown.next()
        {
            let count = 1 + unknown.count();
            return Err(Error::UnusedTensors { count, architecture, name: first.name.clone() });
        }
        fill::fill(self.set, self.plan, devices.own(), params)
    }
}

/// `n` rounded down to whole blocks of `dtype`; `n` is more than one block.
fn whole_blocks(n: usize, dtype: DType) -> usize {
    n / dtype.block_bytes() * dtype.block_bytes()
}

/// `blk.{il}.{rest}`.
pub(crate) fn block(il: usize, rest: &str) -> String {
    format!("blk.{il}.{rest}")
}

/// Matrices may have any computed type; vectors take part in f32 arithmetic and are f32 in every file the
/// reference's tools write.
fn check_type(info: &TensorInfo, usage: WeightUse) -> Result<(), Error> {
    let fits = match usage {
        WeightUse::MulMat | WeightUse::GetRows => info.dtype.is_computed(),
        WeightUse::Elementwise => info.dtype == DType::F32,
    };
    if fits {
        return Ok(());
    }
    let expected: Vec<&str> = match usage {
        WeightUse::Elementwise => vec!["f32"],
        _ => DType::ALL.into_iter().filter(|t| t.is_computed()).map(DType::name).collect(),
    };
    Err(Error::TensorType { name: info.name.clone(), dtype: info.dtype, expected: expected.join(", ") })
}

fn shape(info: &TensorInfo) -> [usize; 4] {
    info.ne.map(|n| n as usize)
}

fn four(ne: &[usize]) -> [usize; 4] {
    let mut out = [1; 4];
    out[..ne.len()].copy_from_slice(ne);
    out
}
