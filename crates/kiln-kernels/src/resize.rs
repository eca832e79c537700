//! Upsampling and downsampling by nearest neighbour or bilinear interpolation, as burn's `interpolate` defines them.

use burn::tensor::ops::InterpolateOptions;
use burn::tensor::{Tensor, module};

/// Changes the height and width of a map.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - output: `[batch, channels, new height, new width]`
///
/// # Panics
/// If the options name not exactly one of output size and scale factor.
#[must_use]
pub fn interpolate(x: Tensor<4>, options: InterpolateOptions) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, &options) {
        return out;
    }
    module::interpolate(x, options)
}

#[cfg(feature = "flex")]
mod kernel {
    use super::{InterpolateOptions, Tensor};
    use burn::tensor::ops::InterpolateMode;

    use crate::buffer::Buffer;
    use crate::dispatch::{Path, run_kernel};
    use crate::extension::flex as primitive;
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_ranges};
    use crate::simd::{LANES, Simd};

    /// An output coordinate's two neighbours and the weight of the second.
    #[derive(Clone, Copy)]
    struct Tap {
        low: usize,
        high: usize,
        weight: f32,
    }

    fn taps(from: usize, to: usize, bilinear: bool, align_corners: bool) -> Vec<Tap> {
        let ratio = if bilinear && align_corners {
            (from as f64 - 1.0) / (to.max(2) - 1) as f64
        } else {
            from as f64 / to as f64
        };
        (0..to)
            .map(|at| {
                if !bilinear {
                    let low = ((at as f64 * ratio).floor() as usize).min(from - 1);
                    return Tap { low, high: low, weight: 0.0 };
                }
                let position =
                    if align_corners { at as f64 * ratio } else { (at as f64 + 0.5) * ratio - 0.5 };
                let low = (position.floor().max(0.0) as usize).min(from - 1);
                Tap {
                    low,
                    high: (low + 1).min(from - 1),
                    weight: (position - low as f64).max(0.0) as f32,
                }
            })
            .collect()
    }

    struct Pixel {
        channels: usize,
        corners: [*const f32; 4],
        weights: [f32; 4],
        out: *mut f32,
    }

    #[inline(always)]
    unsafe fn pixel<S: Simd>(p: &Pixel) {
        // SAFETY: `channels` floats are readable at every corner and writable.
        unsafe {
            let mut c = 0;
            while c + LANES <= p.channels {
                let mut sum = S::mul(S::load(p.corners[0].add(c)), S::splat(p.weights[0]));
                for i in 1..4 {
                    sum = S::add(sum, S::mul(S::load(p.corners[i].add(c)), S::splat(p.weights[i])));
                }
                S::store(p.out.add(c), sum);
                c += LANES;
            }
            for c in c..p.channels {
                let mut sum = *p.corners[0].add(c) * p.weights[0];
                for i in 1..4 {
                    sum += *p.corners[i].add(c) * p.weights[i];
                }
                *p.out.add(c) = sum;
            }
        }
    }

    pub(super) fn flex(x: &Tensor<4>, options: &InterpolateOptions) -> Option<Tensor<4>> {
        let [batch, channels, height, width] = x.dims();
        let size = match (options.output_size, options.scale_factor) {
            (Some(size), None) => size,
            (None, Some(factor)) => [height, width]
                .iter()
                .zip(factor)
                .map(|(&s, f)| (s as f64 * f64::from(f)) as usize)
                .collect::<Vec<_>>()
                .try_into()
                .ok()?,
            _ => return None,
        };
        let bilinear = match options.mode {
            InterpolateMode::Nearest => false,
            InterpolateMode::Bilinear => true,
            _ => return None,
        };
        if batch * channels * height * width * size[0] * size[1] == 0 {
            return None;
        }
        let x = Map::of(primitive(x)?);
        let out = run(Path::best(), &x, size, bilinear, options.align_corners);
        Some(crate::extension::tensor(out, layout::layout([batch, channels, size[0], size[1]])))
    }

    fn run(
        path: Path,
        x: &Map,
        [height, width]: [usize; 2],
        bilinear: bool,
        align_corners: bool,
    ) -> Buffer {
        let (down, right) = (
            taps(x.height, height, bilinear, align_corners),
            taps(x.width, width, bilinear, align_corners),
        );
        let channels = x.channels;
        let mut out = Buffer::new(x.batch * height * width * channels);
        let (source, target) = (Shared::of(x.pointer()), Shared::new(out.pointer()));
        for_ranges(x.batch * height, width * channels, |rows| {
            for row in rows {
                let (image, y) = (row / height, down[row % height]);
                for (i, tap) in right.iter().enumerate() {
                    // SAFETY: the pixels lie within the map.
                    let at = |y: usize, x_at: usize| unsafe {
                        source
                            .get()
                            .cast_const()
                            .add(((image * x.height + y) * x.width + x_at) * x.step)
                    };
                    // SAFETY: the pixel lies within the output.
                    let to = unsafe { target.get().add((row * width + i) * channels) };
                    if !bilinear {
                        // SAFETY: both have `channels` floats; tasks write disjoint rows.
                        unsafe { std::ptr::copy_nonoverlapping(at(y.low, tap.low), to, channels) };
                        continue;
                    }
                    let args = Pixel {
                        channels,
                        corners: [
                            at(y.low, tap.low),
                            at(y.low, tap.high),
                            at(y.high, tap.low),
                            at(y.high, tap.high),
                        ],
                        weights: [
                            (1.0 - tap.weight) * (1.0 - y.weight),
                            tap.weight * (1.0 - y.weight),
                            (1.0 - tap.weight) * y.weight,
                            tap.weight * y.weight,
                        ],
                        out: to,
                    };
                    run_kernel!(path, pixel(args: &Pixel) with (&args));
                }
            }
        });
        out
    }
}
