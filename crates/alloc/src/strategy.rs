//! Where blocks of memory go, once the planner has decided which are needed and for how long.
//!
//! The planner's walk asks for a block, lets nodes take blocks over, shrinks and frees them in execution
//! order. A [`Strategy`] answers with addresses when the walk is over: [`Greedy`] has decided each one at once,
//! as ggml does; [`crate::Offline`] waits until it has seen all of them.

use crate::AllocError;
use crate::chunk::{Address, ChunkAllocator, align_up};
use crate::graph::BufferSpec;

/// A block of memory asked for during one walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block(pub(crate) u32);

/// Gives addresses to blocks. Two blocks of one buffer that exist at the same time must not overlap.
///
/// Buffers are named by their index in the specs given to [`Strategy::configure`]; where several share an id, the
/// planner only names the first. Sizes are bytes, not yet rounded up to the alignment.
pub trait Strategy {
    /// The buffer types of all graphs to come. Fails on a bad alignment.
    fn configure(&mut self, specs: &[BufferSpec]) -> Result<(), AllocError>;
    /// A new graph: no blocks exist.
    fn reset(&mut self);
    /// A block of `size` bytes exists from now on.
    fn alloc(&mut self, buffer: usize, size: u64) -> Result<Block, AllocError>;
    /// From now on only the first `size` bytes of a block are needed; never more than before.
    fn shrink(&mut self, block: Block, size: u64) -> Result<(), AllocError>;
    /// A block is not needed any more.
    fn free(&mut self, block: Block) -> Result<(), AllocError>;
    /// Nobody will read a block: a leaf after the first node, or a node that was just computed (again, if it is listed
    /// twice). It need not exist any longer; ggml keeps it. It is not freed besides, and outputs are never unread.
    fn unread(&mut self, block: Block) -> Result<(), AllocError> {
        let _ = block;
        Ok(())
    }
    /// The graph is complete: addresses and sizes can be asked for.
    fn finish(&mut self) -> Result<(), AllocError>;
    /// Where a block lies.
    fn address(&self, block: Block) -> Address;
    /// Bytes of every chunk of a buffer.
    fn chunk_sizes(&self, buffer: usize) -> Vec<u64>;
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    buffer: u32,
    address: Address,
    size: u64,
}

/// Best fit at the moment a block is asked for: the plans of ggml, address for address.
#[derive(Debug, Clone, Default)]
pub struct Greedy {
    allocators: Vec<ChunkAllocator>,
    blocks: Vec<Placed>,
}

impl Strategy for Greedy {
    fn configure(&mut self, specs: &[BufferSpec]) -> Result<(), AllocError> {
        self.allocators =
            specs.iter().map(|s| ChunkAllocator::new(s.alignment, s.max_size)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn reset(&mut self) {
        self.allocators.iter_mut().for_each(ChunkAllocator::reset);
        self.blocks.clear();
    }

    fn alloc(&mut self, buffer: usize, size: u64) -> Result<Block, AllocError> {
        let address = self.allocators[buffer].alloc(size)?;
        self.blocks.push(Placed { buffer: buffer as u32, address, size });
        Ok(Block(self.blocks.len() as u32 - 1))
    }

    fn shrink(&mut self, block: Block, size: u64) -> Result<(), AllocError> {
        let placed = &mut self.blocks[block.0 as usize];
        let allocator = &mut self.allocators[placed.buffer as usize];
        let old_end = align_up(placed.size, allocator.alignment())?;
        let new_end = align_up(size, allocator.alignment())?;
        placed.size = size;
        if old_end > new_end {
            let tail = Address { offset: placed.address.offset + new_end, ..placed.address };
            allocator.free(tail, old_end - new_end)?;
        }
        Ok(())
    }

    fn free(&mut self, block: Block) -> Result<(), AllocError> {
        let Placed { buffer, address, size } = self.blocks[block.0 as usize];
        self.allocators[buffer as usize].free(address, size)
    }

    fn finish(&mut self) -> Result<(), AllocError> {
        Ok(())
    }

    fn address(&self, block: Block) -> Address {
        self.blocks[block.0 as usize].address
    }

    fn chunk_sizes(&self, buffer: usize) -> Vec<u64> {
        self.allocators[buffer].chunk_sizes().collect()
    }
}
