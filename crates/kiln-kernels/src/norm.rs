//! Batch normalization in training: statistics, normalization, residual and activation together. In inference it is
//! folded into the convolution before it ([`conv2d_norm`](crate::conv2d_norm)) and has no kernel.

use burn::tensor::{Tensor, module};

use crate::activation::Activation;

/// A batch normalization whose statistics stay, `(x − mean) / sqrt(variance + epsilon) · gamma + beta`: what inference
/// does with the running averages of training.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Factor of the normalized values: `[channels]`.
    pub gamma: Tensor<1>,
    /// Added to them: `[channels]`.
    pub beta: Tensor<1>,
    /// Mean of the values that come in: `[channels]`.
    pub mean: Tensor<1>,
    /// Their variance: `[channels]`.
    pub variance: Tensor<1>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl Norm {
    /// Weight and bias of the convolution that gives the normalized outputs of this one. Gradients pass.
    ///
    /// # Shapes
    /// - weight: `[channels, …, height, width]`
    /// - bias: `[channels]`
    ///
    /// # Panics
    /// If the shapes do not fit together.
    #[must_use]
    pub fn fold(&self, weight: Tensor<4>, bias: Option<Tensor<1>>) -> (Tensor<4>, Tensor<1>) {
        let factor = self.gamma.clone() / (self.variance.clone() + self.epsilon).sqrt();
        let mean = match bias {
            Some(bias) => self.mean.clone() - bias,
            None => self.mean.clone(),
        };
        let bias = self.beta.clone() - mean * factor.clone();
        let channels = factor.dims()[0];
        (weight * factor.reshape([channels, 1, 1, 1]), bias)
    }

    /// By burn's operation.
    pub(crate) fn apply(self, y: Tensor<4>) -> Tensor<4> {
        module::batch_norm(y, self.gamma, self.beta, self.mean, self.variance, self.epsilon)
    }
}

/// `activation((x − mean) / sqrt(variance + epsilon) · gamma + beta + residual)` with the batch's own mean and (biased)
/// variance, which are returned too, for the running statistics; they carry no gradient.
///
/// # Shapes
/// - x, residual and output: `[batch, channels, height, width]`
/// - gamma, beta, mean, variance: `[channels]`
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn batch_norm_train(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    activation: Activation,
    residual: Option<Tensor<4>>,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, &gamma, &beta, epsilon, activation, residual.as_ref()) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) =
        crate::grad::batch_norm(&x, &gamma, &beta, epsilon, activation, residual.as_ref())
    {
        return out;
    }
    let [_, channels, _, _] = x.dims();
    let flat = x.clone().swap_dims(0, 1).reshape([channels as i32, -1]);
    let mean = flat.clone().mean_dim(1);
    let variance = (flat - mean.clone()).square().mean_dim(1);
    let spread = |t: Tensor<1>| t.reshape([1, channels, 1, 1]);
    let (mean, variance) = (mean.reshape([channels]), variance.reshape([channels]));
    let hat = (x - spread(mean.clone())) / spread((variance.clone() + epsilon).sqrt());
    let mut y = hat * spread(gamma) + spread(beta);
    if let Some(residual) = residual {
        y = y + residual;
    }
    (activation.burn(y), mean.detach(), variance.detach())
}

#[cfg(feature = "flex")]
pub(crate) mod kernel {
    use super::{Activation, Tensor};
    use burn::backend::flex::{FlexTensor, Layout};
    use burn::tensor::Shape;

    use crate::activation::in_place;
    use crate::buffer::Buffer;
    use crate::dispatch::{Path, run_kernel};
    use crate::extension::{contiguous, flex as primitive, flex_maybe, floats, tensor};
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_each, for_ranges};
    use crate::simd::{LANES, Simd};

    /// Pixels whose sums are formed first: fixed, so that the order of all sums is.
    const CHUNK: usize = 128;

    pub(super) fn flex(
        x: &Tensor<4>,
        gamma: &Tensor<1>,
        beta: &Tensor<1>,
        epsilon: f64,
        activation: Activation,
        residual: Option<&Tensor<4>>,
    ) -> Option<(Tensor<4>, Tensor<1>, Tensor<1>)> {
        let shape = x.dims();
        if shape.contains(&0) || gamma.dims() != [shape[1]] || beta.dims() != [shape[1]] {
            return None;
        }
        let (x, residual) = (Map::of(primitive(x)?), flex_maybe(residual)?.map(Map::of));
        let (gamma, beta) = (primitive(gamma)?, primitive(beta)?);
        let statistics = Statistics::of(Path::best(), &x, epsilon);
        let out =
            forward(Path::best(), &x, &statistics, &gamma, &beta, activation, residual.as_ref());
        let vector = || Layout::contiguous(Shape::from(vec![shape[1]]));
        Some((
            tensor(out, layout::layout(shape)),
            tensor(statistics.mean, vector()),
            tensor(statistics.variance, vector()),
        ))
    }

    /// Mean, biased variance and one over the standard deviation of each channel.
    pub(crate) struct Statistics {
        pub(crate) mean: Buffer,
        pub(crate) variance: Buffer,
        pub(crate) rate: Buffer,
    }

    impl Statistics {
        pub(crate) fn of(path: Path, x: &Map, epsilon: f64) -> Self {
            let count = x.pixels() as f64;
            let zeros = Buffer::zeros(x.channels);
            let [sums, _] = sums(path, None, x, &zeros);
            let mut mean = Buffer::new(x.channels);
            for (mean, sum) in mean.iter_mut().zip(sums) {
                *mean = (sum / count) as f32;
            }
            let [rests, squares] = self::sums(path, None, x, &mean);
            let (mut variance, mut rate) = (Buffer::new(x.channels), Buffer::new(x.channels));
            for (c, (rest, square)) in rests.iter().zip(squares).enumerate() {
                // What rounding left in the mean is taken off again.
                let value = (square / count - (rest / count) * (rest / count)).max(0.0);
                variance[c] = value as f32;
                rate[c] = (1.0 / (value + epsilon).sqrt()) as f32;
            }
            Self { mean, variance, rate }
        }
    }

    struct Sums {
        /// Null: the map itself takes the gradient's place.
        grad: *const f32,
        grad_step: usize,
        x: *const f32,
        step: usize,
        pixels: usize,
        channels: usize,
        mean: *const f32,
        out: *mut f32,
    }

    #[inline(always)]
    unsafe fn chunk<S: Simd>(a: &Sums) {
        // SAFETY: all pixels have `channels` floats, `out` twice as many; the tail goes one by one.
        unsafe {
            let mut c = 0;
            while c + LANES <= a.channels {
                let mean = S::load(a.mean.add(c));
                let (mut first, mut second) = (S::splat(0.0), S::splat(0.0));
                for p in 0..a.pixels {
                    let x = S::sub(S::load(a.x.add(p * a.step + c)), mean);
                    let g =
                        if a.grad.is_null() { x } else { S::load(a.grad.add(p * a.grad_step + c)) };
                    first = S::add(first, g);
                    second = S::fma(g, x, second);
                }
                S::store(a.out.add(c), first);
                S::store(a.out.add(a.channels + c), second);
                c += LANES;
            }
            for c in c..a.channels {
                let (mut first, mut second) = (0.0, 0.0);
                for p in 0..a.pixels {
                    let x = *a.x.add(p * a.step + c) - *a.mean.add(c);
                    let g = if a.grad.is_null() { x } else { *a.grad.add(p * a.grad_step + c) };
                    first += g;
                    second += g * x;
                }
                *a.out.add(c) = first;
                *a.out.add(a.channels + c) = second;
            }
        }
    }

    /// Per channel, the sums of g and of g · (x − mean); without a gradient g is x − mean.
    pub(crate) fn sums(path: Path, grad: Option<&Map>, x: &Map, mean: &Buffer) -> [Vec<f64>; 2] {
        let (pixels, channels) = (x.pixels(), x.channels);
        let chunks = pixels.div_ceil(CHUNK);
        let mut parts = Buffer::new(chunks * 2 * channels);
        let target = Shared::new(parts.pointer());
        let xs = Shared::of(x.pointer());
        for_each(chunks, pixels * channels * 2, |i| {
            let first = i * CHUNK;
            let args = Sums {
                // SAFETY: the chunk lies within the maps and the buffer.
                grad: grad.map_or(std::ptr::null(), |g| unsafe { g.pointer().add(first * g.step) }),
                grad_step: grad.map_or(0, |g| g.step),
                // SAFETY: as above.
                x: unsafe { xs.get().cast_const().add(first * x.step) },
                step: x.step,
                pixels: (pixels - first).min(CHUNK),
                channels,
                mean: mean.as_ptr(),
                // SAFETY: as above.
                out: unsafe { target.get().add(i * 2 * channels) },
            };
            run_kernel!(path, chunk(args: &Sums) with (&args));
        });
        let mut total = [vec![0f64; channels], vec![0f64; channels]];
        for part in parts.chunks_exact(2 * channels) {
            for (half, total) in part.chunks_exact(channels).zip(&mut total) {
                for (sum, value) in total.iter_mut().zip(half) {
                    *sum += f64::from(*value);
                }
            }
        }
        total
    }

    /// `out = x · scale + shift + other · factor` per channel, then the activation.
    pub(crate) struct Affine<'a> {
        pub(crate) scale: &'a [f32],
        pub(crate) shift: &'a [f32],
        /// With its factor per channel; nothing means one.
        pub(crate) other: Option<(&'a Map, Option<&'a [f32]>)>,
        pub(crate) activation: Activation,
    }

    struct Pixels {
        x: *const f32,
        step: usize,
        other: *const f32,
        other_step: usize,
        factor: *const f32,
        scale: *const f32,
        shift: *const f32,
        out: *mut f32,
        pixels: usize,
        channels: usize,
        activation: Activation,
    }

    #[inline(always)]
    unsafe fn affine_pixels<S: Simd>(a: &Pixels) {
        // SAFETY: all pixels have `channels` floats; the tail goes one by one.
        unsafe {
            for p in 0..a.pixels {
                let (x, out) = (a.x.add(p * a.step), a.out.add(p * a.channels));
                let other = if a.other.is_null() { a.other } else { a.other.add(p * a.other_step) };
                let mut c = 0;
                while c + LANES <= a.channels {
                    let mut value =
                        S::fma(S::load(x.add(c)), S::load(a.scale.add(c)), S::load(a.shift.add(c)));
                    if !other.is_null() {
                        let other = S::load(other.add(c));
                        value = if a.factor.is_null() {
                            S::add(value, other)
                        } else {
                            S::fma(other, S::load(a.factor.add(c)), value)
                        };
                    }
                    S::store(out.add(c), a.activation.cheap_vector::<S>(value));
                    c += LANES;
                }
                if c < a.channels {
                    let mut tail = [0f32; LANES];
                    let left = a.channels - c;
                    for (i, value) in tail[..left].iter_mut().enumerate() {
                        *value = *x.add(c + i) * *a.scale.add(c + i) + *a.shift.add(c + i);
                        if !other.is_null() {
                            let factor =
                                if a.factor.is_null() { 1.0 } else { *a.factor.add(c + i) };
                            *value += *other.add(c + i) * factor;
                        }
                    }
                    let value = a.activation.cheap_vector::<S>(S::load(tail.as_ptr()));
                    S::store(tail.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(tail.as_ptr(), out.add(c), left);
                }
            }
        }
    }

    impl Affine<'_> {
        pub(crate) fn run(&self, path: Path, x: &Map) -> Buffer {
            let channels = x.channels;
            assert!(self.scale.len() == channels && self.shift.len() == channels);
            let mut out = Buffer::new(x.pixels() * channels);
            let target = Shared::new(out.pointer());
            let xs = Shared::of(x.pointer());
            for_ranges(x.pixels(), channels, |range| {
                let other = self.other;
                let args = Pixels {
                    // SAFETY: the range lies within the maps and the output.
                    x: unsafe { xs.get().cast_const().add(range.start * x.step) },
                    step: x.step,
                    // SAFETY: as above: both maps have one shape.
                    other: other.map_or(std::ptr::null(), |(o, _)| unsafe {
                        o.pointer().add(range.start * o.step)
                    }),
                    other_step: other.map_or(0, |(o, _)| o.step),
                    factor: other
                        .and_then(|(_, factor)| factor)
                        .map_or(std::ptr::null(), <[f32]>::as_ptr),
                    scale: self.scale.as_ptr(),
                    shift: self.shift.as_ptr(),
                    // SAFETY: as above.
                    out: unsafe { target.get().add(range.start * channels) },
                    pixels: range.len(),
                    channels,
                    activation: self.activation,
                };
                run_kernel!(path, affine_pixels(args: &Pixels) with (&args));
                // SAFETY: just written.
                unsafe { in_place(path, self.activation, args.out, range.len() * channels) };
            });
            out
        }
    }

    /// The output, channels-last.
    pub(crate) fn forward(
        path: Path,
        x: &Map,
        statistics: &Statistics,
        gamma: &FlexTensor,
        beta: &FlexTensor,
        activation: Activation,
        residual: Option<&Map>,
    ) -> Buffer {
        let (gamma, beta) = (contiguous(gamma), contiguous(beta));
        let (mut scale, mut shift) = (Buffer::new(x.channels), Buffer::new(x.channels));
        for c in 0..x.channels {
            scale[c] = floats(&gamma)[c] * statistics.rate[c];
            shift[c] = floats(&beta)[c] - statistics.mean[c] * scale[c];
        }
        if let Some(residual) = residual {
            assert_eq!(
                residual.shape(),
                x.shape(),
                "the residual must have the map's shape: batch, channels, height, width"
            );
        }
        Affine { scale: &scale, shift: &shift, other: residual.map(|r| (r, None)), activation }
            .run(path, x)
    }
}
