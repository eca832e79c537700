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
    forward(path, g, x, weights, epilogue).all(out);
}

/// The convolution, to be computed row by row.
pub(super) fn forward<'a>(
    path: Path,
    g: &'a Geometry,
    x: &'a Map,
    weights: &'a Buffer,
    epilogue: &'a Epilogue,
) -> Gather<'a, impl Fn(usize, usize, usize) -> Option<usize> + Sync> {
    let meets = |axis: usize, at: usize, tap: usize| {
        let position =
            (at * g.stride[axis] + tap * g.dilation[axis]).checked_sub(g.before[axis])?;
        (position < g.input[axis]).then_some(position)
    };
    Gather::new(path, g.kernel, g.output, x, weights, epilogue, meets)
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
    Gather::new(path, g.kernel, g.input, grad, weights, epilogue, meets).all(out);
}

/// Every output pixel is a weighted sum of those pixels that `meets(axis, output coordinate, tap)` names.
pub(super) struct Gather<'a, M> {
    path: Path,
    kernel: [usize; 2],
    output: [usize; 2],
    x: &'a Map,
    source: Shared<f32>,
    weights: &'a Buffer,
    epilogue: &'a Epilogue,
    zeros: Buffer,
    meets: M,
}

impl<'a, M: Fn(usize, usize, usize) -> Option<usize> + Sync> Gather<'a, M> {
    fn new(
        path: Path,
        kernel: [usize; 2],
        output: [usize; 2],
        x: &'a Map,
        weights: &'a Buffer,
        epilogue: &'a Epilogue,
        meets: M,
    ) -> Self {
        let (zeros, source) = (Buffer::zeros(x.channels), Shared::of(x.pointer()));
        Self { path, kernel, output, x, source, weights, epilogue, zeros, meets }
    }

    /// All rows of all images.
    fn all(&self, out: Destination) {
        let [height, width] = self.output;
        let taps = self.kernel[0] * self.kernel[1];
        for_ranges(self.x.batch * height, width * self.x.channels * taps.div_ceil(2), |rows| {
            let mut table = Vec::new();
            for row in rows {
                // SAFETY: the row lies within the output and is this task's alone.
                unsafe {
                    let to = out.pointer.get().add(row * width * out.step);
                    self.row(row, &mut table, to, out.step);
                };
            }
        });
    }

    /// One row of the output, of the first image's, the second's and so on, to `out`. `table` is room to work in.
    ///
    /// # Safety
    /// The row's pixels, `step` floats apart, must be writable there.
    pub(super) unsafe fn row(
        &self,
        row: usize,
        table: &mut Vec<*const f32>,
        out: *mut f32,
        step: usize,
    ) {
        let ([height, width], kernel, x) = (self.output, self.kernel, self.x);
        let (image, oy) = (row / height, row % height);
        let taps = kernel[0] * kernel[1];
        table.clear();
        table.resize(taps * width, self.zeros.as_ptr());
        for ky in 0..kernel[0] {
            let Some(y) = (self.meets)(0, oy, ky) else { continue };
            for kx in 0..kernel[1] {
                let entries = &mut table[(ky * kernel[1] + kx) * width..][..width];
                for (ox, entry) in entries.iter_mut().enumerate() {
                    if let Some(at) = (self.meets)(1, ox, kx) {
                        let pixel = (image * x.height + y) * x.width + at;
                        // SAFETY: the pixel lies within the map.
                        *entry = unsafe { self.source.get().cast_const().add(pixel * x.step) };
                    }
                }
            }
        }
        let residual = self.epilogue.residual.as_ref();
        let activation = self.epilogue.activation;
        let args = Line {
            table: table.as_ptr(),
            count: width,
            taps,
            channels: x.channels,
            weights: self.weights.as_ptr(),
            bias: self.epilogue.bias.as_ptr(),
            residual: residual.map_or(std::ptr::null(), |r| {
                // SAFETY: the residual has the output's shape.
                unsafe { r.pointer().add(row * width * r.step) }
            }),
            residual_step: residual.map_or(0, |r| r.step),
            out,
            step,
            activation,
        };
        run_kernel!(self.path, line(args: &Line) with (&args));
        for pixel in 0..width {
            // SAFETY: the pixel lies within the row just written.
            unsafe {
                let to = out.add(pixel * step);
                crate::activation::in_place(self.path, activation, to, x.channels);
            }
        }
    }
}
