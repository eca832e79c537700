//! The gradient of a convolution's weights: for every tap a matrix product [outputs, pixels] × [pixels, channels].
//!
//! Pixels go in blocks; a block's gradients are packed once, its inputs for each tap and sixteen channels, and six outputs
//! by sixteen channels are summed in registers. A task owns its part of the weights and sees all blocks in order, so the
//! sum's order does not depend on the threads.

use crate::buffer::Buffer;
use crate::conv::{Algorithm, Geometry};
use crate::dispatch::{Path, run_kernel};
use crate::layout::{Map, to_channels_last};
use crate::parallel::{Shared, for_each, for_ranges, part, threads};
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

/// Up to this many channels a kernel row of a padded copy takes a pixel's place, or most lanes would be empty.
const FEW_CHANNELS: usize = 8;

/// The gradient by a weight [outputs, channels / groups, kernel height, kernel width], in that order.
pub(crate) fn gradient(path: Path, g: &Geometry, x: &Map, grad: &Map) -> Buffer {
    if Algorithm::Depthwise.possible(g) && g.groups > 1 {
        return super::depthwise::gradient(path, g, x, grad);
    }
    if g.groups > 1 || g.in_channels > FEW_CHANNELS || g.kernel[1] == 1 || g.dilation[1] != 1 {
        let input = Input { pixels: Shared::of(x.pointer()), step: x.step, size: g.input };
        return products(path, g, &input, grad);
    }
    let (c, kernel) = (g.in_channels, g.kernel);
    let borders = [g.before[0], g.after[0], g.before[1], g.after[1]];
    let size = [g.input[0] + borders[0] + borders[1], g.input[1] + borders[2] + borders[3]];
    let mut padded = Buffer::new(g.batch * size[0] * size[1] * c);
    to_channels_last(x.tensor(), &mut padded, borders);
    let rows = Geometry {
        in_channels: kernel[1] * c,
        input: size,
        kernel: [kernel[0], 1],
        before: [0, 0],
        after: [0, 0],
        ..*g
    };
    let by_rows =
        products(path, &rows, &Input { pixels: Shared::of(padded.as_ptr()), step: c, size }, grad);
    // From [output][kernel column, channel][kernel row] to [output][channel][kernel row][kernel column].
    let mut out = Buffer::new(by_rows.len());
    let mut next = out.iter_mut();
    for filter in by_rows.chunks_exact(kernel[0] * kernel[1] * c) {
        for channel in 0..c {
            for (ky, kx) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                if let Some(value) = next.next() {
                    *value = filter[(kx * c + channel) * kernel[0] + ky];
                }
            }
        }
    }
    out
}

/// The input as the products read it: `in_channels` floats from every pixel's address on.
#[derive(Clone, Copy)]
struct Input {
    pixels: Shared<f32>,
    step: usize,
    size: [usize; 2],
}

/// Six rows of a matrix: sums over few pixels, written straight to their place.
struct Lines {
    /// Six floats per pixel.
    grad: *const f32,
    x: *const f32,
    step: usize,
    pixels: usize,
    rows: usize,
    channels: usize,
    out: *mut f32,
}

#[inline(always)]
unsafe fn lines<S: Simd>(a: &Lines) {
    // SAFETY: every pixel has `channels` floats, `out` `rows` lines of them; the tail goes one by one.
    unsafe {
        let mut c = 0;
        while c + WIDE <= a.channels {
            let mut acc = [[S::splat(0.0); 2]; ROWS];
            for p in 0..a.pixels {
                let x = a.x.add(p * a.step + c);
                let (x0, x1) = (S::load(x), S::load(x.add(LANES)));
                for i in 0..ROWS {
                    let g = S::splat(*a.grad.add(p * ROWS + i));
                    acc[i][0] = S::fma(g, x0, acc[i][0]);
                    acc[i][1] = S::fma(g, x1, acc[i][1]);
                }
            }
            for i in 0..ROWS {
                if i < a.rows {
                    S::store(a.out.add(i * a.channels + c), acc[i][0]);
                    S::store(a.out.add(i * a.channels + c + LANES), acc[i][1]);
                }
            }
            c += WIDE;
        }
        for c in c..a.channels {
            for i in 0..a.rows {
                let mut sum = 0.0;
                for p in 0..a.pixels {
                    sum += *a.grad.add(p * ROWS + i) * *a.x.add(p * a.step + c);
                }
                *a.out.add(i * a.channels + c) = sum;
            }
        }
    }
}

/// The gradient of a dense layer's weights, or of a 1×1 convolution over few pixels: its time is that of writing it.
fn few_pixels(path: Path, g: &Geometry, x: &Input, grad: &Map) -> Buffer {
    let (pixels, channels) = (g.pixels(), g.in_channels);
    let mut out = Buffer::new(g.out_channels * channels);
    let target = Shared::new(out.pointer());
    let source = Shared::of(grad.pointer());
    for_ranges(g.out_channels.div_ceil(ROWS), ROWS * channels, |strips| {
        let mut packed = vec![0f32; pixels * ROWS];
        for strip in strips {
            let first = strip * ROWS;
            let rows = (g.out_channels - first).min(ROWS);
            for (p, line) in packed.chunks_exact_mut(ROWS).enumerate() {
                for (i, value) in line[..rows].iter_mut().enumerate() {
                    // SAFETY: the pixel's channel lies within the map.
                    *value = unsafe { *source.get().add(p * grad.step + first + i) };
                }
            }
            let args = Lines {
                grad: packed.as_ptr(),
                x: x.pixels.get(),
                step: x.step,
                pixels,
                rows,
                channels,
                // SAFETY: the rows lie within the buffer and are this task's alone.
                out: unsafe { target.get().add(first * channels) },
            };
            run_kernel!(path, lines(args: &Lines) with (&args));
        }
    });
    out
}

fn products(path: Path, g: &Geometry, x: &Input, grad: &Map) -> Buffer {
    let plain = g.taps() == 1
        && g.groups == 1
        && g.stride == [1, 1]
        && g.input == g.output
        && g.before == [0, 0];
    if plain && g.pixels() <= 32 {
        return few_pixels(path, g, x, grad);
    }
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
    let (total, inputs) = (Shared::new(sums.pointer()), x.pixels);
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
        let (mut ox, mut oy, mut image) = (0, 0, 0);
        for block in 0..blocks {
            let len = (pixels - block * BLOCK).min(BLOCK);
            let mut any = false;
            for to in columns.chunks_exact_mut(WIDE).take(len) {
                let y = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.before[0]);
                let at = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.before[1]);
                if y < x.size[0] && at < x.size[1] {
                    any = true;
                    let pixel = (image * x.size[0] + y) * x.size[1] + at;
                    // SAFETY: the pixel's channels of this group lie within the input.
                    let from = unsafe {
                        let from = inputs
                            .get()
                            .cast_const()
                            .add(pixel * x.step + group * channels + first);
                        std::slice::from_raw_parts(from, count)
                    };
                    if count == WIDE {
                        to.copy_from_slice(from);
                    } else {
                        to[..count].copy_from_slice(from);
                    }
                } else {
                    to.fill(0.0);
                }
                ox += 1;
                if ox == out_width {
                    ox = 0;
                    oy += 1;
                    if oy == out_height {
                        oy = 0;
                        image += 1;
                    }
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
        for (vector, channels) in out.chunks_mut(WIDE * g.taps()).enumerate() {
            for tap in 0..g.taps() {
                let strip = (tap * g.groups + group) * wide + vector;
                let line = &sums[strip * strip_len + row * WIDE..][..WIDE];
                for (taps, value) in channels.chunks_exact_mut(g.taps()).zip(line) {
                    taps[tap] = *value;
                }
            }
        }
    });
    out
}
