//! The order of candidates: larger logits first, equal ones as libstdc++'s sorts leave them.

use quipu_std_sort as std_sort;

use crate::TokenData;

fn larger(a: TokenData, b: TokenData) -> bool {
    a.logit > b.logit
}

/// `std::partial_sort`: the `n` largest logits come first, in descending order; the rest is in no order.
///
/// `n` is clamped to the length.
pub(crate) fn partial_sort(data: &mut [TokenData], n: usize) {
    std_sort::partial_sort_by(data, n, larger);
}

/// `std::sort`: descending logits.
pub(crate) fn sort(data: &mut [TokenData]) {
    std_sort::sort_by(data, larger);
}

/// The first half of [`partial_sort`]: `heap` gets its order, with the smallest logit at the root.
pub(crate) fn start_selection(heap: &mut [TokenData]) {
    std_sort::make_heap(heap, larger);
}

/// One step of the selection: `value`, larger than the root, takes the root's place.
pub(crate) fn replace_root(heap: &mut [TokenData], value: TokenData) {
    std_sort::replace_root(heap, value, larger);
}

/// The second half of [`partial_sort`]: the heap becomes a descending sequence.
pub(crate) fn finish_selection(heap: &mut [TokenData]) {
    std_sort::sort_heap(heap, larger);
}
