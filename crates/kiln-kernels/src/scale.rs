//! A factor per image and channel: the last step of squeeze-and-excitation, with the block's residual and activation.

use burn::tensor::Tensor;

use crate::activation::Activation;

/// `activation(x · scale + residual)`, the scale spread over height and width.
///
/// # Shapes
/// - x, residual and output: `[batch, channels, height, width]`
/// - scale: `[batch, channels, 1, 1]`
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn scale_channels(
    x: Tensor<4>,
    scale: Tensor<4>,
    residual: Option<Tensor<4>>,
    activation: Activation,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, &scale, residual.as_ref(), activation) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::scale_channels(&x, &scale, residual.as_ref(), activation) {
        return out;
    }
    let scaled = x * scale;
    activation.burn(match residual {
        Some(residual) => scaled + residual,
        None => scaled,
    })
}

#[cfg(feature = "flex")]
pub(crate) mod kernel {
    use super::{Activation, Tensor};
    use crate::buffer::Buffer;
    use crate::dispatch::{Path, run_kernel};
    use crate::extension::{contiguous, flex as primitive, flex_maybe, floats};
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_each, for_ranges, part, threads};
    use crate::simd::{LANES, Simd};

    struct Pixels {
        count: usize,
        channels: usize,
        from: *const f32,
        step: usize,
        scale: *const f32,
        residual: *const f32,
        residual_step: usize,
        out: *mut f32,
        activation: Activation,
    }

    #[inline(always)]
    unsafe fn pixels<S: Simd>(a: &Pixels) {
        // SAFETY: `count` pixels of `channels` floats are readable and writable; tails go through arrays.
        unsafe {
            for p in 0..a.count {
                let (from, out) = (a.from.add(p * a.step), a.out.add(p * a.channels));
                let residual = if a.residual.is_null() {
                    a.residual
                } else {
                    a.residual.add(p * a.residual_step)
                };
                let mut c = 0;
                while c + LANES <= a.channels {
                    let mut value = S::mul(S::load(from.add(c)), S::load(a.scale.add(c)));
                    if !residual.is_null() {
                        value = S::add(value, S::load(residual.add(c)));
                    }
                    S::store(out.add(c), a.activation.cheap_vector::<S>(value));
                    c += LANES;
                }
                let left = a.channels - c;
                if left > 0 {
                    let mut tail = [0f32; LANES];
                    for (i, value) in tail[..left].iter_mut().enumerate() {
                        *value = *from.add(c + i) * *a.scale.add(c + i);
                        if !residual.is_null() {
                            *value += *residual.add(c + i);
                        }
                    }
                    let value = a.activation.cheap_vector::<S>(S::load(tail.as_ptr()));
                    S::store(tail.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(tail.as_ptr(), out.add(c), left);
                }
            }
        }
    }

    pub(super) fn flex(
        x: &Tensor<4>,
        scale: &Tensor<4>,
        residual: Option<&Tensor<4>>,
        activation: Activation,
    ) -> Option<Tensor<4>> {
        let [batch, channels, height, width] = x.dims();
        let fits = scale.dims() == [batch, channels, 1, 1]
            && residual.is_none_or(|r| r.dims() == x.dims());
        if batch * channels * height * width == 0 || !fits {
            return None;
        }
        let (x, scale, residual) = (
            Map::of(primitive(x)?),
            contiguous(&primitive(scale)?),
            flex_maybe(residual)?.map(Map::of),
        );
        let out = run(Path::best(), &x, floats(&scale), residual.as_ref(), activation);
        Some(crate::extension::tensor(out, layout::layout([batch, channels, height, width])))
    }

    /// The output, channels-last.
    pub(crate) fn run(
        path: Path,
        x: &Map,
        scale: &[f32],
        residual: Option<&Map>,
        activation: Activation,
    ) -> Buffer {
        assert_eq!(scale.len(), x.batch * x.channels);
        let mut out = Buffer::new(x.pixels() * x.channels);
        let target = Shared::new(out.pointer());
        let source = Shared::of(x.pointer());
        // A row of an image has one image's factors.
        for_ranges(x.batch * x.height, x.width * x.channels, |rows| {
            for row in rows {
                let pixel = row * x.width;
                let args = Pixels {
                    count: x.width,
                    channels: x.channels,
                    // SAFETY: the row lies within the map.
                    from: unsafe { source.get().cast_const().add(pixel * x.step) },
                    step: x.step,
                    scale: scale[row / x.height * x.channels..].as_ptr(),
                    residual: residual.map_or(std::ptr::null(), |r| {
                        // SAFETY: the residual has the map's shape.
                        unsafe { r.pointer().add(pixel * r.step) }
                    }),
                    residual_step: residual.map_or(0, |r| r.step),
                    // SAFETY: the row lies within the output.
                    out: unsafe { target.get().add(pixel * x.channels) },
                    activation,
                };
                run_kernel!(path, pixels(args: &Pixels) with (&args));
                // SAFETY: the row has just been written.
                unsafe {
                    crate::activation::in_place(path, activation, args.out, x.width * x.channels);
                };
            }
        });
        out
    }

    #[inline(always)]
    unsafe fn product_sums<S: Simd>(
        x: *const f32,
        g: *const f32,
        steps: [usize; 2],
        pixels: usize,
        channels: usize,
        out: *mut f32,
    ) {
        // SAFETY: so many pixels of `channels` floats are readable; the tail goes one by one.
        unsafe {
            let mut c = 0;
            while c + LANES <= channels {
                let mut sum = S::splat(0.0);
                for p in 0..pixels {
                    sum = S::fma(
                        S::load(x.add(p * steps[0] + c)),
                        S::load(g.add(p * steps[1] + c)),
                        sum,
                    );
                }
                S::store(out.add(c), sum);
                c += LANES;
            }
            for c in c..channels {
                let mut sum = 0.0;
                for p in 0..pixels {
                    sum += *x.add(p * steps[0] + c) * *g.add(p * steps[1] + c);
                }
                *out.add(c) = sum;
            }
        }
    }

    /// Per image and channel, the sum of the products of two maps: the gradient by the factor.
    pub(crate) fn products(path: Path, x: &Map, g: &Map) -> Buffer {
        let channels = x.channels;
        let mut out = Buffer::new(x.batch * channels);
        let target = Shared::new(out.pointer());
        let (xs, gs) = (Shared::of(x.pointer()), Shared::of(g.pointer()));
        let pixels = x.height * x.width;
        // A task is some vectors of an image's channels: each sum is one task's alone.
        let vectors = channels.div_ceil(LANES);
        let parts = (threads() * 2).div_ceil(x.batch).clamp(1, vectors.div_ceil(4));
        for_each(x.batch * parts, x.pixels() * channels * 2, |task| {
            let (image, vectors) = (task / parts, part(vectors, parts, task % parts));
            let (first, last) = (vectors.start * LANES, (vectors.end * LANES).min(channels));
            // SAFETY: image and channels lie within both maps and the output.
            let (x_at, g_at, to) = unsafe {
                (
                    xs.get().cast_const().add(image * pixels * x.step + first),
                    gs.get().cast_const().add(image * pixels * g.step + first),
                    target.get().add(image * channels + first),
                )
            };
            run_kernel!(path, product_sums(x: *const f32, g: *const f32, steps: [usize; 2], pixels: usize, channels: usize, out: *mut f32)
                with (x_at, g_at, [x.step, g.step], pixels, last - first, to));
        });
        out
    }
}
