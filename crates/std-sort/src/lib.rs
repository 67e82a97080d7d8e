//! The two unstable sorts of libstdc++, so that equal elements end in the order the reference leaves them in.
//!
//! `std::partial_sort` is a heap selection followed by a heap sort; `std::sort` is introsort with a median-of-three
//! pivot and a final insertion sort. Neither is stable, so for ties the order is a property of the exact steps.
//! Bounds are checked where the originals rely on a strict weak order: NaN gives some order, never a panic.
//!
//! Samplers sort candidates with them, the processor's `argsort` the experts of a router, tokenizers special tokens of one length.
//! Nothing else is common to the three, so this lies in a crate of its own below all of them, and each stays as small as it was.
//!
//! ```
//! use quipu_std_sort::sort_by;
//!
//! // All are equal; up to 16 stay where they are, more do not.
//! let mut places: Vec<u32> = (0..20).collect();
//! sort_by(&mut places, |_, _| false);
//! assert_eq!(places[..5], [10, 19, 18, 17, 16]);
//! ```
#![forbid(unsafe_code)]

/// Ranges up to this length are left to the final insertion sort.
const INSERTION_MAX: usize = 16;

/// `std::sort` with `before` as the order.
pub fn sort_by<T: Copy>(data: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
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

/// `std::partial_sort`: the first `n` in the order `before` come first, sorted; the rest is in no order.
///
/// `n` is clamped to the length. The same as [`make_heap`] of `n`, [`replace_root`] with each of the others that is before the root,
/// and [`sort_heap`].
pub fn partial_sort_by<T: Copy>(data: &mut [T], n: usize, before: impl Fn(T, T) -> bool + Copy) {
    let n = n.min(data.len());
    if n == 0 {
        return;
    }
    make_heap(&mut data[..n], before);
    for i in n..data.len() {
        if before(data[i], data[0]) {
            let value = data[i];
            data[i] = data[0];
            replace_root(&mut data[..n], value, before);
        }
    }
    sort_heap(&mut data[..n], before);
}

/// Makes a heap whose root is the last in the order.
pub fn make_heap<T: Copy>(heap: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
    if heap.len() < 2 {
        return;
    }
    for parent in (0..=(heap.len() - 2) / 2).rev() {
        let value = heap[parent];
        sift(heap, parent, value, before);
    }
}

/// `value` takes the place of a heap's root.
///
/// Does nothing to an empty heap.
pub fn replace_root<T: Copy>(heap: &mut [T], value: T, before: impl Fn(T, T) -> bool + Copy) {
    if !heap.is_empty() {
        sift(heap, 0, value, before);
    }
}

/// Makes a sorted sequence of a heap.
pub fn sort_heap<T: Copy>(heap: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
    for end in (1..heap.len()).rev() {
        let value = heap[end];
        heap[end] = heap[0];
        sift(&mut heap[..end], 0, value, before);
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

    /// A value and where it was.
    type Entry = (f32, u32);

    fn larger(a: Entry, b: Entry) -> bool {
        a.0 > b.0
    }

    fn sort(data: &mut [Entry]) {
        sort_by(data, larger);
    }

    fn partial_sort(data: &mut [Entry], n: usize) {
        partial_sort_by(data, n, larger);
    }

    fn array(values: impl Iterator<Item = f32>) -> Vec<Entry> {
        values.zip(0..).collect()
    }

    fn pattern(n: usize, kind: usize) -> Vec<Entry> {
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
                let mut want: Vec<f32> = input.iter().map(|c| c.0).collect();
                want.sort_by(|a, b| b.total_cmp(a));
                for (k, sorter) in [n, n / 2, 1].into_iter().flat_map(|k| [(k, true), (n, false)]) {
                    let mut data = input.clone();
                    if sorter {
                        partial_sort(&mut data, k);
                    } else {
                        sort(&mut data);
                    }
                    let got: Vec<f32> = data.iter().take(k).map(|c| c.0).collect();
                    assert_eq!(got, want[..k.min(n)]);
                    let mut ids: Vec<u32> = data.iter().map(|c| c.1).collect();
                    ids.sort_unstable();
                    assert!(ids.iter().enumerate().all(|(i, &id)| i as u32 == id), "a permutation");
                }
            }
        }
    }

    #[test]
    fn the_order_of_ties_is_that_of_the_heap() {
        let ids = |data: &[Entry]| data.iter().map(|c| c.1).collect::<Vec<_>>();
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

    fn descending(values: &[f32]) -> Vec<i32> {
        let mut numbers: Vec<i32> = (0..values.len() as i32).collect();
        sort_by(&mut numbers, |a, b| values[a as usize] > values[b as usize]);
        numbers
    }

    /// Orders that libstdc++'s `std::sort` gave.
    #[test]
    fn ties_end_as_in_libstdcxx() {
        let values = |n: usize| -> Vec<f32> { (0..n).map(|i| (i * 7 % 5) as f32).collect() };
        assert_eq!(descending(&values(16)), [2, 7, 12, 4, 9, 14, 1, 6, 11, 3, 8, 13, 0, 5, 10, 15]);
        assert_eq!(descending(&values(17)), [2, 12, 7, 14, 4, 9, 1, 16, 11, 6, 8, 13, 3, 10, 5, 15, 0]);
        let expected = [
            47, 32, 27, 37, 22, 42, 17, 12, 52, 62, 7, 2, 57, 44, 34, 29, 39, 24, 4, 59, 9, 19, 49, 14, 54,
            46, 41, 1, 61, 36, 51, 56, 6, 26, 11, 21, 31, 16, 48, 63, 3, 58, 8, 53, 13, 18, 33, 43, 23, 28,
            38, 55, 0, 30, 60, 5, 35, 45, 10, 25, 40, 50, 15, 20,
        ];
        assert_eq!(descending(&values(64)), expected);
        // 3000 numbers, as the FNV-1a hash of their order.
        let values: Vec<f32> = (0..3000usize).map(|i| (i * i % 7) as f32).collect();
        let mix = |hash: u64, i: &i32| (hash ^ *i as u64).wrapping_mul(1_099_511_628_211);
        let hash = descending(&values).iter().fold(14_695_981_039_346_656_037, mix);
        assert_eq!(hash, 9_583_746_560_465_196_219);
    }
}
