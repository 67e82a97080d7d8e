//! From places to memory: allocate, read or upload, check, report.

use std::sync::Arc;

use quipu_backend::{Buffer, BufferType, Device};
use quipu_gguf::{ByteSource, GgufSet, HostMemory, TensorInfo};

use super::check::{Bytes, check_all, check_blocks};
use super::params::{LoadParams, LoadStats};
use super::plan::{Item, Place, Plan};
use super::upload::{PlainUpload, Upload, UploadSink};
use super::virtual_memory::SizeOnly;
use super::{shape, whole_blocks};
use crate::error::Error;

/// Bytes of a mapped weight that are uploaded before their pages are let go.
const RELEASE_STEP: usize = 8 << 20;

/// Buffers in the order of their numbers, and what was done to fill them.
#[derive(Debug)]
pub(crate) struct Filled {
    pub buffers: Vec<Arc<dyn Buffer>>,
    /// The files that are used in place.
    pub sources: Vec<Arc<dyn ByteSource>>,
    pub stats: LoadStats,
}

/// Gives every planned weight its memory. On an error everything allocated here is freed.
pub(super) fn fill(
    set: &GgufSet,
    plan: Plan,
    device: &dyn Device,
    params: &mut LoadParams<'_>,
) -> Result<Filled, Error> {
    if params.options.no_alloc {
        return measure(set, &plan);
    }
    let mut job = Job::new(set, plan, params)?;
    let done = job.run(params);
    if done.is_err()
        && let Some(sink) = &mut params.upload
    {
        sink.abort();
    }
    done?;
    job.finish(device)
}

/// Sizes only; no byte of the weights is read (`no_alloc`).
fn measure(set: &GgufSet, plan: &Plan) -> Result<Filled, Error> {
    let bytes_total = plan.items.iter().map(|item| bytes_of(set, item)).sum::<Result<u64, Error>>()?;
    let mut buffers: Vec<Arc<dyn Buffer>> = Vec::new();
    if let Some(plain) = plan.buffer_types.last().filter(|_| plan.n_front() > 0) {
        buffers.push(Arc::from(SizeOnly(Arc::clone(plain)).allocate(plan.host_size)?));
    }
    for (buffer_type, size) in plan.buffer_types.iter().zip(&plan.sizes) {
        buffers.push(Arc::from(SizeOnly(Arc::clone(buffer_type)).allocate(*size)?));
    }
    Ok(Filled { buffers, sources: Vec::new(), stats: LoadStats { bytes_total, ..LoadStats::default() } })
}

struct Job<'a> {
    set: &'a GgufSet,
    plan: Plan,
    host: Option<HostMemory>,
    buffers: Vec<Box<dyn Buffer>>,
    stats: LoadStats,
    /// First and last used byte of every piece that is used in place.
    used: Vec<Option<(usize, usize)>>,
}

impl<'a> Job<'a> {
    fn new(set: &'a GgufSet, plan: Plan, params: &LoadParams<'_>) -> Result<Job<'a>, Error> {
        let mut stats = LoadStats { used_mmap: plan.is_mapped(), ..LoadStats::default() };
        let mut used = vec![None; set.shards().len()];
        for item in &plan.items {
            let n_bytes = bytes_of(set, item)?;
            stats.bytes_total += n_bytes;
            if let Place::Source { shard, offset } = item.place {
                let (first, last) = used[shard].get_or_insert((usize::MAX, 0));
                *first = offset.min(*first);
                *last = (offset + n_bytes as usize).max(*last);
            }
        }
        for (shard, used) in set.shards().iter().zip(&used) {
            if let Some((first, last)) = *used {
                shard.source().prefetch(first as u64..last as u64);
            }
        }
        let mut host = None;
        if plan.host_size > 0 {
            let memory = HostMemory::zeroed(plan.host_size)?;
            if params.options.load_mode.locks() {
                stats.bytes_locked += memory.lock(plan.host_size) as u64;
            }
            host = Some(memory);
        }
        let allocate = |(buffer_type, size): (&Arc<dyn BufferType>, &usize)| buffer_type.allocate(*size);
        let buffers = plan.buffer_types.iter().zip(&plan.sizes).map(allocate).collect::<Result<_, _>>()?;
        Ok(Job { set, plan, host, buffers, stats, used })
    }

    fn run(&mut self, params: &mut LoadParams<'_>) -> Result<(), Error> {
        let set = self.set;
        let in_memory = set.shards().iter().all(|shard| shard.source().in_place().is_some());
        let check = params.options.check_tensors;
        if check && in_memory {
            let all = self.plan.items.iter().map(|item| {
                let info = set.tensor(item.tensor)?;
                let bytes = set.tensor_bytes(item.tensor)?;
                Ok(Bytes { name: &info.name, dtype: info.dtype, data: bytes })
            });
            check_all(&all.collect::<Result<Vec<_>, Error>>()?)?;
        }
        let items = std::mem::take(&mut self.plan.items);
        let mut staging = None;
        for item in &items {
            self.report(params)?;
            let info = set.tensor(item.tensor)?;
            match item.place {
                Place::Source { shard, offset } => {
                    self.stats.bytes_mapped += info.n_bytes;
                    self.stats.bytes_done += info.n_bytes;
                    if params.options.load_mode.locks() {
                        // Grows: what is locked is counted once, below.
                        set.shards()[shard].source().lock((offset as u64) + info.n_bytes);
                    }
                }
                Place::Host { offset } => self.read(item, info, offset, params)?,
                Place::Buffer { buffer_type, offset } if self.plan.is_plain(buffer_type) => {
                    let check = check && !in_memory;
                    self.upload(item, info, (buffer_type, offset), check, params, &mut staging)?;
                }
                Place::Buffer { buffer_type, offset } => {
                    self.write_whole(item, info, (buffer_type, offset), check && !in_memory)?;
                }
            }
        }
        if check && !in_memory {
            self.check_host(&items)?;
        }
        if params.options.load_mode.locks() {
            self.stats.bytes_locked += set.shards().iter().map(|shard| shard.source().lock(0)).sum::<u64>();
        }
        self.report(params)?;
        // What was copied, counted or checked was the file.
        set.check_unchanged()?;
        // Headers and tensors that went elsewhere are not needed any more.
        for (shard, used) in set.shards().iter().zip(&self.used) {
            if let Some((first, last)) = *used {
                shard.source().release(0..first as u64);
                shard.source().release(last as u64..shard.source().len());
            }
        }
        Ok(())
    }

    /// Reads a weight into host memory, in chunks so that it can be cancelled.
    fn read(
        &mut self,
        item: &Item,
        info: &TensorInfo,
        offset: usize,
        params: &mut LoadParams<'_>,
    ) -> Result<(), Error> {
        let n_bytes = info.n_bytes as usize;
        let chunk = params.options.chunk();
        for from in (0..n_bytes).step_by(chunk) {
            if from > 0 {
                self.report(params)?;
            }
            let n = chunk.min(n_bytes - from);
            // There is host memory exactly if something is placed in it.
            let Some(host) = &mut self.host else { return Ok(()) };
            let out = &mut host.as_mut_slice()[offset + from..offset + from + n];
            self.set.read_tensor(item.tensor, from as u64, out).map_err(reading(info))?;
            self.stats.bytes_done += n as u64;
            self.stats.bytes_read += n as u64;
        }
        Ok(())
    }

    /// Streams a weight into a buffer: straight from memory, or through one staging chunk.
    fn upload(
        &mut self,
        item: &Item,
        info: &TensorInfo,
        (buffer_type, offset): (usize, usize),
        check: bool,
        params: &mut LoadParams<'_>,
        staging: &mut Option<HostMemory>,
    ) -> Result<(), Error> {
        let n_bytes = info.n_bytes as usize;
        let upload = Upload {
            name: &info.name,
            dtype: info.dtype,
            ne: item.ne,
            n_bytes,
            buffer: self.plan.n_front() + buffer_type,
            offset,
        };
        let chunk = whole_blocks(params.options.chunk(), info.dtype);
        let failed = |from: usize| {
            let name = info.name.clone();
            move |source| Error::Upload { name, from, source }
        };
        with_sink(params, |sink| sink.begin(&upload, self.buffers[buffer_type].as_mut()))
            .map_err(failed(0))?;
        let mut released = 0;
        for from in (0..n_bytes).step_by(chunk) {
            if from > 0 {
                self.report(params)?;
            }
            let n = chunk.min(n_bytes - from);
            let bytes = if let Ok(bytes) = self.set.tensor_bytes(item.tensor) {
                &bytes[from..from + n]
            } else {
                let memory = match staging {
                    Some(memory) => memory,
                    None => staging.insert(HostMemory::zeroed(params.options.chunk())?),
                };
                let out = &mut memory.as_mut_slice()[..n];
                self.set.read_tensor(item.tensor, from as u64, out).map_err(reading(info))?;
                &*out
            };
            if check {
                check_blocks(&info.name, info.dtype, bytes, from)?;
            }
            let buffer = self.buffers[buffer_type].as_mut();
            with_sink(params, |sink| sink.chunk(&upload, buffer, from, bytes)).map_err(failed(from))?;
            self.stats.bytes_done += n as u64;
            self.stats.bytes_uploaded += n as u64;
            if from + n - released >= RELEASE_STEP {
                self.set.release_part(item.tensor, released..from + n)?;
                released = from + n;
            }
        }
        let buffer = self.buffers[buffer_type].as_mut();
        with_sink(params, |sink| sink.end(&upload, buffer)).map_err(failed(n_bytes))?;
        self.set.release_tensor(item.tensor)?;
        Ok(())
    }

    /// Memory with a layout of its own takes a weight as a whole.
    fn write_whole(
        &mut self,
        item: &Item,
        info: &TensorInfo,
        (buffer_type, offset): (usize, usize),
        check: bool,
    ) -> Result<(), Error> {
        let data = self.set.tensor_data(item.tensor).map_err(reading(info))?;
        if check {
            check_blocks(&info.name, info.dtype, &data, 0)?;
        }
        self.buffers[buffer_type]
            .write_weight(offset, info.dtype, item.ne, &data)
            .map_err(|source| Error::Upload { name: info.name.clone(), from: 0, source })?;
        self.set.release_tensor(item.tensor)?;
        self.stats.bytes_done += info.n_bytes;
        self.stats.bytes_uploaded += info.n_bytes;
        Ok(())
    }

    fn check_host(&self, items: &[Item]) -> Result<(), Error> {
        let Some(host) = &self.host else { return Ok(()) };
        let mut all = Vec::new();
        for item in items {
            if let Place::Host { offset } = item.place {
                let info = self.set.tensor(item.tensor)?;
                let bytes = &host.as_slice()[offset..offset + info.n_bytes as usize];
                all.push(Bytes { name: &info.name, dtype: info.dtype, data: bytes });
            }
        }
        check_all(&all)
    }

    fn report(&self, params: &mut LoadParams<'_>) -> Result<(), Error> {
        let Some(progress) = &mut params.progress else { return Ok(()) };
        let (done, total) = (self.stats.bytes_done, self.stats.bytes_total);
        let share = if total == 0 { 1.0 } else { (done as f64 / total as f64) as f32 };
        if progress(share) { Ok(()) } else { Err(Error::Cancelled) }
    }

    fn finish(self, device: &dyn Device) -> Result<Filled, Error> {
        let mut buffers = self.plan.mapped;
        if self.plan.reads_host {
            let memory = self.host.map_or_else(|| HostMemory::zeroed(0), Ok)?;
            // The device said that it reads host memory when the plan was made.
            let buffer = device.buffer_from_host(Arc::new(memory)).ok_or_else(|| {
                Error::Backend(quipu_backend::Error::Tensor {
                    name: "weights in host memory".to_owned(),
                    found: format!("a refusal of {}", device.name()),
                    expected: "a device that reads host memory, as it said",
                })
            })?;
            buffers.push(buffer);
        }
        buffers.extend(self.buffers.into_iter().map(Arc::from));
        let in_use = self.set.shards().iter().zip(&self.used).filter(|(_, used)| used.is_some());
        let sources = in_use.map(|(shard, _)| Arc::clone(shard.source())).collect();
        Ok(Filled { buffers, sources, stats: self.stats })
    }
}

fn with_sink<T>(params: &mut LoadParams<'_>, run: impl FnOnce(&mut dyn UploadSink) -> T) -> T {
    match &mut params.upload {
        Some(sink) => run(*sink),
        None => run(&mut PlainUpload),
    }
}

fn bytes_of(set: &GgufSet, item: &Item) -> Result<u64, Error> {
    let info = set.tensor(item.tensor)?;
    debug_assert_eq!(shape(info), item.ne);
    Ok(info.n_bytes)
}

fn reading(info: &TensorInfo) -> impl FnOnce(quipu_gguf::Error) -> Error {
    let name = info.name.clone();
    move |source| Error::Data { name, source }
}
