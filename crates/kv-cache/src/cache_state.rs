//! The state of a cache in bytes, as the reference lays it out (`llama_kv_cache::state_write`, `state_read`):
//!
//! ```text
//! u32 streams
//! per stream:
//!   u32 cells; nothing follows for this stream if 0
//!   per cell: i32 position, u32 number of sequences, i32 x and i32 y where tokens have several positions, i32 each sequence
//!   u32 values are transposed, u32 layers
//!   per layer: i32 type of keys, u64 bytes of a row, one row per cell
//!   per layer that keeps values: i32 type of values, u64 bytes of a row, one row per cell; or, transposed: i32 type of values, u32 bytes of
//!     an element, u32 elements of a row, per element of a row one for each cell
//! ```
//!
//! Reading is done in two steps, so that several caches are changed together or not at all: everything is checked first.

use std::ops::Range;

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;

use crate::cache::Rows;
use crate::slot::{SlotPlan, is_usable_by};
use crate::state::{expect_u32, read_u32};
use crate::{Error, KvCache, MAX_SEQ, Memory, Pos, SeqId, SeqSet, StateRead, StateWrite};

/// A cell of a state.
#[derive(Clone, Copy, Debug)]
struct Cell {
    pos: Pos,
    place_2d: [Pos; 2],
    seqs: SeqSet,
}

/// The cells of a stream that were read and checked; their keys and values begin at byte `data`.
#[derive(Debug)]
struct StagedStream {
    stream: usize,
    cells: Vec<Cell>,
    data: usize,
}

/// A state that was checked and fits.
#[derive(Debug)]
pub(crate) struct Staged {
    seq_id: Option<SeqId>,
    streams: Vec<StagedStream>,
    end: usize,
}

/// Writes the cells of one sequence or of all; of a sequence those that its next token sees.
pub(crate) fn write(
    cache: &KvCache,
    buffers: &BufferTable,
    seq_id: Option<SeqId>,
    io: &mut dyn StateWrite,
) -> Result<(), Error> {
    if cache.has_update() {
        return Err(Error::PendingUpdate);
    }
    io.write(&(cache.n_stream() as u32).to_le_bytes())?;
    for stream in 0..cache.n_stream() {
        let runs = runs(cache, stream, seq_id);
        let n_cells: usize = runs.iter().map(Range::len).sum();
        io.write(&(n_cells as u32).to_le_bytes())?;
        if n_cells > 0 {
            runs.iter().cloned().flatten().try_for_each(|i| write_cell(cache, stream, i, seq_id, io))?;
            write_data(cache, buffers, stream, &runs, io)?;
        }
    }
    Ok(())
}

fn write_cell(
    cache: &KvCache,
    stream: usize,
    i: usize,
    seq_id: Option<SeqId>,
    io: &mut dyn StateWrite,
) -> Result<(), Error> {
    let cells = &cache.streams.get(stream).cells;
    let written = |s: &SeqId| seq_id.is_none_or(|only| only == *s);
    let seqs = || cells.seqs(i).iter().filter(written);
    io.write(&cells.pos(i).to_le_bytes())?;
    io.write(&(seqs().count() as u32).to_le_bytes())?;
    if cache.n_pos > 1 {
        cells.place_2d(i).iter().try_for_each(|p| io.write(&p.to_le_bytes()))?;
    }
    seqs().try_for_each(|s| io.write(&s.to_le_bytes()))
}

fn write_data(
    cache: &KvCache,
    buffers: &BufferTable,
    stream: usize,
    runs: &[Range<usize>],
    io: &mut dyn StateWrite,
) -> Result<(), Error> {
    io.write(&u32::from(cache.v_trans()).to_le_bytes())?;
    io.write(&n_kept(cache).to_le_bytes())?;
    for table in tables(cache) {
        let Table { rows, elements } = table;
        io.write(&rows.dtype.id().to_le_bytes())?;
        match elements {
            None => io.write(&(rows.row_bytes as u64).to_le_bytes())?,
            Some(n) => {
                io.write(&((rows.row_bytes / n) as u32).to_le_bytes())?;
                io.write(&(n as u32).to_le_bytes())?;
            }
        }
        let buffer = buffers.get(rows.buffer)?;
        for plane in 0..table.n_planes() {
            for run in runs {
                let offset = table.offset(cache, stream, plane, run.start);
                io.write_buffer(buffer, offset, run.len() * table.cell_bytes())?;
            }
        }
    }
    Ok(())
}

/// Runs of neighbouring cells that are written.
fn runs(cache: &KvCache, stream: usize, seq_id: Option<SeqId>) -> Vec<Range<usize>> {
    let cells = &cache.streams.get(stream).cells;
    let last = seq_id.map_or(-1, |s| cells.seq_pos_max(s));
    let hidden = |i: usize| cache.window().is_some_and(|window| window.hides(cells.pos(i), last));
    let mut runs: Vec<Range<usize>> = Vec::new();
    for i in 0..cells.len() {
        if cells.is_free(i) || seq_id.is_some_and(|s| !cells.seq_has(i, s) || hidden(i)) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == i => run.end += 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// Reads a state to its end and checks it, for all of the cache or for one sequence; the cache stays as it is.
pub(crate) fn stage(cache: &KvCache, seq_id: Option<SeqId>, io: &mut dyn StateRead) -> Result<Staged, Error> {
    expect_u32(io, "number of streams", cache.n_stream() as u32)?;
    let mut streams = Vec::new();
    for s in 0..cache.n_stream() {
        let at = io.n_bytes();
        let n_cells = read_u32(io)? as usize;
        if n_cells == 0 {
            continue;
        }
        let stream = seq_id.map_or(s, |seq_id| cache.streams.of_seq(seq_id));
        // A sequence is in one stream.
        let room = if seq_id.is_some() && !streams.is_empty() { 0 } else { room(cache, stream, seq_id) };
        if n_cells > room {
            let expected = format!("at most {room}: the cache has {} cells", cache.n_cells());
            return Err(Error::State { at, what: "number of cells", found: n_cells as i64, expected });
        }
        let cells = read_cells(cache, n_cells, seq_id, io)?;
        let data = io.n_bytes();
        check_data(cache, n_cells, io)?;
        streams.push(StagedStream { stream, cells, data });
    }
    Ok(Staged { seq_id, streams, end: io.n_bytes() })
}

/// Takes a state that was checked, in place of everything or of its sequence. Keys and values are read now.
pub(crate) fn commit(
    cache: &mut KvCache,
    buffers: &mut BufferTable,
    staged: &Staged,
    io: &mut dyn StateRead,
) -> Result<(), Error> {
    match staged.seq_id {
        Some(seq_id) => _ = cache.seq_rm(seq_id, -1, -1)?,
        None => cache.clear(),
    }
    let mut plan = SlotPlan::new();
    for part in &staged.streams {
        plan.clear();
        let placed = place(cache, part, staged.seq_id, &mut plan);
        if let Err(error) = placed.and_then(|()| read_data(cache, buffers, part, plan.slot(0), io)) {
            match staged.seq_id {
                Some(seq_id) => _ = cache.seq_rm(seq_id, -1, -1)?,
                None => cache.clear(),
            }
            return Err(error);
        }
    }
    io.rewind(staged.end)
}

/// Cells that are free once what is to be replaced is gone.
fn room(cache: &KvCache, stream: usize, seq_id: Option<SeqId>) -> usize {
    let Some(seq_id) = seq_id else { return cache.n_cells() };
    let cells = &cache.streams.get(stream).cells;
    let usable = |i: &usize| {
        let mut left = cells.seqs(*i);
        left.remove(seq_id);
        is_usable_by(cells, cache.window(), *i, left)
    };
    (0..cells.len()).filter(usable).count()
}

/// Positions and sequences of the state's cells, checked, with `seq_id` in place of the sequence they had.
fn read_cells(
    cache: &KvCache,
    n_cells: usize,
    seq_id: Option<SeqId>,
    io: &mut dyn StateRead,
) -> Result<Vec<Cell>, Error> {
    let mut cells = Vec::new();
    let n_bytes = n_cells * size_of::<Cell>();
    cells.try_reserve_exact(n_cells).map_err(|_| Error::HostMemory { n_bytes })?;
    for _ in 0..n_cells {
        cells.push(read_cell(cache, seq_id, io)?);
    }
    Ok(cells)
}

/// A cell of one sequence, whose number in the context that wrote it does not matter, or of any that the cache has.
fn read_cell(cache: &KvCache, seq_id: Option<SeqId>, io: &mut dyn StateRead) -> Result<Cell, Error> {
    let n_seq_max = if seq_id.is_some() { MAX_SEQ } else { cache.n_seq_max.min(MAX_SEQ) };
    let state = |at, what, found: i64, expected: String| Error::State { at, what, found, expected };
    let at = io.n_bytes();
    let pos = read_u32(io)? as Pos;
    if pos < 0 {
        return Err(state(at, "position", i64::from(pos), "0 to 2^31 - 1".to_owned()));
    }
    let at = io.n_bytes();
    let n_seqs = read_u32(io)?;
    let most = if seq_id.is_some() || cache.n_stream() > 1 { 1 } else { n_seq_max as u32 };
    if n_seqs == 0 || n_seqs > most {
        return Err(state(at, "number of sequences of a cell", i64::from(n_seqs), format!("1 to {most}")));
    }
    let mut place_2d = [0; 2];
    if cache.n_pos > 1 {
        for p in &mut place_2d {
            *p = read_u32(io)? as Pos;
        }
    }
    let mut seqs = SeqSet::EMPTY;
    for _ in 0..n_seqs {
        let at = io.n_bytes();
        let found = read_u32(io)? as SeqId;
        if found < 0 || found as usize >= n_seq_max || seqs.contains(found) {
            let expected = format!("0..{n_seq_max}, each once");
            return Err(state(at, "sequence of a cell", i64::from(found), expected));
        }
        seqs.insert(found);
    }
    Ok(Cell { pos, place_2d, seqs: seq_id.map_or(seqs, |seq_id| std::iter::once(seq_id).collect()) })
}

/// Checks what is said about keys and values, and that they are all there.
fn check_data(cache: &KvCache, n_cells: usize, io: &mut dyn StateRead) -> Result<(), Error> {
    expect_u32(io, "transposition of values", u32::from(cache.v_trans()))?;
    expect_u32(io, "number of layers", n_kept(cache))?;
    for Table { rows, elements } in tables(cache) {
        expect_u32(io, "type of a layer's rows", rows.dtype.id())?;
        if let Some(n) = elements {
            expect_u32(io, "bytes of an element of values", (rows.row_bytes / n) as u32)?;
            expect_u32(io, "elements of a layer's row of values", n as u32)?;
            io.skip(n_cells * rows.row_bytes)?;
            continue;
        }
        let at = io.n_bytes();
        let mut found = [0; 8];
        io.read(&mut found)?;
        let found = u64::from_le_bytes(found);
        if found != rows.row_bytes as u64 {
            let (found, expected) = (found as i64, rows.row_bytes.to_string());
            return Err(Error::State { at, what: "bytes of a layer's row", found, expected });
        }
        io.skip(n_cells * rows.row_bytes)?;
    }
    Ok(())
}

/// Puts the cells of a stream into the cache: from the first cell on, or, for one sequence, wherever there is room.
fn place(
    cache: &mut KvCache,
    part: &StagedStream,
    seq_id: Option<SeqId>,
    plan: &mut SlotPlan,
) -> Result<(), Error> {
    let (n_tokens, n_pos) = (part.cells.len(), if cache.n_pos > 1 { 3 } else { 1 });
    cache.streams.find_in(part.stream, n_tokens, false, plan)?;
    plan.end_slot();
    let mut ubatch = Ubatch { n_tokens, n_pos, ..Ubatch::default() };
    ubatch.pos.extend(part.cells.iter().map(|cell| cell.pos));
    if n_pos > 1 {
        ubatch.pos.extend(part.cells.iter().map(|cell| cell.place_2d[1]));
        ubatch.pos.extend(part.cells.iter().map(|cell| cell.place_2d[0]));
    }
    ubatch.seq_set.extend(part.cells.iter().map(|cell| cell.seqs));
    cache.streams.apply(0, &ubatch, plan);
    if seq_id.is_none() {
        cache.streams.get_mut(part.stream).head = 0;
    }
    Ok(())
}

/// Reads keys and values into the cells of `slot`, after they were checked.
fn read_data(
    cache: &KvCache,
    buffers: &mut BufferTable,
    part: &StagedStream,
    slot: &[u32],
    io: &mut dyn StateRead,
) -> Result<(), Error> {
    io.rewind(part.data)?;
    io.skip(2 * size_of::<u32>())?;
    // Numbers of cells count through all streams.
    let first = part.stream * cache.n_cells();
    for table in tables(cache) {
        io.skip(size_of::<u32>() + size_of::<u64>())?;
        let buffer = buffers.get_mut(table.rows.buffer)?;
        for plane in 0..table.n_planes() {
            for run in slot.chunk_by(|a, b| a + 1 == *b) {
                let offset = table.offset(cache, part.stream, plane, run[0] as usize - first);
                io.read_buffer(buffer, offset, run.len() * table.cell_bytes())?;
            }
        }
    }
    Ok(())
}

/// Keys or values of a layer: a row for each cell, or, transposed, for each element of a row a plane with one for each cell.
#[derive(Clone, Copy, Debug)]
struct Table {
    rows: Rows,
    /// Elements of a row, if the table is transposed.
    elements: Option<usize>,
}

impl Table {
    fn n_planes(&self) -> usize {
        self.elements.unwrap_or(1)
    }

    /// Bytes of a cell in a plane.
    fn cell_bytes(&self) -> usize {
        self.rows.row_bytes / self.n_planes()
    }

    /// Where the bytes of a cell in a plane begin.
    fn offset(&self, cache: &KvCache, stream: usize, plane: usize, cell: usize) -> usize {
        let first = stream * self.n_planes() + plane;
        self.rows.offset + (first * cache.n_cells() + cell) * self.cell_bytes()
    }
}

/// Layers that the cache keeps.
fn n_kept(cache: &KvCache) -> u32 {
    (0..cache.n_layer()).filter(|il| cache.has_layer(*il)).count() as u32
}

/// Keys of all layers, then values of all layers.
fn tables(cache: &KvCache) -> impl Iterator<Item = Table> + '_ {
    let keys = cache.layers.iter().map(|layer| Table { rows: layer.k_rows(cache.type_k), elements: None });
    let values = cache.layers.iter().map(|layer| Table {
        rows: layer.v_rows(cache.type_v),
        elements: cache.v_trans().then_some(layer.shape.n_embd_v_gqa),
    });
    keys.chain(values).filter(|table| table.rows.row_bytes > 0)
}
