//! Winograd's transforms of one tile, eight channels at a time.

use super::PLACES;
use crate::activation::Activation;
use crate::dispatch::{Path, run_kernel};
use crate::pack::PANEL;
use crate::simd::{LANES, Simd};

/// B transposed times six values.
#[inline(always)]
unsafe fn input_line<S: Simd>(a: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        let (two, four, five) = (S::splat(2.0), S::splat(4.0), S::splat(5.0));
        let even = S::fnma(four, a[2], a[4]);
        let odd = S::fnma(four, a[1], a[3]);
        let outer = S::sub(a[4], a[2]);
        let inner = S::mul(two, S::sub(a[3], a[1]));
        [
            S::add(S::fnma(five, a[2], S::mul(four, a[0])), a[4]),
            S::add(even, odd),
            S::sub(even, odd),
            S::add(outer, inner),
            S::sub(outer, inner),
            S::add(S::fnma(five, a[3], S::mul(four, a[1])), a[5]),
        ]
    }
}

/// A transposed times six values.
#[inline(always)]
unsafe fn output_line<S: Simd>(a: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        let (two, four, eight) = (S::splat(2.0), S::splat(4.0), S::splat(8.0));
        let (near, far) = (S::add(a[1], a[2]), S::add(a[3], a[4]));
        let (slope, steep) = (S::sub(a[1], a[2]), S::sub(a[3], a[4]));
        [
            S::add(S::add(a[0], near), far),
            S::fma(two, steep, slope),
            S::fma(four, far, near),
            S::add(S::fma(eight, steep, slope), a[5]),
        ]
    }
}

#[inline(always)]
unsafe fn input_tile<S: Simd>(
    patch: &[*const f32; PLACES],
    channels: usize,
    out: *mut f32,
    place_step: usize,
) {
    // SAFETY: see `input`; the channels are whole vectors.
    unsafe {
        let mut c = 0;
        while c < channels {
            let mut d = [[S::splat(0.0); 6]; 6];
            for j in 0..6 {
                let mut column = [S::splat(0.0); 6];
                for (i, value) in column.iter_mut().enumerate() {
                    *value = S::load(patch[i * 6 + j].add(c));
                }
                let column = input_line::<S>(column);
                for (line, value) in d.iter_mut().zip(column) {
                    line[j] = value;
                }
            }
            for (i, line) in d.iter().enumerate() {
                let line = input_line::<S>(*line);
                for (j, &value) in line.iter().enumerate() {
                    S::store(out.add((i * 6 + j) * place_step + c), value);
                }
            }
            c += LANES;
        }
    }
}

/// Transforms one patch: `channels` floats behind each pointer, to `channels` floats in each of 36 places.
///
/// # Safety
/// All of them must be readable and writable; `channels` must be a multiple of eight.
pub(super) unsafe fn input(
    path: Path,
    patch: &[*const f32; PLACES],
    channels: usize,
    out: *mut f32,
    place_step: usize,
) {
    run_kernel!(path, input_tile(patch: &[*const f32; PLACES], channels: usize, out: *mut f32, place_step: usize)
        with (patch, channels, out, place_step));
}

/// G times three values.
#[inline(always)]
unsafe fn filter_line<S: Simd>(a: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        let sixth = S::splat(-1.0 / 6.0);
        let ends = S::add(a[0], a[2]);
        let outer = S::fma(a[0], S::splat(1.0 / 24.0), S::mul(a[2], S::splat(1.0 / 6.0)));
        let inner = S::mul(a[1], S::splat(1.0 / 12.0));
        [
            S::mul(a[0], S::splat(0.25)),
            S::mul(S::add(ends, a[1]), sixth),
            S::mul(S::sub(ends, a[1]), sixth),
            S::add(outer, inner),
            S::sub(outer, inner),
            a[2],
        ]
    }
}

#[inline(always)]
unsafe fn filter_tiles<S: Simd>(
    filters: &[[f32; PANEL]; 9],
    width: usize,
    out: *mut f32,
    place_step: usize,
) {
    // SAFETY: see `filters`.
    unsafe {
        let mut j = 0;
        while j < width {
            let mut d = [[S::splat(0.0); 3]; 6];
            for x in 0..3 {
                let at = |y: usize| filters[y * 3 + x].as_ptr().add(j);
                let column = filter_line::<S>([S::load(at(0)), S::load(at(1)), S::load(at(2))]);
                for (line, value) in d.iter_mut().zip(column) {
                    line[x] = value;
                }
            }
            for (i, line) in d.iter().enumerate() {
                for (x, value) in filter_line::<S>(*line).into_iter().enumerate() {
                    S::store(out.add((i * 6 + x) * place_step + j), value);
                }
            }
            j += LANES;
        }
    }
}

/// Transforms the 3×3 filters of `width` outputs for one channel.
///
/// # Safety
/// `width` floats, eight or sixteen, must be writable in each of 36 places.
pub(super) unsafe fn filters(
    path: Path,
    filters: &[[f32; PANEL]; 9],
    width: usize,
    out: *mut f32,
    place_step: usize,
) {
    run_kernel!(path, filter_tiles(filters: &[[f32; PANEL]; 9], width: usize, out: *mut f32, place_step: usize)
        with (filters, width, out, place_step));
}

/// A tile on its way out.
pub(super) struct Output {
    pub(super) sums: *const f32,
    pub(super) place_step: usize,
    pub(super) channels: usize,
    pub(super) bias: *const f32,
    pub(super) residual: *const f32,
    /// Floats down and right.
    pub(super) residual_steps: [usize; 2],
    pub(super) out: *mut f32,
    /// Floats down and right.
    pub(super) steps: [usize; 2],
    /// Pixels down and right that exist.
    pub(super) size: [usize; 2],
    pub(super) activation: Activation,
}

#[inline(always)]
unsafe fn output_tile<S: Simd>(o: &Output) {
    // SAFETY: see `output`; the channels are whole vectors.
    unsafe {
        let mut c = 0;
        while c < o.channels {
            let bias = S::load(o.bias.add(c));
            let mut d = [[S::splat(0.0); 6]; 4];
            for j in 0..6 {
                let mut column = [S::splat(0.0); 6];
                for (i, value) in column.iter_mut().enumerate() {
                    *value = S::load(o.sums.add((i * 6 + j) * o.place_step + c));
                }
                let column = output_line::<S>(column);
                for (line, value) in d.iter_mut().zip(column) {
                    line[j] = value;
                }
            }
            for (i, line) in d.iter().enumerate().take(o.size[0]) {
                let line = output_line::<S>(*line);
                for (j, &value) in line.iter().enumerate().take(o.size[1]) {
                    let mut value = S::add(value, bias);
                    if !o.residual.is_null() {
                        value = S::add(
                            value,
                            S::load(
                                o.residual
                                    .add(i * o.residual_steps[0] + j * o.residual_steps[1] + c),
                            ),
                        );
                    }
                    S::store(
                        o.out.add(i * o.steps[0] + j * o.steps[1] + c),
                        o.activation.cheap_vector::<S>(value),
                    );
                }
            }
            c += LANES;
        }
    }
}

/// Transforms one tile's sums into pixels.
///
/// # Safety
/// `sums` must be readable in 36 places, bias for `channels`, residual and output for `size` pixels of `channels`, which
/// must be a multiple of eight.
pub(super) unsafe fn output(path: Path, o: &Output) {
    run_kernel!(path, output_tile(o: &Output) with (o));
    if !o.activation.cheap() {
        for (i, j) in (0..o.size[0]).flat_map(|i| (0..o.size[1]).map(move |j| (i, j))) {
            // SAFETY: the pixel has just been written.
            unsafe {
                crate::activation::in_place(
                    path,
                    o.activation,
                    o.out.add(i * o.steps[0] + j * o.steps[1]),
                    o.channels,
                );
            };
        }
    }
}
