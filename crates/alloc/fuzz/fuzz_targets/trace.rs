//! Any trace of allocations and frees: no panic, no overlap of live ranges, nothing freed that is not allocated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_alloc::{Address, ChunkAllocator};

/// Sizes from a byte: mostly small, some at the edges of what 64 bits hold.
fn size(byte: u8, next: u8) -> u64 {
    match byte >> 5 {
        7 => u64::MAX >> (next % 4),
        6 => (1 << (next % 63)) + u64::from(byte & 31),
        5 => u64::MAX / 2 - u64::from(next),
        _ => u64::from(byte) * u64::from(next % 8),
    }
}

fuzz_target!(|data: &[u8]| {
    let [shift, limit, rest @ ..] = data else { return };
    let max_size = if limit & 1 == 0 { u64::MAX } else { u64::from(*limit) * 16 };
    let Ok(mut allocator) = ChunkAllocator::new(1 << (shift % 10), max_size) else { return };
    let alignment = allocator.alignment();
    let mut live: Vec<(Address, u64)> = Vec::new();
    for op in rest.chunks_exact(3) {
        match op[0] % 5 {
            0..=2 => {
                let Ok(address) = allocator.alloc(size(op[1], op[2])) else { continue };
                let aligned = size(op[1], op[2]).next_multiple_of(alignment);
                assert_eq!(address.offset % alignment, 0);
                assert!(address.offset + aligned <= allocator.max_size(address.chunk as usize));
                for (other, other_size) in &live {
                    let apart = address.chunk != other.chunk
                        || address.offset + aligned <= other.offset
                        || other.offset + other_size <= address.offset;
                    assert!(apart || aligned == 0 || *other_size == 0);
                }
                live.push((address, aligned));
            }
            3 if !live.is_empty() => {
                let (address, size) = live.swap_remove(usize::from(op[1]) % live.len());
                allocator.free(address, size).unwrap();
                assert!(size == 0 || allocator.free(address, size).is_err());
            }
            _ => {
                // Anything at all: it may only succeed where every byte is allocated.
                let offset = size(op[1], op[2]);
                let address = Address { chunk: u32::from(op[0] >> 4), offset };
                let n = u64::from(op[2]).next_multiple_of(alignment);
                let inside = live.iter().position(|(a, s)| {
                    a.chunk == address.chunk && a.offset <= offset && offset.saturating_add(n) <= a.offset + s
                });
                if n == 0 || (inside.is_none() && live.len() < 64) {
                    continue;
                }
                let freed = allocator.free(address, n).is_ok();
                if let Some(i) = inside.filter(|_| freed) {
                    // Split what is left of it.
                    let (a, s) = live.swap_remove(i);
                    if offset > a.offset {
                        live.push((a, offset - a.offset));
                    }
                    let end = offset + n;
                    if end < a.offset + s {
                        live.push((Address { offset: end, ..a }, a.offset + s - end));
                    }
                } else if freed {
                    // It spanned several ranges: what is live is unknown from here on.
                    return;
                }
            }
        }
    }
});
