//! The loops: a window's pixels are listed once, then the channels pass over them as vectors.

use burn::tensor::Tensor;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use crate::buffer::Buffer;
use crate::dispatch::{Path, run_kernel};
use crate::extension::flex;
use crate::layout::{self, Map};
use crate::parallel::{Shared, for_each, for_ranges, part, threads};
use crate::simd::{LANES, Simd};

/// One axis of the windows.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    out: usize,
}

impl Axis {
    /// As burn's `calculate_pool_output_size`; nothing where no window fits.
    fn new(
        size: usize,
        kernel: usize,
        stride: usize,
        padding: (usize, usize),
        dilation: usize,
        ceil: bool,
    ) -> Option<Self> {
        if kernel == 0 || stride == 0 || dilation == 0 || size == 0 || padding.0 != padding.1 {
            return None;
        }
        let padding = padding.0;
        let room = (size + 2 * padding).checked_sub(dilation * (kernel - 1) + 1)?;
        let mut out = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
        if ceil && (out - 1) * stride >= size + padding {
            out -= 1;
        }
        Some(Self { size, kernel, stride, padding, dilation, out })
    }

    /// Input coordinates of the window at `at`, inside the input.
    fn inside(self, at: usize) -> impl Iterator<Item = usize> + Clone {
        (0..self.kernel).filter_map(move |k| {
            (at * self.stride + k * self.dilation)
                .checked_sub(self.padding)
                .filter(|&position| position < self.size)
        })
    }

    /// Positions of the window at `at` that count when the padding counts.
    fn padded(self, at: usize) -> usize {
        (self.size + 2 * self.padding).saturating_sub(at * self.stride).min(self.kernel)
    }
}

/// The windows of a pooling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    down: Axis,
    right: Axis,
}

impl Windows {
    /// Those of a maximum; nothing where the kernels do not serve.
    pub(crate) fn of_max(
        [batch, channels, height, width]: [usize; 4],
        o: &MaxPoolOptions<2>,
    ) -> Option<Self> {
        if batch * channels == 0 {
            return None;
        }
        let [size, stride, padding, dilation] =
            [o.kernel_size, o.stride, o.padding.map(|p| p.0), o.dilation];
        let axis = |i: usize, extent| {
            let padding = (padding[i], o.padding[i].1);
            Axis::new(extent, size[i], stride[i], padding, dilation[i], o.ceil_mode)
        };
        Some(Self { down: axis(0, height)?, right: axis(1, width)? })
    }

    /// Those of a mean; nothing where the kernels do not serve.
    pub(crate) fn of_average(
        [batch, channels, height, width]: [usize; 4],
        o: &AvgPoolOptions<2>,
    ) -> Option<Self> {
        if batch * channels == 0 {
            return None;
        }
        let axis = |i: usize, extent| {
            Axis::new(extent, o.kernel_size[i], o.stride[i], o.padding[i], 1, o.ceil_mode)
        };
        Some(Self { down: axis(0, height)?, right: axis(1, width)? })
    }

    /// The means.
    pub(crate) fn average(&self, path: Path, x: &Map, padding_counts: bool) -> Buffer {
        pool(path, x, self.down, self.right, divisor(self.down, self.right, padding_counts))
    }

    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        [self.down.out, self.right.out]
    }

    /// The maxima.
    pub(crate) fn max(&self, path: Path, x: &Map) -> Buffer {
        pool(path, x, self.down, self.right, |_, _, _| None)
    }

    /// The gradient by the input of a maximum: each output's goes to the first pixel of its window that holds the maximum.
    pub(crate) fn max_gradient(&self, path: Path, x: &Map, y: &Map, grad: &Map) -> Buffer {
        let xs = Shared::of(x.pointer());
        let ys = Shared::of(y.pointer());
        self.scatter([x.height, x.width], grad, |window, [pixel, first, len], g| {
            // SAFETY: window and output pixel lie within their maps.
            let y = unsafe { ys.get().cast_const().add(pixel * y.step + first) };
            // SAFETY: as above.
            let from = |input: usize| unsafe { xs.get().cast_const().add(input * x.step + first) };
            let mut pairs = [(std::ptr::null(), std::ptr::null_mut()); 64];
            let mut more = Vec::new();
            let pairs = if window.len() <= pairs.len() {
                &mut pairs[..window.len()]
            } else {
                more.resize(window.len(), pairs[0]);
                &mut more[..]
            };
            for (pair, &(input, to)) in pairs.iter_mut().zip(window) {
                *pair = (from(input), to);
            }
            let pairs = &*pairs;
            run_kernel!(path, hand_back(window: &[(*const f32, *mut f32)], y: *const f32, g: *const f32, len: usize)
                with (pairs, y, g, len));
        })
    }

    /// The gradient by the input of a mean.
    pub(crate) fn average_gradient(
        &self,
        path: Path,
        input: [usize; 2],
        grad: &Map,
        padding_counts: bool,
    ) -> Buffer {
        let divisor = divisor(self.down, self.right, padding_counts);
        let out_width = self.right.out;
        let out_height = self.down.out;
        self.scatter(input, grad, |window, [pixel, _, len], g| {
            let (ox, oy) = (pixel % out_width, pixel / out_width % out_height);
            let factor = 1.0 / divisor(oy, ox, window.len()).unwrap_or(1) as f32;
            run_kernel!(path, spread(window: &[(usize, *mut f32)], g: *const f32, factor: f32, len: usize)
                with (window, g, factor, len));
        })
    }

    /// Hands each output pixel's gradient to the pixels of its window by `hand(window, [output pixel, first channel,
    /// channels], gradient)`; a window's entries are an input pixel and its place in the result.
    fn scatter(
        &self,
        [height, width]: [usize; 2],
        grad: &Map,
        hand: impl Fn(&[(usize, *mut f32)], [usize; 3], *const f32) + Sync,
    ) -> Buffer {
        let (down, right, channels) = (self.down, self.right, grad.channels);
        let pixels = height * width;
        let mut out = Buffer::new(grad.batch * pixels * channels);
        let target = Shared::new(out.pointer());
        let gs = Shared::of(grad.pointer());
        // Windows overlap: a task has whole images and some of their channels.
        let vectors = channels.div_ceil(LANES);
        let parts = (threads() * 4).div_ceil(grad.batch).clamp(1, vectors.div_ceil(2));
        for_each(grad.batch * parts, grad.batch * pixels * channels * 4, |task| {
            let (image, vectors) = (task / parts, part(vectors, parts, task % parts));
            let (first, last) = (vectors.start * LANES, (vectors.end * LANES).min(channels));
            for pixel in image * pixels..(image + 1) * pixels {
                // SAFETY: the pixel's channels lie within the buffer and are this task's alone.
                unsafe { target.get().add(pixel * channels + first).write_bytes(0, last - first) };
            }
            let mut window = Vec::with_capacity(down.kernel * right.kernel);
            for (oy, ox) in (0..down.out).flat_map(|y| (0..right.out).map(move |x| (y, x))) {
                window.clear();
                for at_y in down.inside(oy) {
                    for at_x in right.inside(ox) {
                        let pixel = (image * height + at_y) * width + at_x;
                        // SAFETY: the pixel lies within the buffer.
                        window.push((pixel, unsafe { target.get().add(pixel * channels + first) }));
                    }
                }
                let pixel = (image * down.out + oy) * right.out + ox;
                // SAFETY: the pixel lies within the map.
                let g = unsafe { gs.get().cast_const().add(pixel * grad.step + first) };
                hand(&window, [pixel, first, last - first], g);
            }
        });
        out
    }
}

#[inline(always)]
unsafe fn spread<S: Simd>(window: &[(usize, *mut f32)], g: *const f32, factor: f32, len: usize) {
    // SAFETY: all pointers lead to `len` floats; the tail goes one by one.
    unsafe {
        let mut c = 0;
        while c + LANES <= len {
            let part = S::mul(S::load(g.add(c)), S::splat(factor));
            for &(_, to) in window {
                S::store(to.add(c), S::add(S::load(to.add(c)), part));
            }
            c += LANES;
        }
        for c in c..len {
            for &(_, to) in window {
                *to.add(c) += *g.add(c) * factor;
            }
        }
    }
}

#[inline(always)]
unsafe fn hand_back<S: Simd>(
    window: &[(*const f32, *mut f32)],
    y: *const f32,
    g: *const f32,
    len: usize,
) {
    // SAFETY: all pointers lead to `len` floats; the tail goes one by one.
    unsafe {
        let zero = S::splat(0.0);
        let mut c = 0;
        while c + LANES <= len {
            let most = S::load(y.add(c));
            let mut left = S::load(g.add(c));
            for &(from, to) in window {
                let value = S::load(from.add(c));
                let to = to.add(c);
                S::store(to, S::add(S::load(to), S::select_less(value, most, zero, left)));
                left = S::select_less(value, most, left, zero);
            }
            c += LANES;
        }
        for c in c..len {
            // A NaN is not less than anything: it holds the maximum, as in the vectors above.
            let holds = |from: *const f32| {
                *from.add(c) >= *y.add(c) || (*from.add(c)).is_nan() || (*y.add(c)).is_nan()
            };
            if let Some(&(_, to)) = window.iter().find(|(from, _)| holds(*from)) {
                *to.add(c) += *g.add(c);
            }
        }
    }
}

/// A window of one output pixel.
struct Window<'a> {
    pixels: &'a [*const f32],
    channels: usize,
    out: *mut f32,
    /// One over the number of values to divide by; nothing for the maximum.
    scale: Option<f32>,
}

#[inline(always)]
unsafe fn vector<S: Simd>(w: &Window<'_>, c: usize) -> S::V {
    // SAFETY: every pixel has a full vector at `c`.
    unsafe {
        match w.scale {
            None => {
                let mut best = S::splat(f32::NEG_INFINITY);
                for pixel in w.pixels {
                    best = S::max_or_nan(best, S::load(pixel.add(c)));
                }
                best
            }
            Some(scale) => {
                let mut sum = S::splat(0.0);
                for pixel in w.pixels {
                    sum = S::add(sum, S::load(pixel.add(c)));
                }
                S::mul(sum, S::splat(scale))
            }
        }
    }
}

#[inline(always)]
unsafe fn window<S: Simd>(w: &Window<'_>) {
    // SAFETY: every pixel and the output have `channels` floats; the tail is read one by one.
    unsafe {
        let mut c = 0;
        while c + LANES <= w.channels {
            S::store(w.out.add(c), vector::<S>(w, c));
            c += LANES;
        }
        for c in c..w.channels {
            let value = match w.scale {
                None => w
                    .pixels
                    .iter()
                    .map(|p| *p.add(c))
                    .fold(f32::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b }),
                Some(scale) => w.pixels.iter().map(|p| *p.add(c)).sum::<f32>() * scale,
            };
            *w.out.add(c) = value;
        }
    }
}

/// Pools with the windows of two axes; `divisor(y, x, inside)` gives the number to divide by, or nothing for the maximum.
fn pool(
    path: Path,
    x: &Map,
    down: Axis,
    right: Axis,
    divisor: impl Fn(usize, usize, usize) -> Option<usize> + Sync,
) -> Buffer {
    let channels = x.channels;
    let mut out = Buffer::new(x.batch * down.out * right.out * channels);
    let (source, target) = (Shared::of(x.pointer()), Shared::new(out.pointer()));
    let work = right.out * channels * (down.kernel * right.kernel).div_ceil(2);
    for_ranges(x.batch * down.out, work, |rows| {
        let mut pixels = Vec::with_capacity(down.kernel * right.kernel);
        for row in rows {
            let (image, oy) = (row / down.out, row % down.out);
            for ox in 0..right.out {
                pixels.clear();
                for y in down.inside(oy) {
                    let line = (image * x.height + y) * x.width;
                    for at in right.inside(ox) {
                        // SAFETY: the pixel lies within the map.
                        pixels.push(unsafe { source.get().cast_const().add((line + at) * x.step) });
                    }
                }
                let scale = divisor(oy, ox, pixels.len()).map(|count| 1.0 / count as f32);
                // SAFETY: the pixel lies within the output.
                let out = unsafe { target.get().add((row * right.out + ox) * channels) };
                let args = Window { pixels: &pixels, channels, out, scale };
                run_kernel!(path, window(args: &Window<'_>) with (&args));
            }
        }
    });
    out
}

pub(super) fn finish(out: Buffer, x: &Map, height: usize, width: usize) -> Tensor<4> {
    crate::extension::tensor(out, layout::layout([x.batch, x.channels, height, width]))
}

pub(super) fn max(x: &Tensor<4>, o: &MaxPoolOptions<2>) -> Option<Tensor<4>> {
    let windows = Windows::of_max(x.dims(), o)?;
    let x = Map::of(flex(x)?);
    let [height, width] = windows.output();
    Some(finish(windows.max(Path::best(), &x), &x, height, width))
}

pub(super) fn average(x: &Tensor<4>, o: &AvgPoolOptions<2>) -> Option<Tensor<4>> {
    let windows = Windows::of_average(x.dims(), o)?;
    let x = Map::of(flex(x)?);
    let [height, width] = windows.output();
    Some(finish(windows.average(Path::best(), &x, o.count_include_pad), &x, height, width))
}

fn divisor(
    down: Axis,
    right: Axis,
    padding_counts: bool,
) -> impl Fn(usize, usize, usize) -> Option<usize> + Sync {
    move |y, x, inside| Some(if padding_counts { down.padded(y) * right.padded(x) } else { inside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::global::global_map;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    fn map(values: &[f32], shape: [usize; 4]) -> Map {
        Map::of(FlexTensor::from_data(TensorData::new(values.to_vec(), shape)))
    }

    /// The definition; the output in channels-last order.
    fn naive(
        x: &[f32],
        [n, c, h, w]: [usize; 4],
        down: Axis,
        right: Axis,
        maximum: bool,
        padding_counts: bool,
    ) -> Vec<f32> {
        let mut out = Vec::new();
        for image in 0..n {
            for oy in 0..down.out {
                for ox in 0..right.out {
                    for channel in 0..c {
                        let mut values = Vec::new();
                        for ky in 0..down.kernel {
                            for kx in 0..right.kernel {
                                let y = (oy * down.stride + ky * down.dilation) as isize
                                    - down.padding as isize;
                                let at = (ox * right.stride + kx * right.dilation) as isize
                                    - right.padding as isize;
                                if y >= 0 && at >= 0 && (y as usize) < h && (at as usize) < w {
                                    values.push(
                                        x[((image * c + channel) * h + y as usize) * w
                                            + at as usize],
                                    );
                                }
                            }
                        }
                        out.push(if maximum {
                            let nan = values.iter().any(|v| v.is_nan());
                            if nan {
                                f32::NAN
                            } else {
                                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
                            }
                        } else {
                            let count = if padding_counts {
                                down.padded(oy) * right.padded(ox)
                            } else {
                                values.len()
                            };
                            values.iter().sum::<f32>() / count as f32
                        });
                    }
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn pools_match_the_naive_loop(
            n in 1usize..3, c in 1usize..20, h in 1usize..12, w in 1usize..12, kernel in 1usize..5, stride in 1usize..4,
            padding in 0usize..3, dilation in 1usize..3, ceil: bool, counts: bool, nan: bool, seed in 0u64..1000,
        ) {
            let padding = padding.min(kernel / 2);
            let axis = |size, dilation| Axis::new(size, kernel, stride, (padding, padding), dilation, ceil);
            let mut x = crate::testing::floats(n * c * h * w, seed);
            if nan {
                let at = seed as usize % x.len();
                x[at] = f32::NAN;
            }
            for path in Path::available() {
                if let (Some(down), Some(right)) = (axis(h, dilation), axis(w, dilation)) {
                    let out = pool(path, &map(&x, [n, c, h, w]), down, right, |_, _, _| None);
                    crate::testing::assert_close(&out, &naive(&x, [n, c, h, w], down, right, true, false), 0.0);
                }
                if let (Some(down), Some(right)) = (axis(h, 1), axis(w, 1)) {
                    let out = pool(path, &map(&x, [n, c, h, w]), down, right, divisor(down, right, counts));
                    crate::testing::assert_close(&out, &naive(&x, [n, c, h, w], down, right, false, counts), 1e-6);
                }
            }
        }

        #[test]
        fn global_pooling_is_the_mean(n in 1usize..4, c in 1usize..70, h in 1usize..9, w in 1usize..9, seed in 0u64..1000) {
            let x = crate::testing::floats(n * c * h * w, seed);
            let expected: Vec<f32> = x.chunks(h * w).map(|channel| channel.iter().sum::<f32>() / (h * w) as f32).collect();
            for path in Path::available() {
                crate::testing::assert_close(&global_map(path, &map(&x, [n, c, h, w])), &expected, 1e-6);
            }
        }
    }
}
