//! The mean of each channel over a whole map.

use burn::tensor::Tensor;

use super::kernel::finish;
use crate::buffer::Buffer;
use crate::dispatch::{Path, run_kernel};
use crate::extension::flex;
use crate::layout::Map;
use crate::parallel::{Shared, for_each, part, threads};
use crate::simd::{LANES, Simd};

#[inline(always)]
unsafe fn sum_pixels<S: Simd>(
    from: *const f32,
    pixels: usize,
    step: usize,
    channels: usize,
    scale: f32,
    out: *mut f32,
) {
    // SAFETY: `pixels` pixels of `channels` floats are readable, `channels` floats writable.
    unsafe {
        let mut c = 0;
        while c + LANES <= channels {
            // Four sums, so that an addition need not wait for the one before.
            let mut sums = [S::splat(0.0); 4];
            let mut p = 0;
            while p + 4 <= pixels {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = S::add(*sum, S::load(from.add((p + i) * step + c)));
                }
                p += 4;
            }
            for p in p..pixels {
                sums[0] = S::add(sums[0], S::load(from.add(p * step + c)));
            }
            let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            S::store(out.add(c), S::mul(sum, S::splat(scale)));
            c += LANES;
        }
        for c in c..channels {
            let mut sum = 0.0;
            for p in 0..pixels {
                sum += *from.add(p * step + c);
            }
            *out.add(c) = sum * scale;
        }
    }
}

pub(super) fn global(x: &Tensor<4>) -> Option<Tensor<4>> {
    if x.dims().contains(&0) {
        return None;
    }
    let x = Map::of(flex(x)?);
    let out = global_map(Path::best(), &x);
    Some(finish(out, &x, 1, 1))
}

pub(crate) fn global_map(path: Path, x: &Map) -> Buffer {
    let mut out = Buffer::new(x.batch * x.channels);
    let (source, target) = (Shared::of(x.pointer()), Shared::new(out.pointer()));
    let pixels = x.height * x.width;
    // A task is some vectors of an image's channels: each sum is one task's alone.
    let vectors = x.channels.div_ceil(LANES);
    let parts = (threads() * 2).div_ceil(x.batch).clamp(1, vectors.div_ceil(4));
    for_each(x.batch * parts, x.pixels() * x.channels, |task| {
        let (image, vectors) = (task / parts, part(vectors, parts, task % parts));
        let (first, last) = (vectors.start * LANES, (vectors.end * LANES).min(x.channels));
        // SAFETY: image and channels lie within map and output.
        let (from, to) = unsafe {
            (
                source.get().cast_const().add(image * pixels * x.step + first),
                target.get().add(image * x.channels + first),
            )
        };
        let scale = 1.0 / pixels as f32;
        run_kernel!(path, sum_pixels(from: *const f32, pixels: usize, step: usize, channels: usize, scale: f32, out: *mut f32)
            with (from, pixels, x.step, last - first, scale, to));
    });
    out
}
