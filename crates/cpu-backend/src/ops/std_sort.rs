//! libstdc++'s `std::sort`, so that equal elements end in the order the reference leaves them in: which experts a router takes
//! on a tie is a property of the exact steps.
//!
//! Introsort with a median-of-three pivot and a final insertion sort. Bounds are checked where the original relies on a strict
//! weak order: NaN gives some order, never a panic.

/// Ranges up to this length are left to the final insertion sort.
const INSERTION_MAX: usize = 16;

/// `std::sort` with `before` as the order.
pub(super) fn sort_by<T: Copy>(data: &mut [T], before: impl Fn(T, T) -> bool + Copy) {
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
