//! Recurrent states in bytes, as the reference lays them out (`llama_memory_recurrent::state_write`, `state_read`):
//!
//! ```text
//! u32 cells
//! per cell: i32 position, u32 number of sequences (0 in the state of one sequence), i32 each sequence
//! u32 states are transposed (0), u32 layers
//! per recurrent layer: i32 type of last inputs, u64 bytes of a row, one row per cell
//! per recurrent layer: i32 type of states, u64 bytes of a row, one row per cell
//! ```
//!
//! Reading is done in two steps, as for caches: everything is checked first.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::DType;

use crate::cells::PosRange;
use crate::recurrent::{StatePart, StateRows};
use crate::state::{expect_u32, read_u32};
use crate::{Error, Memory, Pos, RecurrentMemory, SeqId, SeqSet, StateRead, StateWrite};

/// A state that was checked and fits; its rows begin at byte `data`.
#[derive(Debug)]
pub(crate) struct StagedStates {
    seq_id: Option<SeqId>,
    cells: Vec<(Pos, SeqSet)>,
    data: usize,
    end: usize,
}

/// Writes the cells of one sequence or of all.
pub(crate) fn write(
    memory: &RecurrentMemory,
    buffers: &BufferTable,
    seq_id: Option<SeqId>,
    io: &mut dyn StateWrite,
) -> Result<(), Error> {
    let cells = || {
        let all = memory.cells.iter().enumerate();
        all.filter(|(_, cell)| seq_id.map_or(!cell.seqs.is_empty(), |seq_id| cell.seqs.contains(seq_id)))
    };
    io.write(&(cells().count() as u32).to_le_bytes())?;
    for (_, cell) in cells() {
        io.write(&cell.pos.to_le_bytes())?;
        let seqs = if seq_id.is_some() { SeqSet::EMPTY } else { cell.seqs };
        io.write(&(seqs.len() as u32).to_le_bytes())?;
        seqs.iter().try_for_each(|s| io.write(&s.to_le_bytes()))?;
    }
    io.write(&0u32.to_le_bytes())?;
    io.write(&(memory.n_layer() as u32).to_le_bytes())?;
    for rows in all_rows(memory) {
        io.write(&DType::F32.id().to_le_bytes())?;
        io.write(&(rows.row_bytes() as u64).to_le_bytes())?;
        let buffer = buffers.get(rows.buffer)?;
        for (i, _) in cells() {
            let offset = rows.offset + memory.cells.row(i, seq_id) * rows.row_bytes();
            io.write_buffer(buffer, offset, rows.row_bytes())?;
        }
    }
    Ok(())
}

/// Reads a state to its end and checks it, for all sequences or for one; the memory stays as it is.
pub(crate) fn stage(
    memory: &RecurrentMemory,
    seq_id: Option<SeqId>,
    io: &mut dyn StateRead,
) -> Result<StagedStates, Error> {
    let at = io.n_bytes();
    let n_cells = read_u32(io)? as usize;
    let most = if seq_id.is_some() { 1 } else { memory.cells.len() };
    if n_cells > most {
        let expected = format!("at most {most}");
        return Err(Error::State { at, what: "number of states", found: n_cells as i64, expected });
    }
    let mut cells = Vec::with_capacity(n_cells);
    let mut known = SeqSet::EMPTY;
    for _ in 0..n_cells {
        let pos = read_u32(io)? as Pos;
        let seqs = match seq_id {
            Some(seq_id) => {
                expect_u32(io, "number of sequences of a state", 0)?;
                std::iter::once(seq_id).collect()
            }
            None => read_seqs(memory, &mut known, io)?,
        };
        cells.push((pos, seqs));
    }
    let data = io.n_bytes();
    expect_u32(io, "transposition of states", 0)?;
    expect_u32(io, "number of layers", memory.n_layer() as u32)?;
    for rows in all_rows(memory) {
        expect_u32(io, "type of a layer's rows", DType::F32.id())?;
        let at = io.n_bytes();
        let mut found = [0; 8];
        io.read(&mut found)?;
        let found = u64::from_le_bytes(found);
        if found != rows.row_bytes() as u64 {
            let (found, expected) = (found as i64, rows.row_bytes().to_string());
            return Err(Error::State { at, what: "bytes of a layer's row", found, expected });
        }
        io.skip(n_cells * rows.row_bytes())?;
    }
    Ok(StagedStates { seq_id, cells, data, end: io.n_bytes() })
}

/// The sequences of a cell: at least one, none that another cell has.
fn read_seqs(memory: &RecurrentMemory, known: &mut SeqSet, io: &mut dyn StateRead) -> Result<SeqSet, Error> {
    let n_seq = memory.n_seq_max.min(memory.cells.len());
    let at = io.n_bytes();
    let n_seqs = read_u32(io)?;
    if n_seqs == 0 || n_seqs as usize > n_seq {
        let (found, expected) = (i64::from(n_seqs), format!("1 to {n_seq}"));
        return Err(Error::State { at, what: "number of sequences of a state", found, expected });
    }
    let mut seqs = SeqSet::EMPTY;
    for _ in 0..n_seqs {
        let at = io.n_bytes();
        let found = read_u32(io)? as SeqId;
        if usize::try_from(found).map_or(true, |s| s >= n_seq) || known.contains(found) {
            let (found, expected) = (i64::from(found), format!("0..{n_seq}, each once"));
            return Err(Error::State { at, what: "sequence of a state", found, expected });
        }
        known.insert(found);
        seqs.insert(found);
    }
    Ok(seqs)
}

/// Takes a state that was checked, in place of everything or of its sequence. Rows are read now.
pub(crate) fn commit(
    memory: &mut RecurrentMemory,
    buffers: &mut BufferTable,
    staged: &StagedStates,
    io: &mut dyn StateRead,
) -> Result<(), Error> {
    forget(memory, staged);
    let done = place(memory, staged).and_then(|()| read_rows(memory, buffers, staged, io));
    if done.is_err() {
        forget(memory, staged);
    }
    done?;
    io.rewind(staged.end)
}

/// Makes room for the state.
fn forget(memory: &mut RecurrentMemory, staged: &StagedStates) {
    match staged.seq_id {
        Some(seq_id) => _ = memory.cells.seq_rm(seq_id, PosRange::new(-1, -1)),
        None => memory.clear(),
    }
}

fn place(memory: &mut RecurrentMemory, staged: &StagedStates) -> Result<(), Error> {
    let (Some(seq_id), [(pos, seqs)]) = (staged.seq_id, staged.cells.as_slice()) else {
        if staged.seq_id.is_none() {
            memory.cells.restore(&staged.cells);
        }
        return Ok(());
    };
    let (pos, seq_id, seq_set) = (vec![*pos], vec![seq_id], vec![*seqs]);
    let (n_tokens, n_seqs, n_seq_tokens, equal_seqs) = (1, 1, 1, true);
    let ubatch =
        Ubatch { equal_seqs, n_tokens, n_seq_tokens, n_seqs, pos, seq_id, seq_set, ..Ubatch::default() };
    memory.cells.place(&ubatch)
}

/// Reads the rows of the cells from the head on, after they were checked.
fn read_rows(
    memory: &RecurrentMemory,
    buffers: &mut BufferTable,
    staged: &StagedStates,
    io: &mut dyn StateRead,
) -> Result<(), Error> {
    io.rewind(staged.data)?;
    io.skip(2 * size_of::<u32>())?;
    for rows in all_rows(memory) {
        io.skip(size_of::<u32>() + size_of::<u64>())?;
        let buffer = buffers.get_mut(rows.buffer)?;
        let offset = rows.offset + memory.head() * rows.row_bytes();
        io.read_buffer(buffer, offset, staged.cells.len() * rows.row_bytes())?;
    }
    Ok(())
}

/// Last inputs of all recurrent layers, then states.
fn all_rows(memory: &RecurrentMemory) -> impl Iterator<Item = StateRows> + '_ {
    let parts = [StatePart::Inputs, StatePart::State];
    parts
        .into_iter()
        .flat_map(move |part| (0..memory.n_layer()).filter_map(move |il| memory.rows(il, part).ok()))
}
