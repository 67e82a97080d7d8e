//! The system's allocator, counting. A test program that wants the counts says
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: quipu_testing::alloc::Counting = quipu_testing::alloc::Counting;
//! ```
//!
//! [`allocations`] counts those of all threads, so other tests of the program would count too: one test per file.
//! [`cost`] looks at the calling thread alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The allocator.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static HERE: Cell<Here> = const { Cell::new(Here { n_allocations: 0, largest: 0, held: 0, most_held: 0 }) };
}

/// What one thread asked for.
#[derive(Clone, Copy)]
struct Here {
    n_allocations: usize,
    largest: usize,
    held: isize,
    most_held: isize,
}

/// Allocations of all threads so far; growing one counts as another.
pub fn allocations() -> usize {
    ALLOCATIONS.load(Ordering::SeqCst)
}

/// What a call asked of the allocator on its own thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Allocations; growing one counts as another.
    pub n_allocations: usize,
    /// Bytes of the largest single request.
    pub largest: usize,
    /// Most bytes held at once beyond those held before.
    pub most_held: usize,
}

/// Runs `f`; what it returns is dropped after counting.
pub fn cost<T>(f: impl FnOnce() -> T) -> Cost {
    let before = HERE.get();
    HERE.set(Here { largest: 0, most_held: before.held, ..before });
    let done = f();
    let after = HERE.get();
    drop(done);
    Cost {
        n_allocations: after.n_allocations - before.n_allocations,
        largest: after.largest,
        most_held: (after.most_held - before.held) as usize,
    }
}

fn note(requested: usize, change: isize) {
    ALLOCATIONS.fetch_add(usize::from(requested > 0), Ordering::SeqCst);
    // The thread's cell is gone while the thread ends; nothing is measured then.
    let _ = HERE.try_with(|here| {
        let mut now = here.get();
        now.n_allocations += usize::from(requested > 0);
        now.largest = now.largest.max(requested);
        now.held += change;
        now.most_held = now.most_held.max(now.held);
        here.set(now);
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), layout.size() as isize);
        // SAFETY: as above. Passed on as it is, so that large zeroed memory stays untouched.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, -(layout.size() as isize));
        // SAFETY: `ptr` came from the system with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size, new_size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
