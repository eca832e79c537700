//! Splitting work over rayon's pool. Kernels compute each output from the same sums in the same order however the work
//! is cut, so nothing here can change a result.

use rayon::prelude::*;

/// Work below this many multiply-adds (or moved floats) is not worth waking a thread for.
const WORTH_WAKING: usize = 60_000;

/// Threads that will share the work.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads().max(1)
}

/// Runs `task` for `0..count`, in parallel when `work` (multiply-adds in all) is worth it.
pub(crate) fn for_each(count: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
    if count <= 1 || work < WORTH_WAKING || threads() == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// The `index`-th of `parts` nearly equal ranges of `0..total`.
pub(crate) fn part(total: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

/// Elements (floats moved) a task should have in memory-bound work.
const ELEMENTS_PER_TASK: usize = 32 * 1024;

/// Cuts `0..rows` of `row_work` floats each into ranges for memory-bound work and runs them in parallel.
pub(crate) fn for_ranges(
    rows: usize,
    row_work: usize,
    task: impl Fn(std::ops::Range<usize>) + Sync + Send,
) {
    let work = rows.saturating_mul(row_work);
    let parts = (work / ELEMENTS_PER_TASK).clamp(1, threads() * 8).min(rows.max(1));
    for_each(parts, work, |i| task(part(rows, parts, i)));
}

/// A pointer that tasks share. Each task writes its own part only.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: whoever dereferences it promises that no two tasks touch the same element, or that all only read.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }
    pub(crate) fn of(pointer: *const T) -> Self {
        Self(pointer.cast_mut())
    }
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}
