//! Grids: the sets of points that groups of weights are rounded to, and finding the point for a group.

use std::sync::OnceLock;

use super::tables;

/// A grid of points with `N` levels each.
#[derive(Debug)]
pub(super) struct Grid<const N: usize> {
    /// Levels of every point.
    pub levels: Vec<[u8; N]>,
    /// By packed levels: the number of that point, or where its neighbours are.
    map: Vec<Place>,
    /// Numbers of points close to the groups that are none, list after list.
    neighbours: Vec<u16>,
    /// Bits of a level when packed.
    bits: u32,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Point(u16),
    Neighbours { start: u32, len: u32 },
}

/// What a group of levels is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// The point of this number.
    Point(usize),
    /// No point; those close to it, by distance and then number. Never empty.
    Near(&'a [u16]),
}

impl<const N: usize> Grid<N> {
    /// Unpacks `points`. A group that is none gets the points at the `n_distances` smallest distances, where its
    /// levels are below `n_levels`; with others no group is looked up. Answers to `iq2xs_init_impl` and
    /// `iq3xs_init_impl`.
    fn new(points: &[u16], bits: u32, n_levels: u8, n_distances: usize) -> Grid<N> {
        let unpack = |packed: usize| -> [u8; N] {
            std::array::from_fn(|i| (packed >> (bits * i as u32) & ((1 << bits) - 1)) as u8)
        };
        let levels: Vec<[u8; N]> = points.iter().map(|&point| unpack(usize::from(point))).collect();
        let mut map = vec![Place::Neighbours { start: 0, len: 0 }; 1 << (bits * N as u32)];
        for (number, &point) in points.iter().enumerate() {
            map[usize::from(point)] = Place::Point(number as u16);
        }
        let mut neighbours = Vec::new();
        let mut distances = vec![0u32; levels.len()];
        for (packed, place) in map.iter_mut().enumerate() {
            let group = unpack(packed);
            if matches!(place, Place::Point(_)) || group.iter().any(|&level| level >= n_levels) {
                continue;
            }
            for (distance, point) in distances.iter_mut().zip(&levels) {
                *distance = group.iter().zip(point).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum();
            }
            let start = neighbours.len();
            let mut least = 0;
            for _ in 0..n_distances {
                let Some(next) = distances.iter().copied().filter(|d| *d >= least).min() else { break };
                let at_next =
                    |(number, distance): (usize, &u32)| (*distance == next).then_some(number as u16);
                neighbours.extend(distances.iter().enumerate().filter_map(at_next));
                least = next + 1;
            }
            *place = Place::Neighbours { start: start as u32, len: (neighbours.len() - start) as u32 };
        }
        Grid { levels, map, neighbours, bits }
    }

    /// The point with these levels, or those near it.
    pub fn find(&self, levels: &[u8; N]) -> Found<'_> {
        let packed = levels.iter().rev().fold(0, |packed, &level| packed << self.bits | usize::from(level));
        match self.map[packed] {
            Place::Point(number) => Found::Point(usize::from(number)),
            Place::Neighbours { start, len } => {
                Found::Near(&self.neighbours[start as usize..][..len as usize])
            }
        }
    }

    /// The point of these levels; 0 for levels that are none, which no search ends at.
    pub fn number(&self, levels: &[u8; N]) -> usize {
        if let Found::Point(number) = self.find(levels) { number } else { 0 }
    }
}

/// Levels 0 to 2 stand for 1, 3 and 5 while quantising.
pub(super) fn iq2_xxs() -> &'static Grid<8> {
    static GRID: OnceLock<Grid<8>> = OnceLock::new();
    GRID.get_or_init(|| Grid::new(&tables::IQ2_XXS, 2, 3, 2))
}

/// As [`iq2_xxs`].
pub(super) fn iq2_xs() -> &'static Grid<8> {
    static GRID: OnceLock<Grid<8>> = OnceLock::new();
    GRID.get_or_init(|| Grid::new(&tables::IQ2_XS, 2, 3, 2))
}

/// As [`iq2_xxs`].
pub(super) fn iq2_s() -> &'static Grid<8> {
    static GRID: OnceLock<Grid<8>> = OnceLock::new();
    GRID.get_or_init(|| Grid::new(&tables::IQ2_S, 2, 3, 1))
}

/// Levels 0 to 2 stand for -1, 0 and 1.
pub(super) fn iq1() -> &'static Grid<8> {
    static GRID: OnceLock<Grid<8>> = OnceLock::new();
    GRID.get_or_init(|| Grid::new(&tables::IQ1, 2, 3, 3))
}

/// Levels 0 to 7 stand for the odd numbers from 1 to 15 while quantising.
pub(super) fn iq3_xxs() -> &'static Grid<4> {
    static GRID: OnceLock<Grid<4>> = OnceLock::new();
    GRID.get_or_init(|| Grid::new(&tables::IQ3_XXS, 3, 8, 2))
}

/// As [`iq3_xxs`].
pub(super) fn iq3_s() -> &'static Grid<4> {
    static GRID: OnceLock<Grid<4>> = OnceLock::new();
    GRID.get_or_init(|| Grid::new(&tables::IQ3_S, 3, 8, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_found_and_others_have_neighbours() {
        fn check<const N: usize>(grid: &Grid<N>, n_levels: u8) {
            for (number, levels) in grid.levels.iter().enumerate() {
                assert_eq!(grid.number(levels), number);
            }
            assert_eq!(grid.levels[0], [0; N]);
            let all = (0..usize::from(n_levels).pow(N as u32)).map(|n| -> [u8; N] {
                std::array::from_fn(|i| {
                    (n / usize::from(n_levels).pow(i as u32) % usize::from(n_levels)) as u8
                })
            });
            for levels in all {
                if let Found::Near(near) = grid.find(&levels) {
                    assert!(!near.is_empty(), "{levels:?}");
                }
            }
        }
        check(iq2_xxs(), 3);
        check(iq2_xs(), 3);
        check(iq2_s(), 3);
        check(iq1(), 3);
        check(iq3_xxs(), 8);
        check(iq3_s(), 8);
    }
}
