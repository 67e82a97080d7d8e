//! The two unstable sorts of libstdc++, so that equal logits end in the order the reference leaves them in.
//!
//! `std::partial_sort` is a heap selection followed by a heap sort; `std::sort` is introsort with a median-of-three
//! pivot and a final insertion sort. Neither is stable, so for ties the order is a property of the exact steps.
//! Bounds are checked where the originals rely on a strict weak order: NaN gives some order, never a panic.

use crate::TokenData;

/// Ranges up to this length are left to the final insertion sort.
const INSERTION_MAX: usize = 16;

/// The order of candidates: larger logits first.
fn larger(a: TokenData, b: TokenData) -> bool {
    a.logit > b.logit
}

/// `std::partial_sort`: the `n` largest logits come first, in descending order; the rest is in no order.
///
/// `n` is clamped to the length.
pub(crate) fn partial_sort(data: &mut [TokenData], n: usize) {
    partial_sort_by(data, n, larger);
}

/// `std::sort`: descending logits.
pub(crate) fn sort(data: &mut [TokenData]) {
    sort_by(data, larger);
}

/// The first half of [`partial_sort`]: `heap` gets its order, with the smallest logit at the root.
pub(crate) fn start_selection(heap: &mut [TokenData]) {
    make_heap(heap, larger);
}

/// One step of the selection: `value`, larger than the root, takes the root's place.
pub(crate) fn replace_root(heap: &mut [TokenData], value: TokenData) {
    sift(heap, 0, value, larger);
}

/// The second half of [`partial_sort`]: the heap becomes a descending sequence.
pub(crate) fn finish_selection(heap: &mut [TokenData]) {
    sort_heap(heap, larger);
}

fn partial_sort_by<T: Copy>(data: &mut [T], n: usize, before: impl Fn(T, T) -> bool + Copy) {
    let n = n.min(data.len());
    if n == 0 {
        return;
    }
    make_heap(&mut data[..n], before);
    for i in n..data.len() {
        if before(data[i], data[0]) {
            let value = data[i];
            data[i] = data[0];
            sift(&mut data[..n], 0, value, before);
        }
    }
    sort_heap(&mut data[..n], before);
}

fn sort_heap<T: Copy>(heap: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
    for end in (1..heap.len()).rev() {
        let value = heap[end];
        heap[end] = heap[0];
        sift(&mut heap[..end], 0, value, before);
    }
}

/// `std::sort` with `before` as the order.
pub(crate) fn sort_by<T: Copy>(data: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
    if data.is_empty() {
        return;
    }
    introsort(data, 2 * data.len().ilog2(), before);
    let head = data.len().min(INSERTION_MAX);
    for i in 1..head {
        if before(data[i], data[0]) {
            data[..=i].rotate_right(1);
        } else {
            insert(data, i, before);
        }
    }
    for i in head..data.len() {
        insert(data, i, before);
    }
}

/// Makes a heap whose root is the smallest logit.
fn make_heap<T: Copy>(heap: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
    if heap.len() < 2 {
        return;
    }
    for parent in (0..=(heap.len() - 2) / 2).rev() {
        let value = heap[parent];
        sift(heap, parent, value, before);
    }
}

/// Moves the hole at `top` down to a leaf, then `value` up from there.
fn sift<T: Copy>(heap: &mut [T], top: usize, value: T, before: impl Fn(T, T) -> bool + Copy) {
    let len = heap.len();
    let mut hole = top;
    let mut child = top;
    while child < (len - 1) / 2 {
        child = 2 * (child + 1);
        if before(heap[child], heap[child - 1]) {
            child -= 1;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    if len.is_multiple_of(2) && child == (len - 2) / 2 {
        child = 2 * child + 1;
        heap[hole] = heap[child];
        hole = child;
    }
    while hole > top {
        let parent = (hole - 1) / 2;
        if !before(heap[parent], value) {
            break;
        }
        heap[hole] = heap[parent];
        hole = parent;
    }
    heap[hole] = value;
}

/// Quicksort down to short ranges; heap sort when `depth` runs out, so the worst case stays n log n.
fn introsort<T: Copy>(mut data: &mut [T], mut depth: u32, before: impl Fn(T, T) -> bool + Copy) {
    while data.len() > INSERTION_MAX {
        if depth == 0 {
            partial_sort_by(data, data.len(), before);
            return;
        }
        depth -= 1;
        let cut = partition(data, before);
        let (left, right) = data.split_at_mut(cut);
        introsort(right, depth, before);
        data = left;
    }
}

/// Partitions around the median of the second, middle and last element, which moves to the front.
fn partition<T: Copy>(data: &mut [T], before: impl Fn(T, T) -> bool + Copy) -> usize {
    let (a, b, c) = (1, data.len() / 2, data.len() - 1);
    let (va, vb, vc) = (data[a], data[b], data[c]);
    let median = if before(va, vb) {
        if before(vb, vc) {
            b
        } else if before(va, vc) {
            c
        } else {
            a
        }
    } else if before(va, vc) {
        a
    } else if before(vb, vc) {
        c
    } else {
        b
    };
    data.swap(0, median);

    let pivot = data[0];
    let mut first = 1;
    let mut last = data.len();
    loop {
        while first < data.len() && before(data[first], pivot) {
            first += 1;
        }
        last -= 1;
        while last > 0 && before(pivot, data[last]) {
            last -= 1;
        }
        if first >= last {
            return first;
        }
        data.swap(first, last);
        first += 1;
    }
}

/// Moves `data[i]` left to its place.
fn insert<T: Copy>(data: &mut [T], i: usize, before: impl Fn(T, T) -> bool + Copy) {
    let value = data[i];
    let mut hole = i;
    while hole > 0 && before(value, data[hole - 1]) {
        data[hole] = data[hole - 1];
        hole -= 1;
    }
    data[hole] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(logits: impl Iterator<Item = f32>) -> Vec<TokenData> {
        logits.enumerate().map(|(i, logit)| TokenData { id: i as u32, logit, p: 0.0 }).collect()
    }

    fn pattern(n: usize, kind: usize) -> Vec<TokenData> {
        array((0..n).map(|i| match kind {
            0 => i as f32,
            1 => (n - i) as f32,
            2 => 1.0,
            3 => ((i * 7919) % 5) as f32,
            // Organ pipe and sawtooth patterns drive the median of three towards its worst case.
            4 => i.min(n - i) as f32,
            _ => ((i * 2_654_435_761) % 1009) as f32,
        }))
    }

    #[test]
    fn both_sort_every_pattern() {
        for kind in 0..6 {
            for n in [0, 1, 2, 3, 15, 16, 17, 18, 33, 128, 1000, 5000] {
                let input = pattern(n, kind);
                let mut want: Vec<f32> = input.iter().map(|c| c.logit).collect();
                want.sort_by(|a, b| b.total_cmp(a));
                for (k, sorter) in [n, n / 2, 1].into_iter().flat_map(|k| [(k, true), (n, false)]) {
                    let mut data = input.clone();
                    if sorter {
                        partial_sort(&mut data, k);
                    } else {
                        sort(&mut data);
                    }
                    let got: Vec<f32> = data.iter().take(k).map(|c| c.logit).collect();
                    assert_eq!(got, want[..k.min(n)]);
                    let mut ids: Vec<u32> = data.iter().map(|c| c.id).collect();
                    ids.sort_unstable();
                    assert!(ids.iter().enumerate().all(|(i, &id)| i as u32 == id), "a permutation");
                }
            }
        }
    }

    #[test]
    fn the_order_of_ties_is_that_of_the_heap() {
        let ids = |data: &[TokenData]| data.iter().map(|c| c.id).collect::<Vec<_>>();
        let mut data = array([1.0; 4].into_iter());
        partial_sort(&mut data, 4);
        assert_eq!(ids(&data), [1, 3, 0, 2]);
        let mut data = array([1.0; 4].into_iter());
        sort(&mut data);
        assert_eq!(ids(&data), [0, 1, 2, 3]);
        let mut data = array([1.0; 20].into_iter());
        sort(&mut data);
        let want = [10, 19, 18, 17, 16, 15, 14, 13, 12, 11, 0, 9, 8, 7, 6, 5, 4, 3, 2, 1];
        assert_eq!(ids(&data), want);
    }

    #[test]
    fn not_a_number_does_not_panic() {
        for n in [1, 5, 16, 17, 100, 1000] {
            for stride in 1..5 {
                let make =
                    || array((0..n).map(|i| if i % stride == 0 { f32::NAN } else { ((i * 37) % 11) as f32 }));
                let mut data = make();
                sort(&mut data);
                let mut data = make();
                partial_sort(&mut data, n / 2 + 1);
            }
        }
    }
}
