//! The order in which the reference tries special tokens of equal length.
//!
//! It sorts them by length with `std::sort`, which is not stable; where two tokens of one length overlap in a
//! text, the order decides the ids. So the introsort of libstdc++ (the library the reference is built with on
//! Linux) is followed step by step: median of three, unguarded partition, final insertion sort.

/// Ranges up to this long are left to the final insertion sort.
const THRESHOLD: usize = 16;

/// Sorts `items` by `less` into the order that libstdc++'s `std::sort` would leave.
///
/// Input that exhausts its recursion limit (twice the binary logarithm) is sorted stably from there on, where
/// libstdc++ would heap-sort; lengths of tokens do not get there in practice.
pub(crate) fn sort<T: Copy>(items: &mut [T], less: impl Fn(T, T) -> bool + Copy) {
    if items.len() < 2 {
        return;
    }
    introsort(items, 2 * items.len().ilog2(), less);
    let guarded = items.len().min(THRESHOLD);
    for i in 1..guarded {
        if less(items[i], items[0]) {
            items[..=i].rotate_right(1);
        } else {
            insert_unguarded(items, i, less);
        }
    }
    for i in guarded..items.len() {
        insert_unguarded(items, i, less);
    }
}

fn introsort<T: Copy>(mut items: &mut [T], mut depth: u32, less: impl Fn(T, T) -> bool + Copy) {
    while items.len() > THRESHOLD {
        if depth == 0 {
            items.sort_by(|&a, &b| match (less(a, b), less(b, a)) {
                (true, _) => std::cmp::Ordering::Less,
                (_, true) => std::cmp::Ordering::Greater,
                _ => std::cmp::Ordering::Equal,
            });
            return;
        }
        depth -= 1;
        let cut = partition(items, less);
        let (left, right) = items.split_at_mut(cut);
        introsort(right, depth, less);
        items = left;
    }
}

/// Moves the median of three to the front and partitions the rest around it; returns the cut.
fn partition<T: Copy>(items: &mut [T], less: impl Fn(T, T) -> bool) -> usize {
    let (a, b, c) = (1, items.len() / 2, items.len() - 1);
    let median = if less(items[a], items[b]) {
        if less(items[b], items[c]) {
            b
        } else if less(items[a], items[c]) {
            c
        } else {
            a
        }
    } else if less(items[a], items[c]) {
        a
    } else if less(items[b], items[c]) {
        c
    } else {
        b
    };
    items.swap(0, median);
    let pivot = items[0];
    let (mut first, mut last) = (1, items.len());
    loop {
        while less(items[first], pivot) {
            first += 1;
        }
        last -= 1;
        while less(pivot, items[last]) {
            last -= 1;
        }
        if first >= last {
            return first;
        }
        items.swap(first, last);
        first += 1;
    }
}

/// Moves `items[i]` left past everything it is less than. The caller knows that something stops it.
fn insert_unguarded<T: Copy>(items: &mut [T], i: usize, less: impl Fn(T, T) -> bool) {
    let mut to = i;
    while to > 0 && less(items[i], items[to - 1]) {
        to -= 1;
    }
    items[to..=i].rotate_right(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts() {
        let mut state = 7u32;
        for n in [0, 1, 2, 15, 16, 17, 100, 1000, 5000] {
            let mut items: Vec<u32> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 27
                })
                .collect();
            let mut expected = items.clone();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            sort(&mut items, |a, b| a > b);
            assert_eq!(items, expected);
        }
    }
}
