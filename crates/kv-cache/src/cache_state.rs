//! The state of a unified cache in bytes, as the reference lays it out (`llama_kv_cache::state_write`, `state_read`):
//!
//! ```text
//! u32 streams (1)
//! u32 cells; nothing follows if 0
//! per cell: i32 position, u32 number of sequences, i32 each sequence
//! u32 values are transposed (0), u32 layers
//! per layer: i32 type of keys, u64 bytes of a row, one row per cell
//! per layer: i32 type of values, u64 bytes of a row, one row per cell
//! ```

use std::ops::Range;

use quipu_backend::BufferTable;

use crate::cache::Rows;
use crate::slot;
use crate::state::{expect_u32, read_u32};
use crate::{Error, KvCache, MAX_SEQ, Memory, Pos, SeqId, SeqSet, StateRead, StateWrite};

/// Streams of a unified cache.
const N_STREAM: u32 = 1;

/// A cell of a state: its position and sequences.
type Cell = (Pos, SeqSet);

/// Writes the cells of one sequence or of all.
pub(crate) fn write(
    cache: &KvCache,
    buffers: &BufferTable,
    seq_id: Option<SeqId>,
    io: &mut dyn StateWrite,
) -> Result<(), Error> {
    if cache.has_shift() {
        return Err(Error::PendingShift);
    }
    let runs = runs(cache, seq_id);
    let n_cells: usize = runs.iter().map(Range::len).sum();
    io.write(&N_STREAM.to_le_bytes())?;
    io.write(&(n_cells as u32).to_le_bytes())?;
    if n_cells == 0 {
        return Ok(());
    }
    for i in runs.iter().cloned().flatten() {
        let seqs = cache.cells().seqs(i);
        let written = |s: &SeqId| seq_id.is_none_or(|only| only == *s);
        io.write(&cache.cells().pos(i).to_le_bytes())?;
        io.write(&(seqs.iter().filter(written).count() as u32).to_le_bytes())?;
        for s in seqs.iter().filter(written) {
            io.write(&s.to_le_bytes())?;
        }
    }
    io.write(&0u32.to_le_bytes())?;
    io.write(&(cache.n_layer() as u32).to_le_bytes())?;
    for rows in all_rows(cache) {
        io.write(&rows.dtype.id().to_le_bytes())?;
        io.write(&(rows.row_bytes as u64).to_le_bytes())?;
        let buffer = buffers.get(rows.buffer)?;
        for run in &runs {
            io.write_buffer(buffer, rows.offset + run.start * rows.row_bytes, run.len() * rows.row_bytes)?;
        }
    }
    Ok(())
}

/// Reads cells in place of everything, or in place of one sequence's.
pub(crate) fn read(
    cache: &mut KvCache,
    buffers: &mut BufferTable,
    seq_id: Option<SeqId>,
    io: &mut dyn StateRead,
) -> Result<(), Error> {
    let cells = read_cells(cache, seq_id, io)?;
    let data = io.n_bytes();
    check_data(cache, cells.len(), io)?;
    let end = io.n_bytes();
    // Everything is there and fits. From here on the cache changes.
    let mut slot = Vec::new();
    if let Some(seq_id) = seq_id {
        cache.seq_rm(seq_id, -1, -1)?;
        slot::find_slot(cache.cells(), cache.head(), cells.len(), &mut slot)?;
    } else {
        cache.clear();
        slot.extend(0..cells.len() as u32);
    }
    io.rewind(data)?;
    read_data(cache, buffers, &slot, io)?;
    cache.place(&slot, &cells, seq_id.is_some());
    debug_assert_eq!(io.n_bytes(), end, "both passes read the same bytes");
    Ok(())
}

/// Runs of neighbouring cells that are written.
fn runs(cache: &KvCache, seq_id: Option<SeqId>) -> Vec<Range<usize>> {
    let cells = cache.cells();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for i in 0..cells.len() {
        if cells.is_free(i) || seq_id.is_some_and(|s| !cells.seq_has(i, s)) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == i => run.end += 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// Positions and sequences of the state's cells, checked, with `seq_id` in place of the sequence they had.
fn read_cells(cache: &KvCache, seq_id: Option<SeqId>, io: &mut dyn StateRead) -> Result<Vec<Cell>, Error> {
    expect_u32(io, "number of streams", N_STREAM)?;
    let at = io.n_bytes();
    let n_cells = read_u32(io)? as usize;
    let replaced = cache.n_replaced(seq_id);
    let room = cache.n_cells() - cache.cells().n_used() + replaced;
    if n_cells > room {
        let expected = format!("at most {room}: the cache has {} cells", cache.n_cells());
        return Err(Error::State { at, what: "number of cells", found: n_cells as i64, expected });
    }
    let mut cells = Vec::new();
    let n_bytes = n_cells * size_of::<Cell>();
    cells.try_reserve_exact(n_cells).map_err(|_| Error::HostMemory { n_bytes })?;
    for _ in 0..n_cells {
        cells.push(read_cell(cache.n_seq_max, seq_id, io)?);
    }
    Ok(cells)
}

/// A cell of one sequence, whose number in the context that wrote it does not matter, or of any below `n_seq_max`.
fn read_cell(n_seq_max: usize, seq_id: Option<SeqId>, io: &mut dyn StateRead) -> Result<Cell, Error> {
    let n_seq_max = if seq_id.is_some() { MAX_SEQ } else { n_seq_max.min(MAX_SEQ) };
    let state = |at, what, found: i64, expected: String| Error::State { at, what, found, expected };
    let at = io.n_bytes();
    let pos = read_u32(io)? as Pos;
    if pos < 0 {
        return Err(state(at, "position", i64::from(pos), "0 to 2^31 - 1".to_owned()));
    }
    let at = io.n_bytes();
    let n_seqs = read_u32(io)?;
    let most = if seq_id.is_some() { 1 } else { n_seq_max as u32 };
    if n_seqs == 0 || n_seqs > most {
        return Err(state(at, "number of sequences of a cell", i64::from(n_seqs), format!("1 to {most}")));
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
    Ok((pos, seq_id.map_or(seqs, |seq_id| std::iter::once(seq_id).collect())))
}

/// Checks what is said about keys and values, and that they are all there.
fn check_data(cache: &KvCache, n_cells: usize, io: &mut dyn StateRead) -> Result<(), Error> {
    if n_cells == 0 {
        return Ok(());
    }
    expect_u32(io, "transposition of values", 0)?;
    expect_u32(io, "number of layers", cache.n_layer() as u32)?;
    for rows in all_rows(cache) {
        expect_u32(io, "type of a layer's rows", rows.dtype.id())?;
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

/// Reads keys and values into the cells of `slot`, after they were checked.
fn read_data(
    cache: &KvCache,
    buffers: &mut BufferTable,
    slot: &[u32],
    io: &mut dyn StateRead,
) -> Result<(), Error> {
    if slot.is_empty() {
        return Ok(());
    }
    io.skip(2 * size_of::<u32>())?;
    for rows in all_rows(cache) {
        io.skip(size_of::<u32>() + size_of::<u64>())?;
        let buffer = buffers.get_mut(rows.buffer)?;
        for run in slot.chunk_by(|a, b| a + 1 == *b) {
            let offset = rows.offset + run[0] as usize * rows.row_bytes;
            io.read_buffer(buffer, offset, run.len() * rows.row_bytes)?;
        }
    }
    Ok(())
}

/// Keys of all layers, then values of all layers.
fn all_rows(cache: &KvCache) -> impl Iterator<Item = Rows> + '_ {
    let keys = cache.layers.iter().map(|layer| layer.k_rows(cache.type_k));
    keys.chain(cache.layers.iter().map(|layer| layer.v_rows(cache.type_v)))
}
