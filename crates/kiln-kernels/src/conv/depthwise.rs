//! Depthwise convolution: one filter per channel, so the channels of a pixel are the vector.

use burn::backend::flex::FlexTensor;

use super::Geometry;
use super::run::{Destination, Epilogue, reader};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::dispatch::{Path, run_kernel};
use crate::layout::Map;
use crate::parallel::{Shared, for_ranges};
use crate::simd::{LANES, Simd};

/// Output pixels computed together: each tap's weights are loaded once for them.
const PIXELS: usize = 4;

/// Weights as [tap][channel], channels padded to whole vectors, each channel's times its factor.
pub(super) fn pack(weight: &FlexTensor, g: &Geometry, factors: &[f32]) -> Buffer {
    let channels = g.in_channels.next_multiple_of(LANES);
    let mut out = Buffer::zeros(g.taps() * channels);
    let read = reader(weight);
    for tap in 0..g.taps() {
        for c in 0..g.in_channels {
            out[tap * channels + c] = read(c, 0, tap / g.kernel[1], tap % g.kernel[1]) * factors[c];
        }
    }
    out
}

/// One row of output pixels.
struct Line {
    /// `[tap][pixel]`.
    table: *const *const f32,
    count: usize,
    taps: usize,
    channels: usize,
    weights: *const f32,
    bias: *const f32,
    residual: *const f32,
    residual_step: usize,
    out: *mut f32,
    step: usize,
    activation: Activation,
}

#[inline(always)]
unsafe fn pixels<S: Simd, const P: usize, const V: usize>(line: &Line, first: usize, c: usize) {
    // SAFETY: see `line`.
    unsafe {
        let padded = line.channels.next_multiple_of(LANES);
        let mut acc = [[S::splat(0.0); V]; P];
        for pixel in &mut acc {
            for (v, sum) in pixel.iter_mut().enumerate() {
                *sum = S::load(line.bias.add(c + v * LANES));
            }
        }
        for tap in 0..line.taps {
            let mut weights = [S::splat(0.0); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = S::load(line.weights.add(tap * padded + c + v * LANES));
            }
            let from = line.table.add(tap * line.count + first);
            for (p, pixel) in acc.iter_mut().enumerate() {
                let from = (*from.add(p)).add(c);
                for (v, sum) in pixel.iter_mut().enumerate() {
                    *sum = S::fma(S::load(from.add(v * LANES)), weights[v], *sum);
                }
            }
        }
        // The next pixels of the last kernel row are the ones no row before has brought near.
        if first + 2 * P <= line.count {
            for p in 0..P {
                S::prefetch(
                    (*line.table.add((line.taps - 1) * line.count + first + P + p)).wrapping_add(c),
                );
            }
        }
        for (p, pixel) in acc.iter().enumerate() {
            for (v, &sum) in pixel.iter().enumerate() {
                let mut sum = sum;
                if !line.residual.is_null() {
                    sum = S::add(
                        sum,
                        S::load(
                            line.residual.add((first + p) * line.residual_step + c + v * LANES),
                        ),
                    );
                }
                S::store(
                    line.out.add((first + p) * line.step + c + v * LANES),
                    line.activation.cheap_vector::<S>(sum),
                );
            }
        }
    }
}

#[inline(always)]
unsafe fn line<S: Simd>(line: &Line) {
    // SAFETY: the table leads to `channels` floats per entry; weights and bias are padded; output and residual have
    // `channels` floats per pixel, and full vectors are touched only where so many channels are left.
    unsafe {
        let mut first = 0;
        while first < line.count {
            let full = line.count - first >= PIXELS;
            let mut c = 0;
            while c + 2 * LANES <= line.channels {
                if full {
                    pixels::<S, PIXELS, 2>(line, first, c);
                } else {
                    pixels::<S, 1, 2>(line, first, c);
                }
                c += 2 * LANES;
            }
            while c + LANES <= line.channels {
                if full {
                    pixels::<S, PIXELS, 1>(line, first, c);
                } else {
                    pixels::<S, 1, 1>(line, first, c);
                }
                c += LANES;
            }
            let count = if full { PIXELS } else { 1 };
            if c < line.channels {
                for p in first..first + count {
                    tail::<S>(line, p, c);
                }
            }
            first += count;
        }
    }
}

/// The last few channels of one pixel.
#[inline(always)]
unsafe fn tail<S: Simd>(line: &Line, p: usize, c: usize) {
    // SAFETY: as `line`; only the channels that exist are touched.
    unsafe {
        let padded = line.channels.next_multiple_of(LANES);
        let mut sums = [0f32; LANES];
        let left = line.channels - c;
        for (i, sum) in sums[..left].iter_mut().enumerate() {
            *sum = *line.bias.add(c + i);
            for tap in 0..line.taps {
                *sum += *(*line.table.add(tap * line.count + p)).add(c + i)
                    * *line.weights.add(tap * padded + c + i);
            }
            if !line.residual.is_null() {
                *sum += *line.residual.add(p * line.residual_step + c + i);
            }
        }
        let value = line.activation.cheap_vector::<S>(S::load(sums.as_ptr()));
        S::store(sums.as_mut_ptr(), value);
        std::ptr::copy_nonoverlapping(sums.as_ptr(), line.out.add(p * line.step + c), left);
    }
}

/// The convolution; every input channel makes one output channel.
pub(super) fn run(
    path: Path,
    g: &Geometry,
    x: &Map,
    weights: &Buffer,
    epilogue: &Epilogue,
    out: Destination,
) {
    let meets = |axis: usize, at: usize, tap: usize| {
        let position =
            (at * g.stride[axis] + tap * g.dilation[axis]).checked_sub(g.before[axis])?;
        (position < g.input[axis]).then_some(position)
    };
    gather(path, g.kernel, g.output, x, weights, epilogue, out, meets);
}

/// The gradient by the input: every input pixel gathers from the output pixels that saw it.
pub(super) fn gradient(
    path: Path,
    g: &Geometry,
    grad: &Map,
    weights: &Buffer,
    epilogue: &Epilogue,
    out: Destination,
) {
    let meets = |axis: usize, at: usize, tap: usize| {
        let position = (at + g.before[axis]).checked_sub(tap * g.dilation[axis])?;
        let seen =
            position.is_multiple_of(g.stride[axis]) && position / g.stride[axis] < g.output[axis];
        seen.then(|| position / g.stride[axis])
    };
    gather(path, g.kernel, g.input, grad, weights, epilogue, out, meets);
}

/// Every output pixel is a weighted sum of those pixels that `meets(axis, output coordinate, tap)` names.
#[allow(clippy::too_many_arguments)]
fn gather(
    path: Path,
    kernel: [usize; 2],
    [out_height, out_width]: [usize; 2],
    x: &Map,
    weights: &Buffer,
    epilogue: &Epilogue,
    out: Destination,
    meets: impl Fn(usize, usize, usize) -> Option<usize> + Sync,
) {
    let channels = x.channels;
    let zeros = Buffer::zeros(channels);
    let (outside, source) = (Shared::of(zeros.as_ptr()), Shared::of(x.pointer()));
    let taps = kernel[0] * kernel[1];
    for_ranges(x.batch * out_height, out_width * channels * taps.div_ceil(2), |rows| {
        let mut table = vec![std::ptr::null(); taps * out_width];
        for row in rows {
            let (image, oy) = (row / out_height, row % out_height);
            table.fill(outside.get().cast_const());
            for ky in 0..kernel[0] {
                let Some(y) = meets(0, oy, ky) else { continue };
                for kx in 0..kernel[1] {
                    let entries = &mut table[(ky * kernel[1] + kx) * out_width..][..out_width];
                    for (ox, entry) in entries.iter_mut().enumerate() {
                        if let Some(at) = meets(1, ox, kx) {
                            // SAFETY: the pixel lies within the map.
                            *entry = unsafe {
                                source
                                    .get()
                                    .cast_const()
                                    .add(((image * x.height + y) * x.width + at) * x.step)
                            };
                        }
                    }
                }
            }
            let residual = epilogue.residual.as_ref();
            let args = Line {
                table: table.as_ptr(),
                count: out_width,
                taps,
                channels,
                weights: weights.as_ptr(),
                bias: epilogue.bias.as_ptr(),
                // SAFETY: the residual has the output's shape.
                residual: residual.map_or(std::ptr::null(), |r| unsafe {
                    r.pointer().add(row * out_width * r.step)
                }),
                residual_step: residual.map_or(0, |r| r.step),
                // SAFETY: the row lies within the output.
                out: unsafe { out.pointer.get().add(row * out_width * out.step) },
                step: out.step,
                activation: epilogue.activation,
            };
            run_kernel!(path, line(args: &Line) with (&args));
            for pixel in 0..out_width {
                // SAFETY: the pixel lies within the row just written.
                unsafe {
                    crate::activation::in_place(
                        path,
                        epilogue.activation,
                        args.out.add(pixel * out.step),
                        channels,
                    );
                }
            }
        }
    });
}
