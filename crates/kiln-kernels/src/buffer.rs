//! Memory for outputs and scratch: aligned, taken from a pool and given back to it, so that a network run again and
//! again allocates nothing new and touches no fresh page.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

/// Alignment of small buffers: a cache line.
const LINE: usize = 64;
/// Alignment of large ones: a huge page, which the system is asked to use.
const HUGE: usize = 2 << 20;
/// What the pool keeps at most; beyond it blocks go back to the system.
const KEPT: usize = 768 << 20;
/// After so many requests that a well-filled pool could not serve, its blocks are of sizes no longer asked for.
const MISSES: usize = 64;

#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<NonNull<u8>>>,
    bytes: usize,
    misses: usize,
}

// SAFETY: the pool owns its blocks; nobody else holds a pointer into one.
unsafe impl Send for Pool {}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: BTreeMap::new(), bytes: 0, misses: 0 });

fn layout(bytes: usize) -> Layout {
    let align = if bytes >= HUGE { HUGE } else { LINE };
    Layout::from_size_align(bytes, align).expect("buffer sizes are checked where they are made")
}

/// Rounds up to a size class (eight per power of two), so that nearly equal layers share blocks. Under a sanitizer, which
/// sees no overrun within a block, each has the size that was asked for.
fn class(bytes: usize) -> usize {
    if cfg!(kiln_sanitize) {
        return bytes.max(1);
    }
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() >> 4).max(LINE);
    bytes.next_multiple_of(step)
}

impl Pool {
    fn take(&mut self, size: usize) -> Option<(NonNull<u8>, usize)> {
        let Some((&size, blocks)) = self.free.range_mut(size..=size + size / 2).next() else {
            self.misses += 1;
            if self.misses > MISSES && self.bytes > KEPT / 2 {
                self.clear();
            }
            return None;
        };
        let block = blocks.pop()?;
        if blocks.is_empty() {
            self.free.remove(&size);
        }
        self.bytes -= size;
        Some((block, size))
    }

    fn give(&mut self, block: NonNull<u8>, size: usize) {
        if cfg!(kiln_sanitize) || self.bytes + size > KEPT {
            // SAFETY: the block was allocated with the layout of its size.
            unsafe { dealloc(block.as_ptr(), layout(size)) };
            return;
        }
        self.bytes += size;
        self.free.entry(size).or_default().push(block);
    }

    fn clear(&mut self) {
        for (size, blocks) in std::mem::take(&mut self.free) {
            for block in blocks {
                // SAFETY: every block in the pool was allocated with the layout of its size.
                unsafe { dealloc(block.as_ptr(), layout(size)) }
            }
        }
        self.bytes = 0;
        self.misses = 0;
    }
}

/// Gives all pooled memory back to the system. Calling it is never needed; a server may, after a burst of large images.
pub fn release_memory() {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// A block of floats with arbitrary (but initialized) contents.
pub(crate) struct Buffer {
    block: NonNull<u8>,
    size: usize,
    len: usize,
}

// SAFETY: the buffer owns its block.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `len` floats. What they are is unspecified: whoever takes one writes before reading.
    ///
    /// # Panics
    /// When `len` floats exceed the address space.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = len
            .checked_mul(size_of::<f32>())
            .filter(|&b| b < isize::MAX as usize / 2)
            .expect("a tensor this large does not fit in memory");
        let size = class(bytes);
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).take(size);
        let (block, size) = pooled.unwrap_or_else(|| {
            // SAFETY: the layout's size is not zero.
            let block = unsafe { alloc_zeroed(layout(size)) };
            let Some(block) = NonNull::new(block) else { handle_alloc_error(layout(size)) };
            #[cfg(target_os = "linux")]
            if size >= HUGE {
                // SAFETY: the range is a live allocation of ours; the call is advice and may fail without harm.
                unsafe { libc::madvise(block.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
            }
            (block, size)
        });
        Self { block, size, len }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self::new(len);
        buffer.fill(0.0);
        buffer
    }

    pub(crate) fn pointer(&mut self) -> *mut f32 {
        self.block.as_ptr().cast()
    }

    /// Turns it into burn's storage; the block returns to the pool when burn drops it.
    pub(crate) fn into_bytes(self) -> Bytes {
        let len = self.len * size_of::<f32>();
        // SAFETY: the controller's memory is at least `len` bytes, all initialized.
        unsafe { Bytes::from_controller(Box::new(Storage(self)), len) }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the block holds at least `len` initialized floats and is aligned beyond a float's need.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_ptr().cast(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).give(self.block, self.size);
    }
}

struct Storage(Buffer);

impl AllocationController for Storage {
    fn alloc_align(&self) -> usize {
        // Burn's copies are made with this alignment and it allows 16 at most.
        16
    }
    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }
    unsafe fn memory_mut(
        &mut self,
        _: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        // SAFETY: the block is `size` bytes, owned by us, and `&mut self` is exclusive.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(
                self.0.block.as_ptr().cast(),
                self.0.len * size_of::<f32>(),
            )
        })
    }
    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        // SAFETY: the block is at least this long and lives as long as `self`.
        Ok(unsafe {
            std::slice::from_raw_parts(self.0.block.as_ptr().cast(), self.0.len * size_of::<f32>())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(kiln_sanitize))]
    #[test]
    fn a_dropped_buffer_is_used_again() {
        let mut first = Buffer::new(123_456);
        let address = first.pointer();
        drop(first);
        assert_eq!(Buffer::new(123_400).pointer(), address);
    }

    #[test]
    fn buffers_are_aligned_to_cache_lines() {
        for len in [0, 1, 17, 1000, 600_000] {
            let mut buffer = Buffer::zeros(len);
            assert_eq!(buffer.pointer() as usize % LINE, 0);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn bytes_keep_the_floats() {
        let mut buffer = Buffer::new(3);
        buffer.copy_from_slice(&[1.0, 2.0, 3.0]);
        let bytes = buffer.into_bytes();
        assert_eq!(bytes.len(), 12);
        assert_eq!(&bytes[4..8], 2.0f32.to_ne_bytes());
        let copy = bytes.clone();
        drop(bytes);
        assert_eq!(&copy[8..], 3.0f32.to_ne_bytes());
    }
}
