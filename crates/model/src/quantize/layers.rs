//! Layer numbers in tensor names: reading them, ordering by them, and leaving layers out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// The number after a leading `blk.`, -1 without one (as `sscanf` with "blk.%d." leaves it).
pub(super) fn block_number_or_minus_one(name: &str) -> i64 {
    block_number(name).unwrap_or(-1)
}

/// The number after a leading `blk.`.
pub(super) fn block_number(name: &str) -> Option<i64> {
    let rest = name.strip_prefix("blk.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// The order in which the reference visits tensors: those outside the layers first, then layer by layer, by
/// name within. Answers to `weight_name_comparer`.
pub(super) fn by_layer_and_name(a: &str, b: &str) -> Ordering {
    block_number_or_minus_one(a)
        .cmp(&block_number_or_minus_one(b))
        .then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// New names for the tensors of a model that loses layers. Answers to `remap_layer`.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    prune: BTreeSet<u32>,
    /// New number of each layer met so far; `None` for those left out.
    numbers: BTreeMap<u32, Option<u32>>,
    next: u32,
}

impl Pruning {
    /// Leaves out the layers in `prune`.
    pub fn new(prune: BTreeSet<u32>) -> Pruning {
        Pruning { prune, ..Pruning::default() }
    }

    /// The new name of a tensor, `None` if its layer is left out. Names must come in the order of
    /// [`by_layer_and_name`].
    pub fn rename(&mut self, name: &str) -> Option<String> {
        let Some(first) = self.prune.first().copied() else { return Some(name.to_owned()) };
        let Some((start, end)) = number_in(name) else { return Some(name.to_owned()) };
        let Ok(il) = name[start..end].parse::<u32>() else { return Some(name.to_owned()) };
        let (prune, next) = (&self.prune, &mut self.next);
        let number = *self.numbers.entry(il).or_insert_with(|| {
            if prune.contains(&il) {
                return None;
            }
            let number = if il < first { il } else { *next };
            *next = number + 1;
            Some(number)
        });
        number.map(|number| format!("{}{number}{}", &name[..start], &name[end..]))
    }

    /// The first of the layers to be left out that no tensor met so far is of.
    pub fn missing(&self) -> Option<u32> {
        self.prune.iter().copied().find(|layer| !self.numbers.contains_key(layer))
    }

    /// Layers left, if any were to be left out.
    pub fn n_layer(&self) -> Option<u32> {
        (!self.prune.is_empty()).then_some(self.next)
    }
}

/// Where the first `blk.N.` of a name, anywhere in it, has its number.
fn number_in(name: &str) -> Option<(usize, usize)> {
    name.match_indices("blk.").find_map(|(at, part)| {
        let start = at + part.len();
        let end = start + name[start..].bytes().take_while(u8::is_ascii_digit).count();
        (end > start && name[end..].starts_with('.')).then_some((start, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_visited_in_number_order() {
        let mut names = ["blk.10.a", "blk.2.b", "output.weight", "blk.2.a", "a.blk.1.x"];
        names.sort_by(|a, b| by_layer_and_name(a, b));
        assert_eq!(names, ["a.blk.1.x", "output.weight", "blk.2.a", "blk.2.b", "blk.10.a"]);
    }

    #[test]
    fn pruned_layers_close_the_gap() {
        let mut pruning = Pruning::new(BTreeSet::from([1, 3]));
        let renamed: Vec<Option<String>> =
            ["output.weight", "blk.0.a", "blk.0.b", "blk.1.a", "blk.2.a", "blk.3.a", "blk.4.a"]
                .into_iter()
                .map(|name| pruning.rename(name))
                .collect();
        let renamed: Vec<&str> = renamed.iter().map(|name| name.as_deref().unwrap_or("-")).collect();
        assert_eq!(renamed, ["output.weight", "blk.0.a", "blk.0.b", "-", "blk.1.a", "-", "blk.2.a"]);
        assert_eq!(pruning.n_layer(), Some(3));
        assert_eq!(Pruning::default().n_layer(), None);
    }

    #[test]
    fn numbers_are_found_as_sscanf_would() {
        assert_eq!(block_number("blk.7.attn_q.weight"), Some(7));
        assert_eq!(block_number("blk.7x"), Some(7));
        assert_eq!(block_number("xblk.7."), None);
        assert_eq!(block_number("blk.99999999999999999999."), None);
        assert_eq!(number_in("v.blk.x.blk.12.y"), Some((12, 14)));
    }
}
