//! LoRA adapters: files of matrix pairs `A` and `B` for matrices `W` of a model, which then gives `W x + scale * B (A x)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_backend::{Buffer, Devices};
use quipu_gguf::{GgufFile, Metadata, TensorInfo};

use super::Adapted;
use super::files::{Layout, Wanted, memory_of, write};
use crate::error::Error;
use crate::weight::Weight;

/// What the names of an adapter's tensors end with, behind the name of the model's tensor.
const ENDS: [&str; 2] = [".lora_a", ".lora_b"];
/// The table of embeddings, whose pair has another form: its rows are picked from `A`.
const TOKENS: &str = "token_embd.weight";

/// An adapter in memory, checked against a model. Answers to `llama_adapter_lora`.
///
/// Shared by any number of contexts of that model.
#[derive(Debug)]
pub struct LoraAdapter {
    metadata: Metadata,
    alpha: f32,
    invocation_tokens: Vec<u32>,
    pairs: BTreeMap<String, LoraPair>,
    buffers: Vec<Arc<dyn Buffer>>,
}

/// Both matrices of a tensor of the model.
#[derive(Debug)]
pub(crate) struct LoraPair {
    /// `[n_in, rank]`, of embeddings `[rank, n_vocab]`; of experts, one behind the other.
    pub a: Weight,
    /// `[rank, n_out]`.
    pub b: Weight,
}

impl LoraPair {
    /// The factor that an adapter's alpha makes of a scale (`get_scale`).
    pub fn scale(&self, alpha: f32, scale: f32) -> f32 {
        let rank = self.b.ne[0] as f32;
        if alpha == 0.0 { scale } else { scale * alpha / rank }
    }
}

impl LoraAdapter {
    /// Reads an adapter for a model that was loaded on these devices.
    pub(crate) fn read(
        file: &GgufFile,
        model: &Adapted<'_>,
        devices: &Devices<'_>,
    ) -> Result<LoraAdapter, Error> {
        let metadata = file.metadata();
        let expect = |key: &'static str, expected: &str| {
            let found = metadata.optional::<&str>(key)?.unwrap_or_default();
            if found == expected {
                return Ok(());
            }
            Err(Error::Hparam { key: key.to_owned(), found: found.to_owned(), expected: expected.to_owned() })
        };
        expect("general.type", "adapter")?;
        expect("general.architecture", model.architecture)?;
        expect("adapter.type", "lora")?;
        let alpha = metadata.optional::<f32>("adapter.lora.alpha")?.unwrap_or(0.0);
        let invocation_tokens = metadata.optional::<&[u32]>("adapter.alora.invocation_tokens")?;
        let mut layout = Layout::default();
        let mut places = Vec::new();
        let mut pairs = BTreeMap::new();
        for (name, [a, b]) in sorted(file.tensors())? {
            let (Some(a), Some(b)) = (a, b) else { return Err(half(&name, usize::from(a.is_some()))) };
            check(&name, file, model, [a, b])?;
            let memory = memory_of(devices, model.layer_map, &name);
            let mut place = |index: usize| {
                let info = &file.tensors()[index];
                let wanted = Wanted { name: &info.name, dtype: info.dtype, ne: shape(info) };
                let weight = layout.place(Arc::clone(&memory), wanted)?;
                places.push((index, weight.clone()));
                Ok::<Weight, Error>(weight)
            };
            let pair = LoraPair { a: place(a)?, b: place(b)? };
            pairs.insert(name, pair);
        }
        let mut buffers = layout.allocate()?;
        for (index, weight) in &places {
            write(&mut buffers, weight, &file.tensor_data(*index)?)?;
        }
        Ok(LoraAdapter {
            metadata: metadata.clone(),
            alpha,
            invocation_tokens: invocation_tokens.unwrap_or_default().to_vec(),
            pairs,
            buffers: buffers.into_iter().map(Arc::from).collect(),
        })
    }

    /// The file's metadata (`llama_adapter_meta_*`).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tokens from whose last occurrence on an activated adapter is meant to be at work; empty for others
    /// (`llama_adapter_get_alora_invocation_tokens`). Honouring them is the caller's business.
    pub fn invocation_tokens(&self) -> &[u32] {
        &self.invocation_tokens
    }

    /// Tensors of the model that it adds to.
    pub fn n_pairs(&self) -> usize {
        self.pairs.len()
    }

    /// The buffers of its matrices. Whoever runs graphs with it registers them in this order, one behind the other.
    pub fn buffers(&self) -> &[Arc<dyn Buffer>] {
        &self.buffers
    }

    /// Both matrices of a tensor of the model, and the factor that a scale comes to (`get_weight`).
    pub(crate) fn pair(&self, weight: &str, scale: f32) -> Option<(&LoraPair, f32)> {
        let pair = self.pairs.get(weight)?;
        Some((pair, pair.scale(self.alpha, scale)))
    }
}

/// Numbers of the tensors `A` and `B`, by the names of the model's tensors. Norms are passed over, as in the reference.
fn sorted(tensors: &[TensorInfo]) -> Result<BTreeMap<String, [Option<usize>; 2]>, Error> {
    let mut pairs: BTreeMap<String, [Option<usize>; 2]> = BTreeMap::new();
    for (index, info) in tensors.iter().enumerate() {
        let side = ENDS.iter().position(|end| info.name.ends_with(end));
        match side {
            Some(side) => {
                let name = info.name.strip_suffix(ENDS[side]).unwrap_or_default();
                pairs.entry(name.to_owned()).or_default()[side] = Some(index);
            }
            None if info.name.ends_with("_norm.weight") => {}
            None => {
                let expected = format!("a name that ends with {} or {}", ENDS[0], ENDS[1]);
                return Err(Error::AdapterTensor { name: info.name.clone(), expected });
            }
        }
    }
    Ok(pairs)
}

fn half(name: &str, missing: usize) -> Error {
    let (found, lacks) = (1 - missing, ENDS[missing]);
    Error::AdapterTensor {
        name: format!("{name}{}", ENDS[found]),
        expected: format!("{name}{lacks} beside it"),
    }
}

/// Whether a pair fits the model's tensor of that name.
fn check(name: &str, file: &GgufFile, model: &Adapted<'_>, [a, b]: [usize; 2]) -> Result<(), Error> {
    let [a, b] = [a, b].map(|index| &file.tensors()[index]);
    for info in [a, b] {
        if !info.dtype.is_computed() {
            let expected = "a type with a matrix product".to_owned();
            return Err(Error::TensorType { name: info.name.clone(), dtype: info.dtype, expected });
        }
    }
    let Some(w) = (model.shape)(name) else {
        let expected = "a tensor of the model: the adapter is for another one".to_owned();
        return Err(Error::AdapterTensor { name: a.name.clone(), expected });
    };
    let (sa, sb) = (shape(a), shape(b));
    let rank = sb[0];
    // The rows of embeddings are picked from A, so that it lies the other way.
    let (wanted_a, wanted_b) = if name.ends_with(TOKENS) {
        ([rank, w[1], 1, 1], [rank, w[0], 1, 1])
    } else {
        ([w[0], rank, w[2], w[3]], [rank, w[1], w[2], w[3]])
    };
    for (info, found, expected) in [(a, sa, wanted_a), (b, sb, wanted_b)] {
        if found != expected {
            return Err(Error::TensorShape { name: info.name.clone(), found, expected });
        }
    }
    Ok(())
}

fn shape(info: &TensorInfo) -> [usize; 4] {
    info.ne.map(|n| n as usize)
}
