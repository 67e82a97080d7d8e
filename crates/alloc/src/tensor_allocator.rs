//! The tensor allocator: memory for tensors that stay, obtained in as few buffers as the limit allows.
//!
//! Answers to `ggml_backend_alloc_ctx_tensors_from_buft`; where the tensors go is [`split_tensors`]' business.

use crate::AllocError;
use crate::chunk::Address;
use crate::graph::BufferSpec;
use crate::graph_allocator::{BackingAllocator, obtain};
use crate::linear::{SplitLayout, split_tensors};

/// Tensors with their buffers, which are released when this is dropped.
#[derive(Debug)]
pub struct TensorMemory<T> {
    layout: SplitLayout,
    buffers: Vec<T>,
}

impl<T> TensorMemory<T> {
    /// Obtains buffers for tensors of these allocation sizes, `None` for views and tensors that have memory already
    /// (`ggml_backend_alloc_ctx_tensors_from_buft`). `buffer` is handed to the backing allocator to say which buffer type
    /// `spec` describes. If one buffer cannot be had, those obtained before are given back.
    ///
    /// Without memory to obtain, [`split_tensors`] says where everything would go
    /// (`ggml_backend_alloc_ctx_tensors_from_buft_size`).
    pub fn new<B: BackingAllocator<Buffer = T>>(
        spec: BufferSpec,
        buffer: u32,
        sizes: &[Option<u64>],
        backing: &mut B,
    ) -> Result<Self, AllocError> {
        let layout = split_tensors(spec, sizes)?;
        let buffers = obtain(buffer as usize, &layout.buffer_sizes, backing)?;
        Ok(Self { layout, buffers: buffers.into_iter().map(|chunk| chunk.buffer).collect() })
    }

    /// Sizes of the buffers and address of every tensor.
    pub fn layout(&self) -> &SplitLayout {
        &self.layout
    }

    /// The buffers; [`Address::chunk`] is an index into them. Empty if there was nothing to allocate.
    pub fn buffers(&self) -> &[T] {
        &self.buffers
    }

    /// The buffer a tensor lies in and its address there; `None` for one without memory of its own.
    pub fn tensor(&self, index: usize) -> Option<(&T, Address)> {
        let address = (*self.layout.addresses.get(index)?)?;
        Some((self.buffers.get(address.chunk as usize)?, address))
    }
}
