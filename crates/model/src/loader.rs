//! Weights from a file into memory.
//!
//! An architecture asks for its tensors by name and shape; the loader checks them against the file, picks
//! the memory each will live in, and then fills that memory. Weights whose memory type is the device's
//! plain one are used in place where the device can read the file's mapping; the others are copied one by
//! one, and the source pages are let go as soon as they are.

use std::sync::Arc;

use quipu_backend::{Buffer, BufferType, Device, HostBytes, WeightSpec, WeightUse};
use quipu_gguf::{ByteSource, GgufFile, TensorInfo};
use quipu_graph::{BufferId, DType, Storage};

use crate::error::Error;
use crate::hparams::Hparams;
use crate::weights::{Linear, Qkv, Weight};

/// How to load a model (`llama_model_params`).
#[derive(Default)]
pub struct LoadParams<'a> {
    /// Called with the share of bytes done, 0 to 1; `false` cancels.
    pub progress: Option<&'a mut dyn FnMut(f32) -> bool>,
}

impl std::fmt::Debug for LoadParams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadParams").field("progress", &self.progress.is_some()).finish()
    }
}

/// Whether a matrix comes with a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Never,
    Optional,
    Required,
}

/// Collects the weights an architecture asks for. Answers to `llama_model_loader`.
pub(crate) struct Loader<'a> {
    file: &'a GgufFile,
    buffer_types: Vec<Arc<dyn BufferType>>,
    /// The file's bytes as device memory, if the device can read them.
    in_place: Option<Arc<dyn Buffer>>,
    /// Bytes asked of each buffer type so far; buffer number `1 + index` is its memory.
    sizes: Vec<usize>,
    copies: Vec<Copy>,
    used: Vec<bool>,
}

/// A file's bytes as memory that a device may read in place.
struct SourceBytes(Arc<dyn ByteSource>);

impl AsRef<[u8]> for SourceBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// A weight that has to be copied into a buffer.
struct Copy {
    tensor: usize,
    buffer_type: usize,
    offset: usize,
}

impl<'a> Loader<'a> {
    pub fn new(file: &'a GgufFile, device: &dyn Device) -> Loader<'a> {
        let bytes: HostBytes = Arc::new(SourceBytes(Arc::clone(file.source())));
        let buffer_types = device.weight_buffer_types();
        Loader {
            in_place: device.buffer_from_host(bytes),
            sizes: vec![0; buffer_types.len()],
            buffer_types,
            copies: Vec::new(),
            used: vec![false; file.gguf().tensors.len()],
            file,
        }
    }

    /// A weight that must be there.
    pub fn require(&mut self, name: &str, ne: &[usize], usage: WeightUse) -> Result<Weight, Error> {
        self.optional(name, ne, usage)?
            .ok_or_else(|| Error::MissingTensor { name: name.to_owned(), expected: four(ne) })
    }

    /// A weight that may be absent; its shape must be right if it is there.
    pub fn optional(&mut self, name: &str, ne: &[usize], usage: WeightUse) -> Result<Option<Weight>, Error> {
        let Some(index) = self.file.gguf().tensor_position(name) else { return Ok(None) };
        self.used[index] = true;
        let info = &self.file.gguf().tensors[index];
        let found = shape(info);
        if found != four(ne) {
            return Err(Error::TensorShape { name: name.to_owned(), found, expected: four(ne) });
        }
        check_type(info, usage)?;
        let storage = self.place(index, found, usage)?;
        Ok(Some(Weight { name: name.to_owned(), dtype: info.dtype, ne: found, storage }))
    }

    /// A matrix `name.weight` of shape `[n_in, n_out]` with its bias and factor.
    pub fn linear(&mut self, name: &str, ne: [usize; 2], bias: Bias) -> Result<Linear, Error> {
        let weight = format!("{name}.weight");
        self.optional_linear(name, ne, bias)?
            .ok_or_else(|| Error::MissingTensor { name: weight, expected: four(&ne) })
    }

    /// As [`Loader::linear`] for a matrix that may be absent.
    pub fn optional_linear(
        &mut self,
        name: &str,
        ne: [usize; 2],
        bias: Bias,
    ) -> Result<Option<Linear>, Error> {
        let Some(w) = self.optional(&format!("{name}.weight"), &ne, WeightUse::MulMat)? else {
            return Ok(None);
        };
        let b_name = format!("{name}.bias");
        let b = match bias {
            Bias::Never => None,
            Bias::Optional => self.optional(&b_name, &ne[1..], WeightUse::Elementwise)?,
            Bias::Required => Some(self.require(&b_name, &ne[1..], WeightUse::Elementwise)?),
        };
        let scale = self.optional(&format!("{name}.scale"), &[1], WeightUse::Elementwise)?;
        // Factors on activations serve backends that compute in narrow floats; on the CPU nothing reads them.
        self.optional(&format!("{name}.input_scale"), &[1], WeightUse::Elementwise)?;
        Ok(Some(Linear { w, b, scale }))
    }

    /// The output matrix, or a second use of the token embeddings where the file ties them
    /// (`TENSOR_DUPLICATED`).
    pub fn output_or_tied(&mut self, hparams: &Hparams, bias: Bias) -> Result<Linear, Error> {
        let ne = [hparams.n_embd, hparams.n_vocab];
        if let Some(output) = self.optional_linear("output", ne, bias)? {
            return Ok(output);
        }
        let w = self.require("token_embd.weight", &ne, WeightUse::MulMat)?;
        let b = match bias {
            Bias::Never => None,
            _ => self.optional("output.bias", &ne[1..], WeightUse::Elementwise)?,
        };
        Ok(Linear { w, b, scale: None })
    }

    /// Accepts the classification head that some files carry beside the output matrix.
    pub fn classifier(&mut self, hparams: &Hparams) -> Result<(), Error> {
        let Some(index) = self.file.gguf().tensor_position("cls.output.weight") else { return Ok(()) };
        let info = &self.file.gguf().tensors[index];
        if info.ne[0] != hparams.n_embd as u64 {
            let expected = four(&[hparams.n_embd, shape(info)[1]]);
            return Err(Error::TensorShape { name: info.name.clone(), found: shape(info), expected });
        }
        self.used[index] = true;
        Ok(())
    }

    /// The three projections of attention, fused or separate, with optional biases (`create_tensor_qkv`).
    pub fn qkv(&mut self, il: usize, hparams: &Hparams) -> Result<Qkv, Error> {
        let n_embd = hparams.n_embd;
        let n_q = hparams.n_embd_head_k * hparams.n_head[il];
        let (n_k, n_v) = (hparams.n_embd_k_gqa(il), hparams.n_embd_v_gqa(il));
        let fused =
            self.optional_linear(&block(il, "attn_qkv"), [n_embd, n_q + n_k + n_v], Bias::Optional)?;
        if let Some(fused) = fused {
            return Ok(Qkv::Fused(fused));
        }
        Ok(Qkv::Separate {
            q: self.linear(&block(il, "attn_q"), [n_embd, n_q], Bias::Optional)?,
            k: self.linear(&block(il, "attn_k"), [n_embd, n_k], Bias::Optional)?,
            v: self.linear(&block(il, "attn_v"), [n_embd, n_v], Bias::Optional)?,
        })
    }

    /// Allocates memory and fills it; buffers come back in the order of their numbers.
    pub fn finish(
        self,
        architecture: &'static str,
        params: &mut LoadParams<'_>,
    ) -> Result<Vec<Arc<dyn Buffer>>, Error> {
        let tensors = &self.file.gguf().tensors;
        let unused: Vec<_> = tensors.iter().zip(&self.used).filter(|(_, used)| !**used).collect();
        if let Some((first, _)) = unused.first() {
            return Err(Error::UnusedTensors { count: unused.len(), architecture, name: first.name.clone() });
        }
        let mut buffers = Vec::with_capacity(self.sizes.len());
        for (buffer_type, size) in self.buffer_types.iter().zip(&self.sizes) {
            buffers.push(buffer_type.allocate(*size)?);
        }
        let total: u64 = self.copies.iter().map(|copy| tensors[copy.tensor].n_bytes).sum();
        let mut done = 0;
        let mut report = |done: u64| match &mut params.progress {
            Some(progress) => progress(if total == 0 { 1.0 } else { done as f32 / total as f32 }),
            None => true,
        };
        for copy in &self.copies {
            if !report(done) {
                return Err(Error::Cancelled);
            }
            let info = &tensors[copy.tensor];
            let data = self.file.tensor_bytes_at(copy.tensor)?;
            buffers[copy.buffer_type].write_weight(copy.offset, info.dtype, shape(info), data)?;
            self.file.release_tensor(copy.tensor)?;
            done += info.n_bytes;
        }
        if !report(total) {
            return Err(Error::Cancelled);
        }
        // Number 0 is the mapping; a device that cannot read it gets an empty buffer there.
        let first = match self.in_place {
            Some(buffer) => buffer,
            None => match self.buffer_types.last() {
                Some(buffer_type) => Arc::from(buffer_type.allocate(0)?),
                None => return Ok(Vec::new()),
            },
        };
        Ok(std::iter::once(first).chain(buffers.into_iter().map(Arc::from)).collect())
    }

    fn place(&mut self, tensor: usize, ne: [usize; 4], usage: WeightUse) -> Result<Storage, Error> {
        let info = &self.file.gguf().tensors[tensor];
        let spec = WeightSpec { dtype: info.dtype, ne, usage };
        let plain = self.buffer_types.len().saturating_sub(1);
        let chosen = self.buffer_types.iter().position(|b| b.accepts_weight(&spec)).unwrap_or(plain);
        if chosen == plain && self.in_place.is_some() {
            let offset = self.file.tensor_range(tensor)?.start;
            return Ok(Storage::External { buffer: BufferId(0), offset });
        }
        let buffer = BufferId(1 + chosen as u32);
        // A tensor asked for twice in the same memory is one copy.
        if let Some(copy) = self.copies.iter().find(|c| c.tensor == tensor && c.buffer_type == chosen) {
            return Ok(Storage::External { buffer, offset: copy.offset });
        }
        let buffer_type = &self.buffer_types[chosen];
        let offset = self.sizes[chosen].next_multiple_of(buffer_type.alignment());
        let end = buffer_type.alloc_size(info.dtype, ne).and_then(|size| offset.checked_add(size));
        self.sizes[chosen] = end.ok_or_else(|| Error::TooLarge { name: info.name.clone(), shape: ne })?;
        self.copies.push(Copy { tensor, buffer_type: chosen, offset });
        Ok(Storage::External { buffer, offset })
    }
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
