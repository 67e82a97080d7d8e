//! Control vectors: a direction for each layer, added to what the layer gives.

use std::sync::Arc;

use quipu_backend::{Buffer, Devices};
use quipu_gguf::GgufFile;
use quipu_graph::DType;

use super::Adapted;
use super::files::{Layout, Wanted, memory_of, write};
use crate::error::Error;
use crate::weight::Weight;

/// No layer has a higher number.
const MAX_LAYERS: usize = 512;

/// Directions as files have them, summed up (`common_control_vector_data`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlVector {
    n_embd: usize,
    /// The row of layer `il` begins at `(il - 1) * n_embd`: the first layer has none.
    values: Vec<f32>,
}

impl ControlVector {
    /// No direction yet.
    pub fn new() -> ControlVector {
        ControlVector::default()
    }

    /// Elements of a direction; 0 before the first.
    pub fn n_embd(&self) -> usize {
        self.n_embd
    }

    /// The direction of layer `il`, if there is one.
    pub fn row(&self, il: usize) -> Option<&[f32]> {
        let start = il.checked_sub(1)?.checked_mul(self.n_embd)?;
        self.values.get(start..start.checked_add(self.n_embd)?).filter(|row| !row.is_empty())
    }

    /// Adds the directions of a file, `direction.N` for layer `N`, times `strength` (`common_control_vector_load_one`).
    ///
    /// # Errors
    /// A tensor of another name, number, type or shape, or data that cannot be read; nothing was added then.
    pub fn add(&mut self, file: &GgufFile, strength: f32) -> Result<(), Error> {
        let mut sum = self.clone();
        for (index, info) in file.tensors().iter().enumerate() {
            let number = info.name.strip_prefix("direction.").and_then(|number| number.parse::<usize>().ok());
            let Some(il) = number.filter(|il| (1..=MAX_LAYERS).contains(il)) else {
                let expected = format!("direction.N with N from 1 to {MAX_LAYERS}");
                return Err(Error::AdapterTensor { name: info.name.clone(), expected });
            };
            if info.dtype != DType::F32 {
                let expected = "f32".to_owned();
                return Err(Error::TensorType { name: info.name.clone(), dtype: info.dtype, expected });
            }
            let found = info.ne.map(|n| n as usize);
            let n_embd = if sum.n_embd == 0 { found[0] } else { sum.n_embd };
            if found != [n_embd, 1, 1, 1] || n_embd == 0 {
                let expected = [n_embd.max(1), 1, 1, 1];
                return Err(Error::TensorShape { name: info.name.clone(), found, expected });
            }
            sum.n_embd = n_embd;
            let start = (il - 1) * n_embd;
            sum.values.resize(sum.values.len().max(start + n_embd), 0.0);
            let bytes = file.tensor_data(index)?;
            for (value, bytes) in sum.values[start..].iter_mut().zip(bytes.chunks_exact(size_of::<f32>())) {
                *value += f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) * strength;
            }
        }
        *self = sum;
        Ok(())
    }
}

/// A control vector in a model's memory. Answers to `llama_adapter_cvec`.
#[derive(Debug)]
pub struct Steering {
    rows: Vec<Option<Weight>>,
    buffers: Vec<Arc<dyn Buffer>>,
}

impl Steering {
    /// Puts the directions of the layers `first` to `last` where the layers of a model are that was loaded on these devices.
    pub(crate) fn place(
        vector: &ControlVector,
        model: &Adapted<'_>,
        devices: &Devices<'_>,
        [first, last]: [usize; 2],
    ) -> Result<Steering, Error> {
        let hparams = model.hparams;
        if vector.n_embd != hparams.n_embd {
            let (found, expected) = ([vector.n_embd, 1, 1, 1], [hparams.n_embd, 1, 1, 1]);
            return Err(Error::TensorShape { name: "direction.1".to_owned(), found, expected });
        }
        let mut layout = Layout::default();
        let mut rows = vec![None; hparams.n_layer()];
        for (il, row) in rows.iter_mut().enumerate().take(last.saturating_add(1)).skip(first.max(1)) {
            if vector.row(il).is_some() {
                let memory = memory_of(devices, model.layer_map, &format!("blk.{il}."));
                let name = format!("direction.{il}");
                let wanted = Wanted { name: &name, dtype: DType::F32, ne: [hparams.n_embd, 1, 1, 1] };
                *row = Some(layout.place(memory, wanted)?);
            }
        }
        let mut buffers = layout.allocate()?;
        for (il, row) in rows.iter().enumerate() {
            if let (Some(weight), Some(values)) = (row, vector.row(il)) {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                write(&mut buffers, weight, &bytes)?;
            }
        }
        Ok(Steering { rows, buffers: buffers.into_iter().map(Arc::from).collect() })
    }

    /// The buffers of its rows. Whoever runs graphs with it registers them in this order, one behind the other.
    pub fn buffers(&self) -> &[Arc<dyn Buffer>] {
        &self.buffers
    }

    /// The direction of a layer (`tensor_for`).
    pub(crate) fn row(&self, il: usize) -> Option<&Weight> {
        self.rows.get(il)?.as_ref()
    }
}
