//! The gradient of a depthwise convolution's weights: per channel and tap a sum of products over the pixels.

use crate::buffer::Buffer;
use crate::conv::Geometry;
use crate::dispatch::{Path, run_kernel};
use crate::layout::Map;
use crate::parallel::{Shared, for_each};
use crate::simd::{LANES, Simd};

/// Channels of a task: a cache line of them.
const WIDE: usize = 2 * LANES;

struct Channels<'a> {
    g: &'a Geometry,
    x: *const f32,
    step: usize,
    grad: *const f32,
    grad_step: usize,
    /// `[tap][WIDE]`.
    sums: *mut f32,
}

/// The output coordinates along one axis whose tap lies inside the input.
fn inside(g: &Geometry, axis: usize, tap: usize) -> std::ops::Range<usize> {
    let offset = tap * g.dilation[axis];
    let first = g.before[axis].saturating_sub(offset).div_ceil(g.stride[axis]);
    // The last position is `at * stride + offset - before <= input - 1`.
    let last = (g.input[axis] + g.before[axis])
        .checked_sub(offset + 1)
        .map_or(0, |room| room / g.stride[axis] + 1);
    first..last.min(g.output[axis]).max(first)
}

#[inline(always)]
unsafe fn vectors<S: Simd, const V: usize>(a: &Channels<'_>) {
    // SAFETY: see `channels`.
    unsafe {
        let g = a.g;
        for tap in 0..g.taps() {
            let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
            let (rows, columns) = (inside(g, 0, ky), inside(g, 1, kx));
            let mut total = [S::splat(0.0); V];
            for (image, oy) in (0..g.batch).flat_map(|n| rows.clone().map(move |y| (n, y))) {
                let y = oy * g.stride[0] + ky * g.dilation[0] - g.before[0];
                let from = (image * g.input[0] + y) * g.input[1] + kx * g.dilation[1];
                let grad = a.grad.add((image * g.output[0] + oy) * g.output[1] * a.grad_step);
                // Two sums, so that an addition need not wait for the one before.
                let mut sums = [[S::splat(0.0); V]; 2];
                for ox in columns.clone() {
                    let pixel = from + ox * g.stride[1] - g.before[1];
                    let sum = &mut sums[0];
                    for v in 0..V {
                        let x = S::load(a.x.add(pixel * a.step + v * LANES));
                        sum[v] = S::fma(S::load(grad.add(ox * a.grad_step + v * LANES)), x, sum[v]);
                    }
                    sums.swap(0, 1);
                }
                for v in 0..V {
                    total[v] = S::add(total[v], S::add(sums[0][v], sums[1][v]));
                }
            }
            for v in 0..V {
                S::store(a.sums.add(tap * WIDE + v * LANES), total[v]);
            }
        }
    }
}

#[inline(always)]
unsafe fn channels<S: Simd>(a: &Channels<'_>, count: usize) {
    // SAFETY: every pixel has `count` channels from the pointers on; whole vectors are read only where they exist.
    unsafe {
        match count {
            WIDE => vectors::<S, 2>(a),
            LANES => vectors::<S, 1>(a),
            _ => {
                let g = a.g;
                for tap in 0..g.taps() {
                    let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
                    for c in 0..count {
                        let mut sum = 0.0;
                        for (image, oy) in
                            (0..g.batch).flat_map(|n| inside(g, 0, ky).map(move |y| (n, y)))
                        {
                            let y = oy * g.stride[0] + ky * g.dilation[0] - g.before[0];
                            for ox in inside(g, 1, kx) {
                                let at = ox * g.stride[1] + kx * g.dilation[1] - g.before[1];
                                let pixel = (image * g.input[0] + y) * g.input[1] + at;
                                let out = (image * g.output[0] + oy) * g.output[1] + ox;
                                sum += *a.grad.add(out * a.grad_step + c)
                                    * *a.x.add(pixel * a.step + c);
                            }
                        }
                        *a.sums.add(tap * WIDE + c) = sum;
                    }
                }
            }
        }
    }
}

/// The gradient by a weight [channels, 1, kernel height, kernel width], in that order.
pub(super) fn gradient(path: Path, g: &Geometry, x: &Map, grad: &Map) -> Buffer {
    let total = g.in_channels;
    let mut out = Buffer::new(total * g.taps());
    let target = Shared::new(out.pointer());
    let (xs, gs) = (Shared::of(x.pointer()), Shared::of(grad.pointer()));
    // Sixteen channels a task, then eight, then what is left.
    let mut parts: Vec<(usize, usize)> = (0..total / WIDE).map(|i| (i * WIDE, WIDE)).collect();
    let mut first = total / WIDE * WIDE;
    for size in [LANES, total % LANES] {
        if size > 0 && first + size <= total {
            parts.push((first, size));
            first += size;
        }
    }
    for_each(parts.len(), g.multiply_adds() * 2, |task| {
        let (first, count) = parts[task];
        let mut sums = vec![0f32; g.taps() * WIDE];
        let args = Channels {
            g,
            // SAFETY: the channel lies within the map.
            x: unsafe { xs.get().cast_const().add(first) },
            step: x.step,
            // SAFETY: as above.
            grad: unsafe { gs.get().cast_const().add(first) },
            grad_step: grad.step,
            sums: sums.as_mut_ptr(),
        };
        run_kernel!(path, channels(args: &Channels<'_>, count: usize) with (&args, count));
        for c in 0..count {
            for tap in 0..g.taps() {
                // SAFETY: this channel's weights are this task's alone.
                unsafe { *target.get().add((first + c) * g.taps() + tap) = sums[tap * WIDE + c] };
            }
        }
    });
    out
}
