//! Which memory every weight goes to, before there is any.

use std::ops::Range;
use std::sync::Arc;

use quipu_backend::{Buffer, BufferType, DeviceId, Devices, HostBytes, WeightSpec, WeightUse};
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
    /// In host memory that the model's own device reads in place.
    Host { offset: usize },
    /// In a buffer of one of the devices' types.
    Buffer { buffer_type: usize, offset: usize },
}

/// A weight and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub tensor: usize,
    pub ne: [usize; 4],
    pub place: Place,
}

/// The places of all weights. Buffers are numbered: the mappings of the pieces, or the one block of host memory, if there are such; then one
/// for each of the devices' weight buffer types.
#[derive(Debug)]
pub(super) struct Plan {
    /// Those of the other devices, one after the other, then the model's own device's; each best first and plain memory last.
    pub buffer_types: Vec<Arc<dyn BufferType>>,
    /// Which of them each other device has.
    others: Vec<Range<usize>>,
    /// Bytes asked of each buffer type so far.
    pub sizes: Vec<usize>,
    /// The pieces as device memory, if they are in memory and the model's own device reads them there.
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
    pub fn new(set: &GgufSet, devices: &Devices<'_>, options: &LoadOptions) -> Result<Plan, Error> {
        let device = devices.own();
        let (mut buffer_types, mut others) = (Vec::new(), Vec::new());
        for other in devices.others() {
            let first = buffer_types.len();
            buffer_types.extend(other.weight_buffer_types());
            others.push(first..buffer_types.len());
        }
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
            others,
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
        self.is_own_plain(buffer_type) || self.others.iter().any(|types| types.end == buffer_type + 1)
    }

    /// Whether it is that of the model's own device.
    fn is_own_plain(&self, buffer_type: usize) -> bool {
        buffer_type + 1 == self.buffer_types.len()
    }

    /// Finds a place for tensor `index` on a device (`create_tensor`, the choice of a buffer type).
    pub fn place(
        &mut self,
        set: &GgufSet,
        index: usize,
        usage: WeightUse,
        device: DeviceId,
    ) -> Result<Storage, Error> {
        let info = set.tensor(index)?;
        let ne = shape(info);
        let too_large = || Error::TooLarge { name: info.name.clone(), shape: ne };
        let chosen = self.choose(&info.name, &WeightSpec { dtype: info.dtype, ne, usage }, device)?;
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

    /// Number of the best buffer type for a weight on a device, or else on the model's own; or of the one that an override names. As
    /// in the reference, an override to the model's own device's plain host memory considers that device's other types before it.
    fn choose(&self, name: &str, spec: &WeightSpec, device: DeviceId) -> Result<usize, Error> {
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
        let first_own = self.others.last().map_or(0, |types| types.end);
        let on_device = match device {
            DeviceId::Other(number) if wanted.is_none() => {
                self.others.get(number).cloned().unwrap_or_default()
            }
            _ => 0..0,
        };
        let accepts = |at: &usize| self.buffer_types[*at].accepts_weight(spec);
        Ok(on_device.chain(first_own..self.buffer_types.len()).find(accepts).unwrap_or(plain))
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
