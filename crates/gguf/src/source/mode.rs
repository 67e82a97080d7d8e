//! Load modes by the reference's names, and which source each one means.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// How a file's bytes are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// A read-only mapping; pages are read when touched.
    Mapped,
    /// Positioned reads through the page cache.
    Buffered,
    /// Positioned reads past the page cache, where the file system can.
    Direct,
    /// Everything in memory of this process.
    Memory,
}

/// How to load a model (`llama_load_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadMode {
    /// Read through the page cache into memory of our own.
    None,
    /// Map the file.
    #[default]
    Mmap,
    /// As `None`, and keep the memory from being swapped out.
    Mlock,
    /// As `Mmap`, and keep the used part from being swapped out.
    MmapMlock,
    /// Read past the page cache into memory of our own.
    DirectIo,
}

impl LoadMode {
    /// All modes in the reference's order.
    pub const ALL: [LoadMode; 5] =
        [LoadMode::None, LoadMode::Mmap, LoadMode::Mlock, LoadMode::MmapMlock, LoadMode::DirectIo];

    /// The reference's name (`llama_load_mode_name`).
    pub fn name(self) -> &'static str {
        match self {
            LoadMode::None => "none",
            LoadMode::Mmap => "mmap",
            LoadMode::Mlock => "mlock",
            LoadMode::MmapMlock => "mmap+mlock",
            LoadMode::DirectIo => "dio",
        }
    }

    /// The source this mode reads through. A load that allocates nothing (`no_alloc`) has no use for a mapping of the data; the
    /// reference asserts as much, here the mapping gives way.
    pub fn source_kind(self, no_alloc: bool) -> SourceKind {
        match self {
            LoadMode::Mmap | LoadMode::MmapMlock if !no_alloc => SourceKind::Mapped,
            LoadMode::DirectIo => SourceKind::Direct,
            _ => SourceKind::Buffered,
        }
    }

    /// Whether memory is locked.
    pub fn locks(self) -> bool {
        matches!(self, LoadMode::Mlock | LoadMode::MmapMlock)
    }
}

impl fmt::Display for LoadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LoadMode {
    type Err = Error;

    /// Reads the reference's name (`llama_load_mode_from_str`).
    fn from_str(name: &str) -> Result<LoadMode, Error> {
        LoadMode::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| Error::UnknownLoadMode { found: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_select_as_the_reference_does() {
        use SourceKind::{Buffered, Direct, Mapped};
        // use_mmap = MMAP | MMAP_MLOCK, use_direct_io = DIRECT_IO, use_mlock = MLOCK | MMAP_MLOCK.
        for (mode, kind, without_alloc, locks) in [
            (LoadMode::None, Buffered, Buffered, false),
            (LoadMode::Mmap, Mapped, Buffered, false),
            (LoadMode::Mlock, Buffered, Buffered, true),
            (LoadMode::MmapMlock, Mapped, Buffered, true),
            (LoadMode::DirectIo, Direct, Direct, false),
        ] {
            assert_eq!(mode.source_kind(false), kind, "{mode}");
            assert_eq!(mode.source_kind(true), without_alloc, "{mode}");
            assert_eq!(mode.locks(), locks, "{mode}");
            assert_eq!(mode.name().parse::<LoadMode>().unwrap(), mode);
        }
        assert_eq!(LoadMode::default(), LoadMode::Mmap);
        let error = "swap".parse::<LoadMode>().unwrap_err().to_string();
        assert_eq!(error, "load mode 'swap' is unknown, expected one of: none, mmap, mlock, mmap+mlock, dio");
    }
}
