//! How far back attention sees.

use crate::Pos;

/// A window of positions (`n_swa`, `swa_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions it sees, at least 1.
    pub n_swa: usize,
    /// How they are counted.
    pub kind: WindowKind,
}

/// How windows are counted (`llama_swa_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowKind {
    /// The last `n_swa` positions, the token's own among them.
    Standard,
    /// The positions of the token's chunk; chunks are `n_swa` long and begin at multiples of that.
    Chunked,
    /// Positions at most `n_swa / 2` away, before and after.
    Symmetric,
}

impl Window {
    /// Whether a token at position `of` does not see position `pos` (`is_masked_swa`). Whether it comes later does not count here.
    pub fn hides(self, pos: Pos, of: Pos) -> bool {
        let (pos, of, n_swa) = (i64::from(pos), i64::from(of), self.n_swa.max(1) as i64);
        match self.kind {
            WindowKind::Standard => of - pos >= n_swa,
            WindowKind::Chunked => pos < of / n_swa * n_swa,
            WindowKind::Symmetric => (of - pos).abs() > n_swa / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The positions up to 9 that a token at position `of` sees.
    fn seen(kind: WindowKind, n_swa: usize, of: Pos) -> Vec<Pos> {
        (0..10).filter(|pos| !Window { n_swa, kind }.hides(*pos, of)).collect()
    }

    #[test]
    fn windows_are_counted_in_three_ways() {
        assert_eq!(seen(WindowKind::Standard, 3, 5), [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(seen(WindowKind::Chunked, 3, 5), [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(seen(WindowKind::Chunked, 3, 6), [6, 7, 8, 9]);
        assert_eq!(seen(WindowKind::Symmetric, 5, 5), [3, 4, 5, 6, 7]);
        assert_eq!(seen(WindowKind::Symmetric, 4, 1), [0, 1, 2, 3]);
        assert!(!Window { n_swa: usize::MAX >> 1, kind: WindowKind::Standard }.hides(0, Pos::MAX));
    }
}
