//! Sets of code points, as sorted ranges.

/// The largest code point.
const MAX: u32 = 0x10_FFFF;
/// What stands before the first character while a pattern is matched.
pub(super) const BEGIN: u32 = MAX + 1;
/// What stands behind the last character while a pattern is matched.
pub(super) const END: u32 = MAX + 2;

/// Inclusive ranges, sorted, apart by at least one code point.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    pub(super) fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        let mut out: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match out.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => out.push((low, high)),
            }
        }
        Self(out)
    }

    pub(super) fn of(c: u32) -> Self {
        Self(vec![(c, c)])
    }

    /// All Unicode scalar values: what a string can hold.
    pub(super) fn any() -> Self {
        Self(vec![(0, 0xD7FF), (0xE000, MAX)])
    }

    /// Those, and the two that stand at the ends of a string.
    pub(super) fn all() -> Self {
        Self(vec![(0, END)])
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, c: u32) -> bool {
        let i = self.0.partition_point(|range| range.1 < c);
        self.0.get(i).is_some_and(|range| range.0 <= c)
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self::new([self.0.as_slice(), &other.0].concat())
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut i, mut j, mut out) = (0, 0, Vec::new());
        while let (Some(a), Some(b)) = (self.0.get(i), other.0.get(j)) {
            let (low, high) = (a.0.max(b.0), a.1.min(b.1));
            if low <= high {
                out.push((low, high));
            }
            if a.1 < b.1 { i += 1 } else { j += 1 }
        }
        Self::new(out)
    }

    /// The scalar values that are not in it.
    pub(super) fn complement(&self) -> Self {
        let mut next = 0;
        let mut out = Vec::new();
        for &(low, high) in &self.0 {
            if next < low {
                out.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= MAX {
            out.push((next, MAX));
        }
        Self(out).intersection(&Self::any())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sets() {
        let digits = CharSet::new(vec![(53, 57), (48, 52)]);
        assert_eq!(digits.ranges(), [(48, 57)]);
        assert!(digits.has(48) && digits.has(57) && !digits.has(58) && !digits.has(47));
        let rest = digits.complement();
        assert!(!rest.has(50) && !rest.has(0xD800) && rest.has(0xE000) && rest.has(MAX) && !rest.has(BEGIN));
        assert_eq!(rest.union(&digits), CharSet::any());
        assert!(rest.intersection(&digits).is_empty());
        assert_eq!(rest.complement(), digits);
    }
}
