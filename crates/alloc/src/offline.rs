//! A strategy that needs less memory than ggml's: it places blocks when all of them and their lifetimes are known.
//!
//! Greedy by size (the planner of TensorFlow Lite; Pisarchyk and Lee, "Efficient Memory Management for Deep Neural
//! Net Inference"): largest block first, each into the tightest gap among the blocks that exist at the same time.
//! The same again with other orders, and with gaps filled from the side whose neighbour stays longer, up to the ceiling
//! that the peak of live bytes sets: residual streams of successive layers then lie at opposite ends and leave the room
//! between them whole. Then hill climbing over the order, as in TVM's USMP: the block at the top is moved ahead of blocks it lies on, until
//! the peak of live bytes is reached or the budget is spent. ggml's own plan is one of the candidates, so the result is
//! never larger. Blocks in use at once are kept apart by construction, as in every [`Strategy`].

use std::cmp::Reverse;

use crate::AllocError;
use crate::chunk::{Address, MAX_CHUNKS, MAX_SIZE, align_up};
use crate::graph::BufferSpec;
use crate::strategy::{Block, Greedy, Strategy};

/// Pairs of blocks that may be compared while looking for a better order of one buffer: about a tenth of a second.
const DEFAULT_BUDGET: u64 = 1 << 25;

/// Time of a block that is never freed.
const FOREVER: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Request {
    buffer: u32,
    /// Rounded up to the alignment, bytes.
    size: u64,
    /// It exists from `first` up to but not including `end`; the unit is blocks asked for before.
    first: u32,
    end: u32,
    address: Address,
}

impl Request {
    fn meets(&self, other: &Self) -> bool {
        self.first < other.end && other.first < self.end
    }

    /// How long both exist.
    fn overlap(&self, other: &Self) -> u32 {
        self.end.min(other.end).saturating_sub(self.first.max(other.first))
    }
}

/// Best fit by size over known lifetimes, improved by hill climbing; deterministic.
///
/// Planning takes time quadratic in the number of blocks: a millisecond for a graph of 1,000 nodes, more (up to the
/// budget) where the peak of live bytes cannot be reached. A block that shrinks keeps its full size.
#[derive(Debug, Clone)]
pub struct Offline {
    budget: u64,
    specs: Vec<BufferSpec>,
    greedy: Greedy,
    /// Whether ggml's plan exists; it may run out of chunks where another fits.
    greedy_works: bool,
    requests: Vec<Request>,
    chunk_sizes: Vec<Vec<u64>>,
}

impl Default for Offline {
    fn default() -> Self {
        Self::with_budget(DEFAULT_BUDGET)
    }
}

impl Offline {
    /// With another budget for hill climbing: pairs of blocks compared, per buffer. One pass over the orders of greedy
    /// by size is always made.
    pub fn with_budget(budget: u64) -> Self {
        Self {
            budget,
            specs: Vec::new(),
            greedy: Greedy::default(),
            greedy_works: true,
            requests: Vec::new(),
            chunk_sizes: Vec::new(),
        }
    }

    /// Finds addresses for the blocks `ids` of one buffer and returns its chunks' sizes.
    fn solve(&mut self, buffer: usize, ids: &[u32]) -> Result<Vec<u64>, AllocError> {
        let blocks: Vec<Request> = ids.iter().map(|&id| self.requests[id as usize]).collect();
        let bound = peak(&blocks);
        let mut search = Search::new(&blocks, self.specs[buffer].max_size.min(MAX_SIZE), bound);
        if self.greedy_works {
            let sizes = self.greedy.chunk_sizes(buffer);
            let addresses = ids.iter().map(|&id| self.greedy.address(Block(id))).collect();
            search.best = Some(Layout { total: sum(&sizes), sizes, addresses });
        }
        search.try_orders();
        search.climb(self.budget);
        let Some(best) = search.best else {
            let size = blocks.iter().map(|b| b.size).max().unwrap_or(0);
            return Err(AllocError::NoSpace { size, largest: 0, n_chunks: MAX_CHUNKS });
        };
        for (&id, address) in ids.iter().zip(best.addresses) {
            self.requests[id as usize].address = address;
        }
        Ok(best.sizes)
    }
}

impl Strategy for Offline {
    fn configure(&mut self, specs: &[BufferSpec]) -> Result<(), AllocError> {
        self.specs = specs.to_vec();
        self.greedy.configure(specs)
    }

    fn reset(&mut self) {
        self.greedy.reset();
        self.greedy_works = true;
        self.requests.clear();
    }

    fn alloc(&mut self, buffer: usize, size: u64) -> Result<Block, AllocError> {
        let aligned = align_up(size, self.specs[buffer].alignment)?;
        self.greedy_works = self.greedy_works && self.greedy.alloc(buffer, size).is_ok();
        let id = u32::try_from(self.requests.len()).ok().filter(|&id| id < FOREVER);
        let id = id.ok_or(AllocError::TotalTooLarge { what: "the blocks of a graph" })?;
        self.requests.push(Request {
            buffer: buffer as u32,
            size: aligned,
            first: id,
            end: FOREVER,
            address: Address::default(),
        });
        Ok(Block(id))
    }

    fn shrink(&mut self, block: Block, size: u64) -> Result<(), AllocError> {
        if self.greedy_works { self.greedy.shrink(block, size) } else { Ok(()) }
    }

    fn free(&mut self, block: Block) -> Result<(), AllocError> {
        self.requests[block.0 as usize].end = self.requests.len() as u32;
        if self.greedy_works { self.greedy.free(block) } else { Ok(()) }
    }

    /// Ends here, but not for the plan of ggml that is one of the candidates: freeing more can make a greedy plan larger.
    fn unread(&mut self, block: Block) -> Result<(), AllocError> {
        self.requests[block.0 as usize].end = self.requests.len() as u32;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), AllocError> {
        self.chunk_sizes.clear();
        for buffer in 0..self.specs.len() {
            let ids = 0..self.requests.len() as u32;
            let ids: Vec<u32> =
                ids.filter(|&id| self.requests[id as usize].buffer == buffer as u32).collect();
            let sizes = if ids.is_empty() { Vec::new() } else { self.solve(buffer, &ids)? };
            self.chunk_sizes.push(sizes);
        }
        Ok(())
    }

    fn address(&self, block: Block) -> Address {
        self.requests[block.0 as usize].address
    }

    fn chunk_sizes(&self, buffer: usize) -> Vec<u64> {
        self.chunk_sizes[buffer].clone()
    }
}

/// Most bytes that exist at once.
fn peak(blocks: &[Request]) -> u128 {
    let mut changes: Vec<(u32, bool, u64)> = Vec::with_capacity(2 * blocks.len());
    for block in blocks {
        changes.push((block.first, true, block.size));
        changes.push((block.end, false, block.size));
    }
    // What ends at a time is gone before anything begins at it.
    changes.sort_unstable();
    let (mut live, mut peak) = (0u128, 0u128);
    for (_, begins, size) in changes {
        if begins {
            live += u128::from(size);
            peak = peak.max(live);
        } else {
            live -= u128::from(size);
        }
    }
    peak
}

fn sum(sizes: &[u64]) -> u128 {
    sizes.iter().map(|&size| u128::from(size)).sum()
}

/// How good an order is, less is better: bytes of all chunks, then how much lies above the peak of live bytes, which
/// tells orders apart that fail in one layer from those that fail in all.
type Score = (u128, u128);

const WORST: Score = (u128::MAX, u128::MAX);

#[derive(Debug, Clone)]
struct Layout {
    total: u128,
    sizes: Vec<u64>,
    addresses: Vec<Address>,
}

/// A chunk being filled: its blocks by offset.
#[derive(Debug, Clone, Default)]
struct Filling {
    capacity: u64,
    size: u64,
    placed: Vec<u32>,
}

/// A place for a block.
#[derive(Debug, Clone, Copy)]
struct Gap {
    /// Bytes the chunk would grow by, then bytes of the gap left over.
    cost: (u64, u64),
    chunk: usize,
    offset: u64,
    /// Where the block comes among those of the chunk.
    at: usize,
}

/// The search for the best order of the blocks of one buffer.
struct Search<'a> {
    blocks: &'a [Request],
    max_chunk_size: u64,
    bound: u128,
    /// Where gaps are filled from the better side, the end of the last one; otherwise they are filled from below.
    ceiling: Option<u64>,
    chunks: Vec<Filling>,
    n_chunks: usize,
    addresses: Vec<Address>,
    n_compared: u64,
    best: Option<Layout>,
    best_order: Vec<u32>,
    rng: u64,
}

impl<'a> Search<'a> {
    fn new(blocks: &'a [Request], max_chunk_size: u64, bound: u128) -> Self {
        Self {
            blocks,
            max_chunk_size,
            bound,
            ceiling: None,
            chunks: Vec::new(),
            n_chunks: 0,
            addresses: vec![Address::default(); blocks.len()],
            n_compared: 0,
            best: None,
            best_order: Vec::new(),
            rng: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn is_done(&self) -> bool {
        self.best.as_ref().is_some_and(|best| best.total <= self.bound)
    }

    fn try_orders(&mut self) {
        let blocks = self.blocks;
        let span = |i: u32| u64::from(blocks[i as usize].end - blocks[i as usize].first);
        let size = |i: u32| blocks[i as usize].size;
        let mut order: Vec<u32> = (0..blocks.len() as u32).collect();
        self.best_order.clone_from(&order);
        let keys: [&dyn Fn(u32) -> (u128, u128); 4] = [
            &|i| (u128::from(size(i)), u128::from(span(i))),
            &|i| (u128::from(span(i)), u128::from(size(i))),
            &|i| (u128::from(size(i)) * u128::from(span(i)), 0),
            &|i| (u128::from(u32::MAX - blocks[i as usize].first), 0),
        ];
        // In more than one chunk there is no one ceiling.
        let ceiling = u64::try_from(self.bound).ok().filter(|&bound| bound <= self.max_chunk_size);
        // Hill climbing starts at the best order; ggml's plan has none that would give it again.
        let mut best_score = WORST;
        let mut best_ceiling = None;
        for (key, backwards) in keys.iter().flat_map(|key| [(key, false), (key, true)]) {
            // Equal blocks of successive layers follow each other forwards or backwards in time, so that each can be
            // placed beside the one before it.
            order.sort_by_key(|&i| (Reverse(key(i)), if backwards { u32::MAX - i } else { i }));
            for ceiling in [None, ceiling] {
                self.ceiling = ceiling;
                if let Some(score) = self.place_all(&order, WORST)
                    && score < best_score
                {
                    best_score = score;
                    best_ceiling = ceiling;
                    self.best_order.clone_from(&order);
                }
                if self.is_done() {
                    return;
                }
            }
        }
        self.ceiling = best_ceiling;
    }

    /// Moves a block that reaches the top of its chunk ahead of one that is live with it, again and again.
    fn climb(&mut self, budget: u64) {
        let mut order = self.best_order.clone();
        let Some(mut current) = self.place_all(&order, WORST) else { return };
        let mut position = vec![0usize; order.len()];
        while !self.is_done() && self.n_compared < budget {
            for (at, &i) in order.iter().enumerate() {
                position[i as usize] = at;
            }
            let Some((from, to)) = self.pick_move(&position) else { return };
            order[to..=from].rotate_right(1);
            if let Some(score) = self.place_all(&order, current) {
                current = score;
                continue;
            }
            // Back to the order that was better, and to its addresses: the next move is chosen by them.
            order[to..=from].rotate_left(1);
            if self.place_all(&order, WORST).is_none() {
                return;
            }
        }
    }

    /// Positions in the order: a block above the bound or at the top of a chunk, and where to move it.
    fn pick_move(&mut self, position: &[usize]) -> Option<(usize, usize)> {
        let top: Vec<usize> = (0..self.blocks.len())
            .filter(|&i| {
                let address = self.addresses[i];
                let end = address.offset + self.blocks[i].size;
                let at_top = end == self.chunks[address.chunk as usize].size;
                self.blocks[i].size > 0 && (at_top || u128::from(end) > self.bound)
            })
            .collect();
        // Below a block at the top lie others; one of them gives way.
        let chosen = top.get(self.random(top.len())?).copied()?;
        let ahead: Vec<usize> = (0..self.blocks.len())
            .filter(|&j| position[j] < position[chosen] && self.blocks[j].meets(&self.blocks[chosen]))
            .collect();
        if ahead.is_empty() {
            let n = position.len();
            let (a, b) = (self.random(n)?, self.random(n)?);
            return Some((a.max(b), a.min(b)));
        }
        let other = ahead[self.random(ahead.len())?];
        Some((position[chosen], position[other]))
    }

    fn random(&mut self, n: usize) -> Option<usize> {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng >> 16).checked_rem(n as u64).map(|x| x as usize)
    }

    /// Places all blocks in this order and keeps the result if it is the best. `None` if a block finds no place, or the
    /// score passes `limit`.
    fn place_all(&mut self, order: &[u32], limit: Score) -> Option<Score> {
        self.n_chunks = 0;
        let (mut total, mut excess) = (0u128, 0u128);
        for &i in order {
            let i = i as usize;
            let before = sum_sizes(&self.chunks[..self.n_chunks]);
            let Gap { chunk, offset, at, .. } = self.find_place(i)?;
            let filling = &mut self.chunks[chunk];
            filling.placed.insert(at, i as u32);
            filling.size = filling.size.max(offset + self.blocks[i].size);
            self.addresses[i] = Address { chunk: chunk as u32, offset };
            total += sum_sizes(&self.chunks[..self.n_chunks]) - before;
            excess += u128::from(offset + self.blocks[i].size).saturating_sub(self.bound);
            if (total, excess) > limit {
                return None;
            }
        }
        if self.best.as_ref().is_none_or(|best| total < best.total) {
            let sizes = self.chunks[..self.n_chunks].iter().map(|c| c.size).collect();
            self.best = Some(Layout { total, sizes, addresses: self.addresses.clone() });
        }
        Some((total, excess))
    }

    /// The place of least growth, then in the tightest gap; a new chunk where there is none.
    fn find_place(&mut self, i: usize) -> Option<Gap> {
        let mut best: Option<Gap> = None;
        for chunk in 0..self.n_chunks {
            if let Some(gap) = self.find_gap(chunk, i)
                && best.is_none_or(|best| gap.cost < best.cost)
            {
                best = Some(gap);
            }
        }
        if best.is_some() {
            return best;
        }
        if self.n_chunks == MAX_CHUNKS {
            return None;
        }
        // As in the reference: one block may pass the limit, and the last chunk has none.
        let last = self.n_chunks == MAX_CHUNKS - 1;
        let capacity = if last { MAX_SIZE } else { self.blocks[i].size.max(self.max_chunk_size) };
        if self.n_chunks == self.chunks.len() {
            self.chunks.push(Filling::default());
        }
        let chunk = &mut self.chunks[self.n_chunks];
        chunk.placed.clear();
        (chunk.capacity, chunk.size) = (capacity, 0);
        self.n_chunks += 1;
        Some(Gap { cost: (0, 0), chunk: self.n_chunks - 1, offset: 0, at: 0 })
    }

    /// The best place in one chunk, if there is one.
    fn find_gap(&mut self, chunk: usize, i: usize) -> Option<Gap> {
        let block = &self.blocks[i];
        let filling = &self.chunks[chunk];
        let mut best = None;
        // End of what exists at the same time as the block so far, by ascending offset, and who ends there.
        let mut end = 0u64;
        let mut below = None;
        self.n_compared += filling.placed.len() as u64;
        for &j in &filling.placed {
            let other = &self.blocks[j as usize];
            if !other.meets(block) || other.size == 0 {
                continue;
            }
            let offset = self.addresses[j as usize].offset;
            if offset >= end && offset - end >= block.size {
                let cost = (0, offset - end - block.size);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, self.side(block, end, offset, below, Some(other))));
                }
            }
            if offset + other.size > end {
                end = offset + other.size;
                below = Some(other);
            }
        }
        // Both are at most MAX_SIZE, half of what 64 bits hold.
        let tail_end = end + block.size;
        if tail_end <= filling.capacity {
            let top = self.ceiling.unwrap_or(filling.size);
            let cost = (tail_end.saturating_sub(top), top.saturating_sub(tail_end));
            let under_ceiling = self.ceiling.filter(|&ceiling| tail_end <= ceiling);
            let offset = under_ceiling.map_or(end, |ceiling| self.side(block, end, ceiling, below, None));
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, offset));
            }
        }
        let (cost, offset) = best?;
        let at = filling.placed.partition_point(|&j| self.addresses[j as usize].offset < offset);
        Some(Gap { cost, chunk, offset, at })
    }

    /// Which end of the gap from `start` to `end` to put a block at: beside the neighbour that exists longer with it,
    /// where floor and ceiling exist always.
    fn side(
        &self,
        block: &Request,
        start: u64,
        end: u64,
        below: Option<&Request>,
        above: Option<&Request>,
    ) -> u64 {
        let stays = |neighbour: Option<&Request>| neighbour.map_or(FOREVER, |n| n.overlap(block));
        if self.ceiling.is_some() && stays(above) > stays(below) { end - block.size } else { start }
    }
}

fn sum_sizes(chunks: &[Filling]) -> u128 {
    chunks.iter().map(|chunk| u128::from(chunk.size)).sum()
}
