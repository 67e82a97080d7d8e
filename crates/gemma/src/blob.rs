//! Blob stores: named arrays of bytes in one file, in both layouts.
//!
//! Answers to gemma.cpp's `io/blob_store`. Blobs begin at multiples of 256 and lie one behind the other; a directory
//! has their names (16 bytes), offsets and sizes. In the first layout header and directory stand before the blobs, in
//! the second behind them, after padding to 64 KiB, so that a file can be written without knowing what will follow;
//! its first header then says zero blobs. Both are read; [`BlobWriter`] writes the second, as the reference does now.
//!
//! A file is believed when its directory fits in it, its blobs lie where they must and its names differ. The reference
//! aborts where [`Error`] is returned here, and accepts names that are there twice and second layouts whose first
//! header is damaged, which are refused here.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use quipu_gguf::ByteSource;

use crate::error::{Error, Result};
use crate::key::Key;

/// "SBS\n".
const MAGIC: u32 = 0x0A53_4253;
/// Blobs begin at multiples of this (`kBlobAlign`).
pub const BLOB_ALIGN: u64 = 256;
/// Files are filled up to multiples of this, the largest page (`kEndAlign`).
pub const END_ALIGN: u64 = 64 * 1024;
/// There are fewer blobs than this (`kMaxBlobs`).
pub const MAX_BLOBS: u64 = 16 * 1024;

const HEADER_BYTES: u64 = 16;
/// A name, an offset and a size.
const ENTRY_BYTES: u64 = 32;

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(text: &str) -> Result<Key> {
        if text.is_empty() || text.len() > 16 || text.contains('\0') {
            return Err(Error::BadKey { key: text.to_owned() });
        }
        let mut key = [0; 16];
        key[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Key(key))
    }
}

/// Which of the two layouts a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Header and directory first.
    V1,
    /// Header and directory last.
    V2,
}

/// A blob's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub key: Key,
    /// Where it begins, from the file's start.
    pub offset: u64,
    /// Its bytes, not zero.
    pub bytes: u64,
}

impl Blob {
    /// Its place in the file.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes
    }
}

/// The blobs of a file. Answers to `BlobReader`.
#[derive(Clone, Debug)]
pub struct BlobStore {
    source: Arc<dyn ByteSource>,
    layout: Layout,
    blobs: Vec<Blob>,
    by_key: HashMap<Key, usize>,
}

impl BlobStore {
    /// Reads and checks header and directory; the blobs are not touched.
    ///
    /// # Errors
    /// [`Error`]: what the file is instead, and where.
    pub fn open(source: Arc<dyn ByteSource>) -> Result<BlobStore> {
        let first = Header::read(&*source, 0)?;
        let len = source.len();
        let (layout, header, directory, first_blob, end_of_blobs) = if first.num_blobs == 0 {
            let at = len - HEADER_BYTES;
            let header = Header::read(&*source, at)?;
            header.check(at, len)?;
            let directory = at - ENTRY_BYTES * u64::from(header.num_blobs);
            (Layout::V2, header, directory, BLOB_ALIGN, directory)
        } else {
            first.check(0, len)?;
            let behind = HEADER_BYTES + ENTRY_BYTES * u64::from(first.num_blobs);
            (Layout::V1, first, HEADER_BYTES, behind.next_multiple_of(BLOB_ALIGN), len)
        };
        let blobs = read_directory(&*source, header.num_blobs as usize, directory, first_blob..end_of_blobs)?;
        let mut by_key = HashMap::with_capacity(blobs.len());
        for (index, blob) in blobs.iter().enumerate() {
            if let Some(first) = by_key.insert(blob.key, index) {
                return Err(Error::DuplicateKey { index, first, key: blob.key });
            }
        }
        Ok(BlobStore { source, layout, blobs, by_key })
    }

    /// The file's layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The file.
    pub fn source(&self) -> &Arc<dyn ByteSource> {
        &self.source
    }

    /// All blobs in the directory's order, which is that of the file.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// The blob of that name.
    pub fn find(&self, key: &str) -> Option<&Blob> {
        let key = Key::try_from(key).ok()?;
        self.by_key.get(&key).map(|&index| &self.blobs[index])
    }

    /// The blob of that name.
    ///
    /// # Errors
    /// [`Error::MissingBlob`].
    pub fn require(&self, key: &str) -> Result<&Blob> {
        self.find(key).ok_or_else(|| Error::MissingBlob { key: key.to_owned() })
    }

    /// A blob's bytes. They are in the file, so no more is allocated than it has.
    ///
    /// # Errors
    /// [`Error::Gguf`] if the system does not read them.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>> {
        let mut out = vec![0; blob.bytes as usize];
        self.source.read_at(blob.offset, &mut out)?;
        Ok(out)
    }

    /// Part of a blob's bytes, from `from` on.
    ///
    /// # Errors
    /// [`Error::Gguf`] if they are not all in the file, or if the system does not read them.
    pub fn read_part(&self, blob: &Blob, from: u64, out: &mut [u8]) -> Result<()> {
        let offset = blob.offset.saturating_add(from);
        Ok(self.source.read_at(offset, out)?)
    }
}

struct Header {
    num_blobs: u32,
    file_bytes: u64,
}

impl Header {
    fn read(source: &dyn ByteSource, offset: u64) -> Result<Header> {
        // The smallest file has a header, a blob and its entry.
        let needed = BLOB_ALIGN + HEADER_BYTES + ENTRY_BYTES;
        if source.len() < needed {
            return Err(Error::TooShort { len: source.len(), needed });
        }
        let mut bytes = [0; HEADER_BYTES as usize];
        source.read_at(offset, &mut bytes)?;
        let found = u32_at(&bytes, 0);
        if found != MAGIC {
            return Err(Error::BadMagic { offset, found });
        }
        Ok(Header { num_blobs: u32_at(&bytes, 4), file_bytes: u64_at(&bytes, 8) })
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        let limit = ((len - HEADER_BYTES) / ENTRY_BYTES).min(MAX_BLOBS - 1);
        if self.num_blobs == 0 || u64::from(self.num_blobs) > limit {
            return Err(Error::BlobCount { offset, found: self.num_blobs, limit });
        }
        if self.file_bytes != len {
            return Err(Error::FileBytes { offset, found: self.file_bytes, len });
        }
        Ok(())
    }
}

/// The directory at `offset`: all names, then all places. The blobs fill `room` from its start.
fn read_directory(source: &dyn ByteSource, n: usize, offset: u64, room: Range<u64>) -> Result<Vec<Blob>> {
    let mut bytes = vec![0; n * ENTRY_BYTES as usize];
    source.read_at(offset, &mut bytes)?;
    let (keys, places) = bytes.split_at(n * 16);
    let mut expected = room.start;
    let mut blobs = Vec::with_capacity(n);
    for (index, (key, place)) in keys.as_chunks::<16>().0.iter().zip(places.as_chunks::<16>().0).enumerate() {
        let key = Key(*key);
        if key.as_bytes().is_empty() {
            return Err(Error::EmptyKey { index, offset: offset + 16 * index as u64 });
        }
        let blob = Blob { key, offset: u64_at(place, 0), bytes: u64_at(place, 8) };
        if blob.offset != expected {
            return Err(Error::BlobOffset { key, offset: blob.offset, expected });
        }
        let limit = room.end.saturating_sub(blob.offset);
        if blob.bytes == 0 || blob.bytes > limit {
            return Err(Error::BlobSize { key, offset: blob.offset, bytes: blob.bytes, limit });
        }
        expected = (blob.offset + blob.bytes).next_multiple_of(BLOB_ALIGN);
        blobs.push(blob);
    }
    Ok(blobs)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn header(num_blobs: u32, file_bytes: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&MAGIC.to_le_bytes());
    out[4..8].copy_from_slice(&num_blobs.to_le_bytes());
    out[8..].copy_from_slice(&file_bytes.to_le_bytes());
    out
}

fn directory(blobs: &[Blob]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blobs.len() * ENTRY_BYTES as usize);
    for blob in blobs {
        out.extend(blob.key.0);
    }
    for blob in blobs {
        out.extend(blob.offset.to_le_bytes());
        out.extend(blob.bytes.to_le_bytes());
    }
    out
}

/// Writes blobs in the second layout, one after the other, byte for byte as the reference. Answers to `BlobWriter`.
#[derive(Debug)]
pub struct BlobWriter<W> {
    sink: W,
    blobs: Vec<Blob>,
    keys: HashMap<Key, usize>,
    offset: u64,
}

impl<W: Write> BlobWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn new(sink: W) -> Result<BlobWriter<W>> {
        let mut writer = BlobWriter { sink, blobs: Vec::new(), keys: HashMap::new(), offset: 0 };
        writer.put(&header(0, END_ALIGN), "the header")?;
        writer.pad(BLOB_ALIGN)?;
        Ok(writer)
    }

    /// Adds a blob.
    ///
    /// # Errors
    /// [`Error::BadKey`], [`Error::DuplicateKey`], [`Error::BlobSize`] without bytes, [`Error::BlobCount`],
    /// [`Error::Write`].
    pub fn add(&mut self, key: &str, bytes: &[u8]) -> Result<()> {
        self.add_with(key, bytes.len() as u64, |sink| sink.write_all(bytes))
    }

    /// Adds a blob of `bytes` bytes that `write` writes.
    ///
    /// # Errors
    /// As [`BlobWriter::add`], and [`Error::BlobBytes`] if `write` writes more or less.
    pub fn add_with(
        &mut self,
        key: &str,
        bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<()> {
        let key = Key::try_from(key)?;
        let index = self.blobs.len();
        if index as u64 + 1 >= MAX_BLOBS {
            return Err(Error::BlobCount { offset: 0, found: index as u32 + 1, limit: MAX_BLOBS - 1 });
        }
        if let Some(&first) = self.keys.get(&key) {
            return Err(Error::DuplicateKey { index, first, key });
        }
        let blob = Blob { key, offset: self.offset, bytes };
        if bytes == 0 {
            return Err(Error::BlobSize { key, offset: self.offset, bytes, limit: u64::MAX });
        }
        let mut sink = Counting { sink: &mut self.sink, n: 0 };
        let written = write(&mut sink);
        let n = sink.n;
        written.map_err(|source| Error::Write { what: format!("blob '{key}'"), source })?;
        if n != bytes {
            return Err(Error::BlobBytes { key, found: n, expected: bytes });
        }
        self.offset += n;
        self.keys.insert(key, index);
        self.blobs.push(blob);
        self.pad(BLOB_ALIGN)
    }

    /// Writes directory and header, and gives the sink back.
    ///
    /// # Errors
    /// [`Error::BlobCount`] without blobs, [`Error::Write`].
    pub fn finish(mut self) -> Result<W> {
        let n = self.blobs.len() as u32;
        if n == 0 {
            return Err(Error::BlobCount { offset: 0, found: 0, limit: MAX_BLOBS - 1 });
        }
        let directory = directory(&self.blobs);
        let behind = HEADER_BYTES + directory.len() as u64;
        let file_bytes = (self.offset + behind.next_multiple_of(BLOB_ALIGN)).next_multiple_of(END_ALIGN);
        self.fill_to(file_bytes - behind)?;
        self.put(&directory, "the directory")?;
        self.put(&header(n, file_bytes), "the header")?;
        Ok(self.sink)
    }

    fn put(&mut self, bytes: &[u8], what: &str) -> Result<()> {
        self.sink.write_all(bytes).map_err(|source| Error::Write { what: what.to_owned(), source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, align: u64) -> Result<()> {
        self.fill_to(self.offset.next_multiple_of(align))
    }

    fn fill_to(&mut self, end: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.offset < end {
            let n = (end - self.offset).min(ZEROS.len() as u64) as usize;
            self.put(&ZEROS[..n], "padding")?;
        }
        Ok(())
    }
}

/// Writes a file in the first layout, which the reference reads and no longer writes.
///
/// # Errors
/// As those of [`BlobWriter`].
pub fn write_v1<W: Write>(mut sink: W, named: &[(&str, &[u8])]) -> Result<W> {
    let n = named.len() as u32;
    if n == 0 || u64::from(n) >= MAX_BLOBS {
        return Err(Error::BlobCount { offset: 0, found: n, limit: MAX_BLOBS - 1 });
    }
    let mut offset = (HEADER_BYTES + ENTRY_BYTES * u64::from(n)).next_multiple_of(BLOB_ALIGN);
    let mut blobs: Vec<Blob> = Vec::with_capacity(named.len());
    for (index, (key, data)) in named.iter().enumerate() {
        let key = Key::try_from(*key)?;
        let bytes = data.len() as u64;
        if bytes == 0 {
            return Err(Error::BlobSize { key, offset, bytes, limit: u64::MAX });
        }
        if let Some(first) = blobs.iter().position(|blob| blob.key == key) {
            return Err(Error::DuplicateKey { index, first, key });
        }
        blobs.push(Blob { key, offset, bytes });
        offset = (offset + bytes).next_multiple_of(BLOB_ALIGN);
    }
    let file_bytes = offset.next_multiple_of(END_ALIGN);
    let mut out = Vec::with_capacity(file_bytes as usize);
    out.extend(header(n, file_bytes));
    out.extend(directory(&blobs));
    for ((_, data), blob) in named.iter().zip(&blobs) {
        out.resize(blob.offset as usize, 0);
        out.extend_from_slice(data);
    }
    out.resize(file_bytes as usize, 0);
    sink.write_all(&out).map_err(|source| Error::Write { what: "the blobs".to_owned(), source })?;
    Ok(sink)
}

struct Counting<'a> {
    sink: &'a mut dyn Write,
    n: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.sink.write(bytes)?;
        self.n += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}
