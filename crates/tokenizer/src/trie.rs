//! A trie of byte strings as a double array: one lookup per byte, whatever the number of children.

/// No value, no node.
const NONE: u32 = u32::MAX;
/// Free places looked at for a node with several children before new ones are made.
const MAX_TRIES: usize = 64;

/// One place of the array; never across two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(16))]
struct Unit {
    /// The child by byte `b` is at `base ^ b`, if that place says so.
    base: u32,
    /// The parent, [`NONE`] where nobody lives.
    parent: u32,
    value: u32,
    score: f32,
}

const FREE: Unit = Unit { base: 0, parent: NONE, value: NONE, score: 0.0 };

/// A static map from byte strings to numbers below 2^32 - 1; of equal strings the last one counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    units: Vec<Unit>,
}

/// A place in the trie: what was walked so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    at: u32,
    base: u32,
    value: u32,
    score: f32,
}

impl Node {
    #[inline]
    fn new(at: u32, unit: &Unit) -> Self {
        Self { at, base: unit.base, value: unit.value, score: unit.score }
    }

    /// The value of the string walked so far.
    #[inline]
    pub(crate) fn value(self) -> Option<u32> {
        (self.value != NONE).then_some(self.value)
    }
}

impl Trie {
    /// A trie of `entries`, in any order.
    pub(crate) fn new<'a>(entries: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        Self::with_scores(entries.map(|(text, value)| (text, value, 0.0)))
    }

    /// A trie of `entries`, in any order, whose values have scores.
    pub(crate) fn with_scores<'a>(entries: impl Iterator<Item = (&'a [u8], u32, f32)>) -> Self {
        let mut entries: Vec<(&[u8], u32, f32)> = entries.collect();
        // Stable: among equal strings the order of entry decides.
        entries.sort_by_key(|entry| entry.0);
        Builder::new(&entries).build()
    }

    /// The empty string.
    #[inline]
    pub(crate) fn root(&self) -> Node {
        Node::new(0, self.units.first().unwrap_or(&FREE))
    }

    /// The node one byte further.
    #[inline]
    pub(crate) fn child(&self, node: Node, byte: u8) -> Option<Node> {
        let at = node.base ^ u32::from(byte);
        let unit = self.units.get(at as usize)?;
        (unit.parent == node.at).then_some(Node::new(at, unit))
    }

    /// The strings that `text` begins with, shortest first: lengths, values and scores. The empty string does not count.
    #[inline]
    pub(crate) fn prefixes(&self, text: &[u8]) -> impl Iterator<Item = (usize, u32, f32)> {
        let mut node = self.root();
        let mut bytes = text.iter().enumerate();
        std::iter::from_fn(move || {
            loop {
                let (i, &byte) = bytes.next()?;
                node = self.child(node, byte)?;
                if node.value != NONE {
                    return Some((i + 1, node.value, node.score));
                }
            }
        })
    }

    /// How many bytes of `text` any string goes along with.
    pub(crate) fn depth(&self, text: &[u8]) -> usize {
        let mut node = self.root();
        for (i, &byte) in text.iter().enumerate() {
            match self.child(node, byte) {
                Some(next) => node = next,
                None => return i,
            }
        }
        text.len()
    }

    /// The longest string that `text` begins with: its length and value. The empty string does not count.
    #[inline]
    pub(crate) fn longest(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.prefixes(text).last().map(|(len, value, _)| (len, value))
    }
}

/// Fills the array node by node.
struct Builder<'e, 'a> {
    entries: &'e [(&'a [u8], u32, f32)],
    units: Vec<Unit>,
    /// A free place points to itself, others to a place closer to the next free one.
    next_free: Vec<u32>,
}

impl<'e, 'a> Builder<'e, 'a> {
    fn new(entries: &'e [(&'a [u8], u32, f32)]) -> Self {
        let mut builder = Self { entries, units: Vec::new(), next_free: Vec::new() };
        builder.grow();
        builder.next_free[0] = 1;
        builder
    }

    fn grow(&mut self) {
        let n = self.units.len() + 256;
        self.units.resize(n, FREE);
        self.next_free.extend(self.next_free.len() as u32..n as u32);
    }

    /// First free place from `at` on; the length of the array if there is none.
    fn free_from(&mut self, mut at: u32) -> u32 {
        while let Some(&next) = self.next_free.get(at as usize) {
            if next == at {
                return at;
            }
            if let Some(&after) = self.next_free.get(next as usize) {
                self.next_free[at as usize] = after;
            }
            at = next;
        }
        at
    }

    fn build(mut self) -> Trie {
        // Nodes still to be given children: place, depth, range of entries below.
        let mut todo = vec![(0u32, 0usize, 0usize, self.entries.len())];
        let mut children: Vec<(u8, usize, usize)> = Vec::new();
        while let Some((node, depth, mut first, last)) = todo.pop() {
            while first < last && self.entries[first].0.len() == depth {
                let unit = &mut self.units[node as usize];
                (unit.value, unit.score) = (self.entries[first].1, self.entries[first].2);
                first += 1;
            }
            children.clear();
            while first < last {
                let byte = self.entries[first].0[depth];
                let end = first + self.entries[first..last].partition_point(|entry| entry.0[depth] == byte);
                children.push((byte, first, end));
                first = end;
            }
            if children.is_empty() {
                continue;
            }
            let base = self.place(&children);
            self.units[node as usize].base = base;
            for &(byte, first, end) in &children {
                let at = base ^ u32::from(byte);
                self.next_free[at as usize] = at + 1;
                self.units[at as usize].parent = node;
                todo.push((at, depth + 1, first, end));
            }
        }
        Trie { units: self.units }
    }

    /// A base at which the places of all `children` are free.
    fn place(&mut self, children: &[(u8, usize, usize)]) -> u32 {
        let (head, others) = (u32::from(children[0].0), &children[1..]);
        let mut at = self.free_from(1);
        for _ in 0..MAX_TRIES {
            if at as usize >= self.units.len() {
                break;
            }
            let base = at ^ head;
            let free = |place: u32| self.next_free[place as usize] == place;
            if others.iter().all(|child| free(base ^ u32::from(child.0))) {
                return base;
            }
            at = self.free_from(at + 1);
        }
        let base = self.units.len() as u32;
        self.grow();
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(texts: &[&str]) -> Trie {
        Trie::new(texts.iter().enumerate().map(|(i, text)| (text.as_bytes(), i as u32)))
    }

    #[test]
    fn finds_what_was_entered_and_nothing_else() {
        let texts = ["a", "ab", "abc", "b", "xyz", "\u{2581}", "\u{2581}a", "ab"];
        let trie = trie(&texts);
        assert_eq!(trie.longest(b"abcd"), Some((3, 2)));
        assert_eq!(trie.longest(b"ab"), Some((2, 7)), "the last of equal strings");
        assert_eq!(trie.longest(b"xy"), None);
        assert_eq!(trie.longest(b""), None);
        assert_eq!(trie.longest("\u{2581}b".as_bytes()), Some((3, 5)));
        assert!(Trie::default().longest(b"a").is_none());
    }

    #[test]
    fn many_random_strings() {
        let mut seeded = quipu_testing::SplitMix::new(1);
        let mut random = |n: u64| seeded.below(n);
        let texts: Vec<Vec<u8>> =
            (0..20_000).map(|_| (0..=random(7)).map(|_| random(40) as u8 * 6).collect()).collect();
        let trie = Trie::new(texts.iter().enumerate().map(|(i, text)| (text.as_slice(), i as u32)));
        let map: std::collections::HashMap<&[u8], u32> =
            texts.iter().enumerate().map(|(i, text)| (text.as_slice(), i as u32)).collect();
        for _ in 0..20_000 {
            let text: Vec<u8> = (0..10).map(|_| random(40) as u8 * 6).collect();
            let expected = (1..=10).rev().find_map(|n| Some((n, *map.get(&text[..n])?)));
            assert_eq!(trie.longest(&text), expected);
        }
        for text in &texts {
            assert_eq!(trie.longest(text).map(|found| found.0), Some(text.len()));
        }
    }
}
