//! Which memory every weight goes to, before there is any.

use std::sync::Arc;

use quipu_backend::{Buffer, BufferType, Device, HostBytes, WeightSpec, WeightUse};
use quipu_gguf::{ByteSource, GgufSet};
use quipu_graph::{BufferId, Storage};

use super::params::{BufferOverride, LoadOptions};
use super::shape;
use crate::error::Error;

/// Where a weight lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where its file is mapped.
    Source { shard: usize, offset: usize },
    /// In host memory that the device reads in place.
    Host { offset: usize },
    /// In a buffer of one of the device's types.
    Buffer { buffer_type: usize, offset: usize },
}

/// Which layers lie on another device (`get_layer_buft_list` of the reference).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffloadedLayers {
    /// Layers of the model; the output is number `n_layer`.
    n_layer: usize,
    /// Number of the first such layer; `None` if there is no such device.
    first: Option<usize>,
}

impl OffloadedLayers {
    /// The last `n_gpu_layers` layers, the output among them; all if the number is negative.
    pub fn last(n_layer: usize, n_gpu_layers: i32) -> OffloadedLayers {
        let n = usize::try_from(n_gpu_layers).unwrap_or(usize::MAX);
        OffloadedLayers { n_layer, first: Some((n_layer + 1).saturating_sub(n)) }
    }

    /// Whether layer `il` is one.
    pub fn contains(self, il: usize) -> bool {
        self.first.is_some_and(|first| il >= first)
    }

    /// Whether a weight belongs to one. Token embeddings never do, but their second use as the output matrix may.
    fn owns(self, name: &str, usage: WeightUse) -> bool {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
        match layer {
            Some(il) => self.contains(il),
            None if name.starts_with("output") => self.contains(self.n_layer),
            None if name.starts_with("token_embd.") => {
                usage == WeightUse::MulMat && self.contains(self.n_layer)
            }
            // Shared by all layers: with the last one.
            None if name.starts_with("rope_") => self.n_layer > 0 && self.contains(self.n_layer - 1),
            None => false,
        }
    }
}

/// A weight and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub tensor: usize,
    pub ne: [usize; 4],
    pub place: Place,
}

/// The places of all weights. Buffers are numbered: the mappings of the pieces, or the one block of host memory, if there are such; then one
/// for each of the device's weight buffer types.
#[derive(Debug)]
pub(super) struct Plan {
    /// Those of the device that layers are offloaded to, then the model's own device's; each best first and plain memory last.
    pub buffer_types: Vec<Arc<dyn BufferType>>,
    /// How many are the former.
    n_offload: usize,
    offload: OffloadedLayers,
    /// Bytes asked of each buffer type so far.
    pub sizes: Vec<usize>,
    /// The pieces as device memory, if they are in memory and the device reads them there.
    pub mapped: Vec<Arc<dyn Buffer>>,
    /// Whether plain weights are read into host memory that the device uses in place.
    pub reads_host: bool,
    /// Bytes of that memory so far.
    pub host_size: usize,
    pub items: Vec<Item>,
    overrides: Vec<BufferOverride>,
}

/// A file's bytes as memory that a device may read in place.
struct SourceBytes(Arc<dyn ByteSource>);

impl AsRef<[u8]> for SourceBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.in_place().unwrap_or_default()
    }
}

impl Plan {
    pub fn new(
        set: &GgufSet,
        device: &dyn Device,
        options: &LoadOptions,
        offload: Option<(&dyn Device, OffloadedLayers)>,
    ) -> Result<Plan, Error> {
        let mut buffer_types = offload.map_or_else(Vec::new, |(device, _)| device.weight_buffer_types());
        let n_offload = buffer_types.len();
        buffer_types.extend(device.weight_buffer_types());
        for wanted in &options.buffer_overrides {
            if !buffer_types.iter().any(|known| known.name() == wanted.buffer_type()) {
                let known: Vec<&str> = buffer_types.iter().map(|known| known.name()).collect();
                return Err(Error::UnknownBufferType {
                    found: wanted.buffer_type().to_owned(),
                    expected: known.join(", "),
                });
            }
        }
        let mut mapped = Vec::new();
        if !options.no_alloc && set.shards().iter().all(|shard| shard.source().in_place().is_some()) {
            let bytes = |shard: &quipu_gguf::GgufFile| -> HostBytes {
                Arc::new(SourceBytes(Arc::clone(shard.source())))
            };
            let buffers = set.shards().iter().map(|shard| device.buffer_from_host(bytes(shard)));
            mapped = buffers.collect::<Option<_>>().unwrap_or_default();
        }
        let reads_host = mapped.is_empty() && device.buffer_from_host(Arc::new([0u8; 0])).is_some();
        Ok(Plan {
            sizes: vec![0; buffer_types.len()],
            buffer_types,
            n_offload,
            offload: offload.map_or_else(OffloadedLayers::default, |(_, layers)| layers),
            mapped,
            reads_host,
            host_size: 0,
            items: Vec::new(),
            overrides: options.buffer_overrides.clone(),
        })
    }

    /// Whether weights are used where their files are mapped.
    pub fn is_mapped(&self) -> bool {
        !self.mapped.is_empty()
    }

    /// Buffers before those of the buffer types.
    pub fn n_front(&self) -> usize {
        self.mapped.len() + usize::from(self.reads_host)
    }

    /// Whether it is a device's plain memory, where weights lie as in the file.
    pub fn is_plain(&self, buffer_type: usize) -> bool {
        self.is_own_plain(buffer_type) || buffer_type + 1 == self.n_offload
    }

    /// Whether it is that of the model's own device.
    fn is_own_plain(&self, buffer_type: usize) -> bool {
        buffer_type + 1 == self.buffer_types.len()
    }

    /// Finds a place for tensor `index` (`create_tensor`, the choice of a buffer type).
    pub fn place(&mut self, set: &GgufSet, index: usize, usage: WeightUse) -> Result<Storage, Error> {
        let info = set.tensor(index)?;
        let ne = shape(info);
        let too_large = || Error::TooLarge { name: info.name.clone(), shape: ne };
        let chosen = self.choose(&info.name, &WeightSpec { dtype: info.dtype, ne, usage })?;
        let in_front = self.is_own_plain(chosen) && self.n_front() > 0;
        // A tensor asked for twice in the same memory is there once.
        let same = |place: &Place| match place {
            Place::Buffer { buffer_type, .. } => *buffer_type == chosen,
            _ => in_front,
        };
        if let Some(item) = self.items.iter().find(|item| item.tensor == index && same(&item.place)) {
            return Ok(self.storage(item.place));
        }
        let place = if in_front && self.is_mapped() {
            Place::Source { shard: set.shard_of(index)?, offset: set.tensor_range(index)?.start }
        } else if in_front {
            let alignment = self.buffer_types[chosen].alignment();
            let offset = self.host_size.checked_next_multiple_of(alignment).ok_or_else(too_large)?;
            let size = usize::try_from(info.n_bytes).map_err(|_| too_large())?;
            self.host_size = offset.checked_add(size).ok_or_else(too_large)?;
            Place::Host { offset }
        } else {
            let buffer_type = &self.buffer_types[chosen];
            let offset = self.sizes[chosen].checked_next_multiple_of(buffer_type.alignment());
            let offset = offset.ok_or_else(too_large)?;
            let end = buffer_type.alloc_size(info.dtype, ne).and_then(|size| offset.checked_add(size));
            self.sizes[chosen] = end.ok_or_else(too_large)?;
            Place::Buffer { buffer_type: chosen, offset }
        };
        self.items.push(Item { tensor: index, ne, place });
        Ok(self.storage(place))
    }

    /// Number of the best buffer type for a weight, or of the one that an override names. As in the reference, an override to plain
    /// host memory considers the types before it too.
    fn choose(&self, name: &str, spec: &WeightSpec) -> Result<usize, Error> {
        let plain = self.buffer_types.len().saturating_sub(1);
        let wanted = self.overrides.iter().find(|wanted| wanted.matches(name));
        if let Some(wanted) = wanted {
            let at = self.buffer_types.iter().position(|known| known.name() == wanted.buffer_type());
            let at = at.unwrap_or(plain);
            if at != plain || !self.buffer_types[at].is_host() {
                if !self.buffer_types[at].accepts_weight(spec) {
                    return Err(Error::BufferRefuses {
                        name: name.to_owned(),
                        dtype: spec.dtype,
                        buffer_type: wanted.buffer_type().to_owned(),
                    });
                }
                return Ok(at);
            }
        }
        let skipped = if self.offload.owns(name, spec.usage) { 0 } else { self.n_offload };
        let accepts = |at: &usize| self.buffer_types[*at].accepts_weight(spec);
        Ok((skipped..self.buffer_types.len()).find(accepts).unwrap_or(plain))
    }

    fn storage(&self, place: Place) -> Storage {
        let (buffer, offset) = match place {
            Place::Source { shard, offset } => (shard, offset),
            Place::Host { offset } => (0, offset),
            Place::Buffer { buffer_type, offset } => (self.n_front() + buffer_type, offset),
        };
        Storage::External { buffer: BufferId(buffer as u32), offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layers_are_offloaded_and_the_output_first() {
        let owned =
            |n_gpu_layers: i32, name: &str, usage| OffloadedLayers::last(4, n_gpu_layers).owns(name, usage);
        let matrix = |n, name: &str| owned(n, name, WeightUse::MulMat);
        assert!(!matrix(0, "output.weight"));
        assert!(matrix(1, "output.weight") && !matrix(1, "blk.3.attn_q.weight"));
        assert!(matrix(2, "blk.3.attn_q.weight") && !matrix(2, "blk.2.attn_q.weight"));
        for all in [-1, 5, 100] {
            assert!(matrix(all, "blk.0.attn_q.weight") && matrix(all, "output_norm.weight"));
            assert!(matrix(all, "token_embd.weight") && matrix(all, "rope_freqs.weight"));
            assert!(!owned(all, "token_embd.weight", WeightUse::GetRows));
            assert!(!matrix(all, "position_embd.weight"));
        }
        assert!(!OffloadedLayers::default().contains(7));
    }
}
