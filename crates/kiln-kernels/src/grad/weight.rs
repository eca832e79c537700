//! The gradient of a convolution's weights: for every tap a matrix product [outputs, pixels] × [pixels, channels].
//!
//! Pixels go in blocks; a block's gradients are packed once, its inputs for each tap and sixteen channels, and six outputs
//! by sixteen channels are summed in registers. A task owns its part of the weights and sees all blocks in order, so the
//! sum's order does not depend on the threads.

use crate::buffer::Buffer;
use crate::conv::Geometry;
use crate::dispatch::{Path, run_kernel};
use crate::layout::Map;
use crate::parallel::{Shared, for_each, part, threads};
use crate::simd::{LANES, Simd};

/// Outputs in registers.
const ROWS: usize = 6;
/// Channels in registers.
const WIDE: usize = 2 * LANES;
/// Pixels of a block: its packed parts stay in the first-level cache.
const BLOCK: usize = 160;

#[inline(always)]
unsafe fn outer<S: Simd>(g: *const f32, x: *const f32, pixels: usize, out: *mut f32) {
    // SAFETY: `g` has six floats per pixel, `x` and the six lines of `out` sixteen.
    unsafe {
        let mut acc = [[S::splat(0.0); 2]; ROWS];
        for i in 0..ROWS {
            for v in 0..2 {
                acc[i][v] = S::load(out.add(i * WIDE + v * LANES));
            }
        }
        for p in 0..pixels {
            let (x0, x1) = (S::load(x.add(p * WIDE)), S::load(x.add(p * WIDE + LANES)));
            for i in 0..ROWS {
                let g = S::splat(*g.add(p * ROWS + i));
                acc[i][0] = S::fma(g, x0, acc[i][0]);
                acc[i][1] = S::fma(g, x1, acc[i][1]);
            }
        }
        for i in 0..ROWS {
            for v in 0..2 {
                S::store(out.add(i * WIDE + v * LANES), acc[i][v]);
            }
        }
    }
}

/// The gradient by a weight [outputs, channels / groups, kernel height, kernel width], in that order.
pub(crate) fn gradient(path: Path, g: &Geometry, x: &Map, grad: &Map) -> Buffer {
    let (outputs, channels) = (g.out_channels / g.groups, g.in_channels / g.groups);
    let (tall, wide) = (outputs.div_ceil(ROWS), channels.div_ceil(WIDE));
    let pixels = g.pixels();
    let blocks = pixels.div_ceil(BLOCK);
    // Gradients as [block][group][six outputs][pixel][6].
    let block_len = g.groups * tall * ROWS * BLOCK;
    let mut packed = Buffer::new(blocks * block_len);
    let (target, source) = (Shared::new(packed.pointer()), Shared::of(grad.pointer()));
    for_each(blocks, pixels * g.out_channels, |block| {
        let count = (pixels - block * BLOCK).min(BLOCK);
        for strip in 0..g.groups * tall {
            let (group, first) = (strip / tall, strip % tall * ROWS);
            let rows = (outputs - first).min(ROWS);
            for p in 0..count {
                // SAFETY: the pixel lies within the map, the six floats within the block.
                unsafe {
                    let from = source
                        .get()
                        .cast_const()
                        .add((block * BLOCK + p) * grad.step + group * outputs + first);
                    let to = target.get().add(block * block_len + (strip * BLOCK + p) * ROWS);
                    for i in 0..ROWS {
                        *to.add(i) = if i < rows { *from.add(i) } else { 0.0 };
                    }
                }
            }
        }
    });
    // Sums as [tap][group][sixteen channels][output, padded][16].
    let strip_len = tall * ROWS * WIDE;
    let mut sums = Buffer::zeros(g.taps() * g.groups * wide * strip_len);
    let (total, inputs) = (Shared::new(sums.pointer()), Shared::of(x.pointer()));
    let gradients = Shared::of(packed.as_ptr());
    let strips = g.taps() * g.groups * wide;
    // Few channels and taps: outputs are cut as well.
    let by_outputs = (threads() * 4).div_ceil(strips).clamp(1, tall);
    for_each(strips * by_outputs, g.multiply_adds(), |task| {
        let (strip, rows) = (task / by_outputs, part(tall, by_outputs, task % by_outputs));
        let (tap, group, vector) =
            (strip / (g.groups * wide), strip / wide % g.groups, strip % wide);
        let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
        let first = vector * WIDE;
        let count = (channels - first).min(WIDE);
        let mut columns = [0f32; BLOCK * WIDE];
        let [out_height, out_width] = g.output;
        for block in 0..blocks {
            let len = (pixels - block * BLOCK).min(BLOCK);
            let mut any = false;
            for p in 0..len {
                let pixel = block * BLOCK + p;
                let (ox, oy, image) = (
                    pixel % out_width,
                    pixel / out_width % out_height,
                    pixel / out_width / out_height,
                );
                let y = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.before[0]);
                let at = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.before[1]);
                let to = &mut columns[p * WIDE..(p + 1) * WIDE];
                if y >= g.input[0] || at >= g.input[1] {
                    to.fill(0.0);
                    continue;
                }
                any = true;
                let pixel = (image * g.input[0] + y) * g.input[1] + at;
                // SAFETY: the pixel's channels of this group lie within the map.
                let from = unsafe {
                    let from =
                        inputs.get().cast_const().add(pixel * x.step + group * channels + first);
                    std::slice::from_raw_parts(from, count)
                };
                if count == WIDE {
                    to.copy_from_slice(from);
                } else {
                    to[..count].copy_from_slice(from);
                }
            }
            if !any {
                continue;
            }
            for row in rows.clone() {
                // SAFETY: strip and rows lie within the buffers; this task alone writes its rows.
                let (g_at, out) = unsafe {
                    (
                        gradients
                            .get()
                            .cast_const()
                            .add(block * block_len + (group * tall + row) * BLOCK * ROWS),
                        total.get().add(strip * strip_len + row * ROWS * WIDE),
                    )
                };
                let from = columns.as_ptr();
                run_kernel!(path, outer(g: *const f32, x: *const f32, pixels: usize, out: *mut f32) with (g_at, from, len, out));
            }
        }
    });
    // Into the parameter's order.
    let mut out = Buffer::new(g.out_channels * channels * g.taps());
    let target = Shared::new(out.pointer());
    let sums = &sums[..];
    for_each(g.out_channels, g.out_channels * channels * g.taps() * 4, |k| {
        let (group, row) = (k / outputs, k % outputs);
        // SAFETY: this output's weights lie within the buffer and are this task's alone.
        let out = unsafe {
            std::slice::from_raw_parts_mut(
                target.get().add(k * channels * g.taps()),
                channels * g.taps(),
            )
        };
        for (c, taps) in out.chunks_exact_mut(g.taps()).enumerate() {
            for (tap, value) in taps.iter_mut().enumerate() {
                let strip = (tap * g.groups + group) * wide + c / WIDE;
                *value = sums[strip * strip_len + row * WIDE + c % WIDE];
            }
        }
    });
    out
}
