//! The derivative of an activation, read off its output, and the sum of a gradient over pixels.

use burn::backend::flex::FlexTensor;
use burn::tensor::DType;

use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::dispatch::{Path, run_kernel};
use crate::layout::{self, Map};
use crate::parallel::{Shared, for_each, for_ranges};
use crate::simd::{LANES, Simd};

/// Whether the derivative is a function of the output.
pub(super) fn known_from_output(activation: Activation) -> bool {
    match activation {
        Activation::Silu => false,
        Activation::LeakyRelu(slope) => slope > 0.0,
        _ => true,
    }
}

#[inline(always)]
unsafe fn derivative<S: Simd>(activation: Activation, y: S::V, g: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        match activation {
            Activation::Identity | Activation::Silu => g,
            Activation::Relu => S::select_less(zero, y, g, zero),
            Activation::LeakyRelu(slope) => S::select_less(y, zero, S::mul(g, S::splat(slope)), g),
            Activation::Tanh => S::mul(g, S::fnma(y, y, one)),
            // y = a tanh(b x): dy/dx = b (a − y² / a).
            Activation::ScaledTanh => {
                let square = S::mul(S::mul(y, y), S::splat(1.0 / 1.7159));
                S::mul(g, S::mul(S::splat(2.0 / 3.0), S::sub(S::splat(1.7159), square)))
            }
            Activation::Sigmoid => S::mul(g, S::mul(y, S::sub(one, y))),
        }
    }
}

#[inline(always)]
unsafe fn row<S: Simd>(
    activation: Activation,
    y: *const f32,
    g: *const f32,
    out: *mut f32,
    len: usize,
) {
    // SAFETY: `len` floats are readable and writable; the tail goes through arrays.
    unsafe {
        let mut i = 0;
        while i + LANES <= len {
            S::store(out.add(i), derivative::<S>(activation, S::load(y.add(i)), S::load(g.add(i))));
            i += LANES;
        }
        if i < len {
            let (mut a, mut b) = ([0f32; LANES], [0f32; LANES]);
            std::ptr::copy_nonoverlapping(y.add(i), a.as_mut_ptr(), len - i);
            std::ptr::copy_nonoverlapping(g.add(i), b.as_mut_ptr(), len - i);
            let value = derivative::<S>(activation, S::load(a.as_ptr()), S::load(b.as_ptr()));
            S::store(b.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(b.as_ptr(), out.add(i), len - i);
        }
    }
}

/// The gradient before the activation, channels-last, given the one after it and the output.
pub(super) fn before(
    path: Path,
    activation: Activation,
    y: Option<FlexTensor>,
    g: FlexTensor,
) -> FlexTensor {
    let Some(y) = y.filter(|_| activation != Activation::Identity) else { return g };
    let shape = layout::dims(&g);
    let (y, g) = (Map::of(y), Map::of(g));
    let channels = g.channels;
    let mut out = Buffer::new(g.pixels() * channels);
    let target = Shared::new(out.pointer());
    let (ys, gs) = (Shared::of(y.pointer()), Shared::of(g.pointer()));
    for_ranges(g.pixels(), channels * 2, |range| {
        let dense = y.step == channels && g.step == channels;
        let (pieces, len) =
            if dense { (1, range.len() * channels) } else { (range.len(), channels) };
        for piece in 0..pieces {
            let pixel = range.start + piece;
            // SAFETY: the pixels lie within both maps and the output.
            let (y_at, g_at, to) = unsafe {
                (
                    ys.get().cast_const().add(pixel * y.step),
                    gs.get().cast_const().add(pixel * g.step),
                    target.get().add(pixel * channels),
                )
            };
            run_kernel!(path, row(activation: Activation, y: *const f32, g: *const f32, out: *mut f32, len: usize)
                with (activation, y_at, g_at, to, len));
        }
    });
    FlexTensor::new(out.into_bytes(), layout::layout(shape), DType::F32)
}

#[inline(always)]
unsafe fn add_pixels<S: Simd>(
    from: *const f32,
    pixels: usize,
    step: usize,
    channels: usize,
    out: *mut f32,
) {
    // SAFETY: so many pixels are readable and `channels` floats writable.
    unsafe {
        let mut c = 0;
        while c + LANES <= channels {
            let mut sum = S::splat(0.0);
            for p in 0..pixels {
                sum = S::add(sum, S::load(from.add(p * step + c)));
            }
            S::store(out.add(c), sum);
            c += LANES;
        }
        for c in c..channels {
            let mut sum = 0.0;
            for p in 0..pixels {
                sum += *from.add(p * step + c);
            }
            *out.add(c) = sum;
        }
    }
}

/// The sum over all pixels: of chunks of fixed size first, so that the order is one for any number of threads.
pub(super) fn sum_pixels(path: Path, g: &Map) -> Buffer {
    const CHUNK: usize = 64;
    let (pixels, channels) = (g.pixels(), g.channels);
    let chunks = pixels.div_ceil(CHUNK);
    let mut parts = Buffer::new(chunks * channels);
    let (target, source) = (Shared::new(parts.pointer()), Shared::of(g.pointer()));
    for_each(chunks, pixels * channels, |i| {
        let count = (pixels - i * CHUNK).min(CHUNK);
        // SAFETY: chunk and sums lie within map and buffer.
        let (from, to) = unsafe {
            (source.get().cast_const().add(i * CHUNK * g.step), target.get().add(i * channels))
        };
        run_kernel!(path, add_pixels(from: *const f32, pixels: usize, step: usize, channels: usize, out: *mut f32)
            with (from, count, g.step, channels, to));
    });
    let mut out = Buffer::zeros(channels);
    for part in parts.chunks_exact(channels) {
        for (sum, value) in out.iter_mut().zip(part) {
            *sum += value;
        }
    }
    out
}
