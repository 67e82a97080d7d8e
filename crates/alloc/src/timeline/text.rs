//! The picture in characters.

use std::fmt::{self, Display, Write as _};

use super::{Timeline, family};

/// Width of the map in characters, at most one for each node.
const N_COLUMNS: usize = 96;
/// Height of the map of a chunk.
const N_ROWS: usize = 20;
/// Most tensors listed at the peak.
const N_LISTED: usize = 16;
/// Most families in the key.
const N_KEYS: usize = 20;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Display for Timeline {
    /// A map of each chunk, addresses upwards and nodes to the right: each character is the family of tensors that
    /// takes most of its range, `.` where most of it lies idle. Then the key, and who is live at the peak.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes, {} tensors, {} bytes", self.n_nodes, self.residents.len(), self.total_size())?;
        let families = self.families();
        for chunk in 0..self.chunks.len() {
            self.write_map(f, chunk, &families)?;
        }
        for (letter, family) in LETTERS.iter().zip(&families).take(N_KEYS) {
            writeln!(f, "  {} {}", char::from(*letter), printable(family))?;
        }
        if families.len() > N_KEYS {
            writeln!(f, "  and {} more", families.len() - N_KEYS)?;
        }
        self.write_peak(f)
    }
}

impl Timeline {
    fn write_map(&self, f: &mut fmt::Formatter<'_>, chunk: usize, families: &[&str]) -> fmt::Result {
        let info = self.chunks[chunk];
        writeln!(f, "\nbuffer {}, chunk {}: {} bytes", info.buffer, info.index, info.size)?;
        let n_columns = self.n_nodes.min(N_COLUMNS);
        if n_columns == 0 || info.size == 0 {
            return Ok(());
        }
        let n_rows = N_ROWS.min(usize::try_from(info.size).unwrap_or(N_ROWS));
        // Bytes times nodes of each family in each character, by row and column.
        let mut areas: Vec<Vec<(usize, u128)>> = vec![Vec::new(); n_rows * n_columns];
        let row_start = |row: usize| (u128::from(info.size) * row as u128 / n_rows as u128) as u64;
        let column_start = |column: usize| self.n_nodes * column / n_columns;
        for r in self.residents.iter().filter(|r| r.chunk == chunk) {
            let Some(letter) = families.iter().position(|&name| name == family(&r.name)) else { continue };
            let end = r.offset.saturating_add(r.size);
            let rows = (0..n_rows).filter(|&row| row_start(row) < end && r.offset < row_start(row + 1));
            for row in rows {
                let bytes = end.min(row_start(row + 1)) - r.offset.max(row_start(row));
                let first = (r.life.first * n_columns / self.n_nodes).saturating_sub(1);
                for column in first..n_columns {
                    let (from, to) = (column_start(column), column_start(column + 1));
                    if from > r.life.last {
                        break;
                    }
                    let nodes = to.min(r.life.last + 1).saturating_sub(from.max(r.life.first));
                    let area = u128::from(bytes) * nodes as u128;
                    let cell = &mut areas[row * n_columns + column];
                    match cell.iter_mut().find(|(other, _)| *other == letter) {
                        Some((_, sum)) => *sum += area,
                        None => cell.push((letter, area)),
                    }
                }
            }
        }
        for row in (0..n_rows).rev() {
            write!(f, "{:>14} |", row_start(row))?;
            for column in 0..n_columns {
                let bytes = row_start(row + 1) - row_start(row);
                let nodes = column_start(column + 1) - column_start(column);
                let whole = u128::from(bytes) * nodes as u128;
                let cell = &areas[row * n_columns + column];
                let used = cell.iter().map(|(_, area)| area).sum::<u128>();
                let most = cell.iter().max_by_key(|(letter, area)| (*area, std::cmp::Reverse(*letter)));
                let letter = match most {
                    Some(&(letter, area)) if area > 0 && area >= whole.saturating_sub(used) => {
                        LETTERS.get(letter).copied().unwrap_or(b'*')
                    }
                    _ => b'.',
                };
                f.write_char(char::from(letter))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "{:>14}  {:<2$}{3}", "node", 0, n_columns.saturating_sub(4), self.n_nodes - 1)
    }

    fn write_peak(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((node, bytes)) = self.peak() else { return Ok(()) };
        writeln!(f, "\nmost bytes live: {bytes}, at node {node}")?;
        writeln!(f, "{:>14} {:>14} {:>5} {:>11}", "bytes", "offset", "chunk", "nodes")?;
        let live = self.live_at(node);
        for r in live.iter().take(N_LISTED) {
            let nodes = format!("{}-{}", r.life.first, r.life.last);
            let name = printable(&r.name);
            writeln!(f, "{:>14} {:>14} {:>5} {nodes:>11}  {name}", r.size, r.offset, r.chunk)?;
        }
        if live.len() > N_LISTED {
            writeln!(f, "{:>14} more", live.len() - N_LISTED)?;
        }
        Ok(())
    }
}

/// Without control characters, which names from files may hold.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
