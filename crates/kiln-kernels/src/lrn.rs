//! Local response normalization over neighbouring channels (A. Krizhevsky et al., NIPS 2012, §3.3).

use burn::nn::LocalResponseNormConfig;
use burn::tensor::Tensor;

/// Numbers of a local response normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Channels in the window.
    pub size: usize,
    /// Factor of the mean square, as PyTorch and burn count it: the paper's α times `size`.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Added to the mean square.
    pub k: f64,
}

/// `x / (k + alpha · mean of squares over the window)^beta`; the window of an even size reaches one channel further up.
///
/// # Shapes
/// - x and output: `[batch, channels, height, width]`
///
/// # Panics
/// If the window's size is zero.
#[must_use]
pub fn lrn(x: Tensor<4>, options: Lrn) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, options) {
        return out;
    }
    let Lrn { size, alpha, beta, k } = options;
    LocalResponseNormConfig::new(size).with_alpha(alpha).with_beta(beta).with_k(k).init().forward(x)
}

#[cfg(feature = "flex")]
mod kernel {
    use super::{Lrn, Tensor};
    use crate::buffer::Buffer;
    use crate::dispatch::{Path, run_kernel};
    use crate::extension::flex as primitive;
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_ranges};
    use crate::simd::{LANES, Simd};

    struct Pixel {
        channels: usize,
        from: *const f32,
        /// Room for the squares: `channels` and a window, rounded up to vectors.
        squares: *mut f32,
        out: *mut f32,
        options: Lrn,
    }

    #[inline(always)]
    unsafe fn pixel<S: Simd>(p: &Pixel) {
        // SAFETY: `channels` floats are readable and writable; the squares have zeros around and room for whole vectors.
        unsafe {
            let size = p.options.size;
            let before = (size - 1) / 2;
            let mut c = 0;
            while c + LANES <= p.channels {
                let value = S::load(p.from.add(c));
                S::store(p.squares.add(before + c), S::mul(value, value));
                c += LANES;
            }
            for c in c..p.channels {
                *p.squares.add(before + c) = *p.from.add(c) * *p.from.add(c);
            }
            let (factor, k) =
                (S::splat((p.options.alpha / size as f64) as f32), S::splat(p.options.k as f32));
            let mut c = 0;
            while c < p.channels {
                let mut sum = S::splat(0.0);
                for i in 0..size {
                    sum = S::add(sum, S::load(p.squares.add(c + i)));
                }
                let base = S::fma(sum, factor, k);
                let power = if p.options.beta == 0.75 {
                    let root = S::sqrt(base);
                    S::mul(root, S::sqrt(root))
                } else {
                    let mut lanes = [0f32; LANES];
                    S::store(lanes.as_mut_ptr(), base);
                    for lane in &mut lanes {
                        *lane = lane.powf(p.options.beta as f32);
                    }
                    S::load(lanes.as_ptr())
                };
                if c + LANES <= p.channels {
                    S::store(p.out.add(c), S::div(S::load(p.from.add(c)), power));
                } else {
                    let mut lanes = [0f32; LANES];
                    S::store(lanes.as_mut_ptr(), power);
                    for (i, lane) in lanes[..p.channels - c].iter().enumerate() {
                        *p.out.add(c + i) = *p.from.add(c + i) / lane;
                    }
                }
                c += LANES;
            }
        }
    }

    pub(super) fn flex(x: &Tensor<4>, options: Lrn) -> Option<Tensor<4>> {
        let [batch, channels, height, width] = x.dims();
        if batch * channels * height * width == 0 || options.size == 0 {
            return None;
        }
        let x = Map::of(primitive(x)?);
        let out = run(Path::best(), &x, options);
        Some(crate::extension::tensor(out, layout::layout([batch, channels, height, width])))
    }

    pub(super) fn run(path: Path, x: &Map, options: Lrn) -> Buffer {
        let channels = x.channels;
        let mut out = Buffer::new(x.pixels() * channels);
        let (source, target) = (Shared::of(x.pointer()), Shared::new(out.pointer()));
        for_ranges(x.pixels(), channels * options.size, |range| {
            let mut squares = vec![0f32; channels + options.size + 2 * LANES];
            for p in range {
                let args = Pixel {
                    channels,
                    // SAFETY: the pixel lies within the map.
                    from: unsafe { source.get().cast_const().add(p * x.step) },
                    squares: squares.as_mut_ptr(),
                    // SAFETY: the pixel lies within the output.
                    out: unsafe { target.get().add(p * channels) },
                    options,
                };
                run_kernel!(path, pixel(args: &Pixel) with (&args));
            }
        });
        out
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::dispatch::Path;
    use crate::layout::Map;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_channel_is_divided_by_its_neighbourhood(
            pixels in 1usize..5, channels in 1usize..30, size in 1usize..8, beta in prop_oneof![Just(0.75), 0.1f64..1.0], seed in 0u64..1000,
        ) {
            let options = Lrn { size, alpha: 0.5, beta, k: 2.0 };
            let x = crate::testing::floats(pixels * channels, seed);
            // One image of `pixels` × 1: NCHW is [channels][pixels].
            let mut expected = vec![0.0; x.len()];
            for p in 0..pixels {
                for c in 0..channels {
                    let sum: f64 = (0..channels)
                        .filter(|&i| i + (size - 1) / 2 >= c && i <= c + size / 2)
                        .map(|i| f64::from(x[i * pixels + p]).powi(2))
                        .sum();
                    let value = f64::from(x[c * pixels + p]) / (2.0 + 0.5 / size as f64 * sum).powf(beta);
                    expected[p * channels + c] = value as f32;
                }
            }
            for path in Path::available() {
                let map = Map::of(FlexTensor::from_data(TensorData::new(x.clone(), [1, channels, pixels, 1])));
                crate::testing::assert_close(&kernel::run(path, &map, options), &expected, 1e-6);
            }
        }
    }
}
