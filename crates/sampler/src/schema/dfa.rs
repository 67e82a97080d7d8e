//! Deterministic automata of sets of strings.

use std::collections::{BTreeMap, HashMap};

use super::charset::CharSet;

/// An automaton: state 0 is the start. Only states from which an end can be reached are there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Dfa {
    /// For each state the sets of code points that lead on, and where to.
    pub(super) next: Vec<Vec<(CharSet, usize)>>,
    pub(super) accepts: Vec<bool>,
}

impl Dfa {
    /// From a table: for each state where the kinds of characters lead, `usize::MAX` being nowhere.
    pub(super) fn new(next: &[Vec<usize>], accepts: &[bool], alphabet: &[(u32, CharSet)]) -> Self {
        assemble(next, accepts, &merge(next, accepts), alphabet)
    }

    /// Whether no string is accepted.
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Lengths of the shortest and the longest string of an automaton that accepts any; `None` where there is no longest.
    pub(super) fn lengths(&self) -> (u64, Option<u64>) {
        // Breadth first for the shortest.
        let n = self.next.len();
        let mut seen = vec![false; n];
        let (mut level, mut shortest) = (vec![0], 0);
        while !level.is_empty() && !level.iter().any(|&state| self.accepts[state]) {
            let mut below = Vec::new();
            for state in level {
                for &(_, to) in &self.next[state] {
                    if !std::mem::replace(&mut seen[to], true) {
                        below.push(to);
                    }
                }
            }
            level = below;
            shortest += 1;
        }
        // States in topological order for the longest.
        let mut n_before = vec![0usize; n];
        for &(_, to) in self.next.iter().flatten() {
            n_before[to] += 1;
        }
        let mut longest = vec![0u64; n];
        let mut todo: Vec<usize> = (0..n).filter(|&state| n_before[state] == 0).collect();
        let mut n_done = 0;
        while let Some(state) = todo.pop() {
            n_done += 1;
            for &(_, to) in &self.next[state] {
                longest[to] = longest[to].max(longest[state] + 1);
                n_before[to] -= 1;
                if n_before[to] == 0 {
                    todo.push(to);
                }
            }
        }
        (shortest, (n_done == n).then(|| longest.into_iter().max().unwrap_or(0)))
    }

    /// The characters and the bounds, if the strings are all those of so many characters of one set.
    pub(super) fn as_run(&self) -> Option<(CharSet, u64, Option<u64>)> {
        let (set, _) = self.next.first()?.first()?;
        let (mut at, mut n, mut least) = (0, 0u64, None);
        loop {
            if self.accepts[at] {
                least = least.or(Some(n));
            } else if least.is_some() {
                return None;
            }
            match &self.next[at][..] {
                [] => return Some((set.clone(), least?, Some(n))),
                [(same, to)] if same == set && *to == at => {
                    return Some((set.clone(), least.filter(|least| *least == n)?, None));
                }
                [(same, to)] if same == set && *to > at => at = *to,
                _ => return None,
            }
            n += 1;
        }
    }

    /// All strings, if there are no more than `most`.
    pub(super) fn words(&self, most: usize) -> Option<Vec<String>> {
        let mut out = Vec::new();
        let mut todo = if self.is_empty() { Vec::new() } else { vec![(0, String::new())] };
        while let Some((state, text)) = todo.pop() {
            if text.len() > 1000 || todo.len() > 4 * most {
                return None;
            }
            if self.accepts[state] {
                out.push(text.clone());
                if out.len() > most {
                    return None;
                }
            }
            for (set, to) in &self.next[state] {
                for &(low, high) in set.ranges() {
                    if (high - low) as usize >= most {
                        return None;
                    }
                    for c in (low..=high).filter_map(char::from_u32) {
                        todo.push((*to, format!("{text}{c}")));
                    }
                }
            }
        }
        out.sort_unstable();
        Some(out)
    }
}

/// States up to which equal ones are looked for.
const MERGE_UP_TO: usize = 2000;

/// The block of each state: states of a block accept the same strings.
fn merge(next: &[Vec<usize>], accepts: &[bool]) -> Vec<usize> {
    if next.len() > MERGE_UP_TO {
        return (0..next.len()).collect();
    }
    let mut blocks: Vec<usize> = accepts.iter().map(|&a| usize::from(a)).collect();
    let mut n = 0;
    loop {
        let mut known: HashMap<(usize, Vec<usize>), usize> = HashMap::new();
        let fresh: Vec<usize> = (0..next.len())
            .map(|i| {
                let row = next[i].iter().map(|&to| blocks.get(to).copied().unwrap_or(usize::MAX)).collect();
                let n = known.len();
                *known.entry((blocks[i], row)).or_insert(n)
            })
            .collect();
        blocks = fresh;
        if known.len() == n {
            return blocks;
        }
        n = known.len();
    }
}

/// The automaton of the blocks, without those that lead nowhere.
fn assemble(next: &[Vec<usize>], accepts: &[bool], blocks: &[usize], alphabet: &[(u32, CharSet)]) -> Dfa {
    let n_blocks = blocks.iter().max().map_or(0, |most| most + 1);
    let mut first = vec![usize::MAX; n_blocks];
    for (state, &block) in blocks.iter().enumerate().rev() {
        first[block] = state;
    }
    // Alive: an end can be reached, found backwards.
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); n_blocks];
    let mut alive = vec![false; n_blocks];
    let mut todo = Vec::new();
    for block in 0..n_blocks {
        for &to in next[first[block]].iter().filter(|to| **to != usize::MAX) {
            back[blocks[to]].push(block);
        }
        if accepts[first[block]] {
            alive[block] = true;
            todo.push(block);
        }
    }
    while let Some(block) = todo.pop() {
        for &from in &back[block] {
            if !alive[from] {
                alive[from] = true;
                todo.push(from);
            }
        }
    }
    let mut out = Dfa { next: Vec::new(), accepts: Vec::new() };
    let Some(&start) = blocks.first().filter(|start| alive[**start]) else { return out };
    let mut order = vec![start];
    let mut numbers = HashMap::from([(start, 0usize)]);
    while let Some(&block) = order.get(out.next.len()) {
        let mut targets: BTreeMap<usize, Vec<(u32, u32)>> = BTreeMap::new();
        for (to, (_, set)) in next[first[block]].iter().zip(alphabet) {
            if let Some(&to) = blocks.get(*to).filter(|to| alive[**to]) {
                let to = *numbers.entry(to).or_insert_with(|| {
                    order.push(to);
                    order.len() - 1
                });
                targets.entry(to).or_default().extend_from_slice(set.ranges());
            }
        }
        out.next.push(targets.into_iter().map(|(to, ranges)| (CharSet::new(ranges), to)).collect());
        out.accepts.push(accepts[first[block]]);
    }
    out
}
