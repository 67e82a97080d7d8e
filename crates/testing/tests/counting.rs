//! The counter counts.

use std::hint::black_box;

use quipu_testing::alloc::{Cost, Counting, allocations, cost};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn everything_is_counted() {
    let before = allocations();
    let one = cost(|| black_box(vec![1u8; 1000]));
    assert_eq!(one, Cost { n_allocations: 1, largest: 1000, most_held: 1000 });
    let nothing = cost(|| black_box(1));
    assert_eq!(nothing, Cost { n_allocations: 0, largest: 0, most_held: 0 });
    let grown = cost(|| {
        drop(black_box(vec![0u8; 500]));
        let mut bytes = black_box(Vec::<u8>::with_capacity(10));
        bytes.reserve_exact(200);
        black_box(bytes)
    });
    assert_eq!(grown, Cost { n_allocations: 3, largest: 500, most_held: 500 });
    assert!(allocations() >= before + 4);
    let at = allocations();
    std::thread::scope(|scope| {
        scope.spawn(|| drop(black_box(Box::new(7))));
    });
    assert!(allocations() > at, "other threads' are counted too");
}
