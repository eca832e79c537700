//! Vector arithmetic, written once: kernels are generic over [`Simd`], the matrix product over [`Vector`], and both are
//! compiled per instruction set by [`run_kernel!`](crate::dispatch) and the tiles. NEON joins by implementing both traits
//! and adding an arm there.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

/// Lanes of a [`Simd`] vector; packed weights and tails are laid out in multiples of it.
pub(crate) const LANES: usize = 8;

/// What a matrix product needs of one instruction set's vectors.
///
/// # Safety
/// Every function may be called only where the instruction set is available, that is inside a function that carries it.
/// `load` and `store` need [`LANES`](Self::LANES) readable or writable floats; no alignment is asked for.
pub(crate) unsafe trait Vector: Copy + Send + Sync + 'static {
    /// The lanes.
    type V: Copy;
    /// Lanes of `V`.
    const LANES: usize;
    /// The path that leads here.
    const PATH: crate::dispatch::Path;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the hardware can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN, as the x86 instruction does, so put what may be NaN second.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `yes` where `a < b`, else (also where either is NaN) `no`.
    unsafe fn select_less(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// Hints that the line at this address will be read soon; any address is fine.
    unsafe fn prefetch(from: *const f32);
}

/// All arithmetic of the kernels, on vectors of [`LANES`].
///
/// # Safety
/// As [`Vector`].
pub(crate) unsafe trait Simd: Vector {
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `c - a * b`.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` where either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The larger; NaN where either is NaN.
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// To the nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Two to the power of a whole number between -126 and 127.
    unsafe fn exp2_whole(a: Self::V) -> Self::V;
}
