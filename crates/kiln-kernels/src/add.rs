//! The sum of two maps with an activation, where no kernel before it could take the sum along.

use burn::tensor::Tensor;

use crate::activation::Activation;

/// `activation(x + y)`, channels-last.
///
/// # Shapes
/// - x, y and output: `[batch, channels, height, width]`
///
/// # Panics
/// If the shapes differ (beyond what burn broadcasts).
#[must_use]
pub fn add(x: Tensor<4>, y: Tensor<4>, activation: Activation) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, &y, activation) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::add(&x, &y, activation) {
        return out;
    }
    activation.burn(x + y)
}

#[cfg(feature = "flex")]
pub(crate) mod kernel {
    use super::{Activation, Tensor};
    use crate::activation::in_place;
    use crate::buffer::Buffer;
    use crate::dispatch::{Path, run_kernel};
    use crate::extension::flex as primitive;
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_ranges};
    use crate::simd::{LANES, Simd};

    #[inline(always)]
    unsafe fn sum<S: Simd>(
        x: *const f32,
        y: *const f32,
        out: *mut f32,
        len: usize,
        activation: Activation,
    ) {
        // SAFETY: `len` floats are readable and writable; the tail goes one by one.
        unsafe {
            let mut i = 0;
            while i + LANES <= len {
                S::store(
                    out.add(i),
                    activation.cheap_vector::<S>(S::add(S::load(x.add(i)), S::load(y.add(i)))),
                );
                i += LANES;
            }
            if i < len {
                let mut tail = [0f32; LANES];
                for (j, value) in tail[..len - i].iter_mut().enumerate() {
                    *value = *x.add(i + j) + *y.add(i + j);
                }
                let value = activation.cheap_vector::<S>(S::load(tail.as_ptr()));
                S::store(tail.as_mut_ptr(), value);
                std::ptr::copy_nonoverlapping(tail.as_ptr(), out.add(i), len - i);
            }
        }
    }

    pub(super) fn flex(x: &Tensor<4>, y: &Tensor<4>, activation: Activation) -> Option<Tensor<4>> {
        let shape = x.dims();
        if shape != y.dims() || shape.contains(&0) {
            return None;
        }
        let (x, y) = (Map::of(primitive(x)?), Map::of(primitive(y)?));
        let out = run(Path::best(), &x, &y, activation);
        Some(crate::extension::tensor(out, layout::layout(shape)))
    }

    pub(crate) fn run(path: Path, x: &Map, y: &Map, activation: Activation) -> Buffer {
        let channels = x.channels;
        let mut out = Buffer::new(x.pixels() * channels);
        let target = Shared::new(out.pointer());
        let (a, b) = (Shared::of(x.pointer()), Shared::of(y.pointer()));
        // Where all floats lie side by side a range is one piece, else it goes pixel by pixel.
        let dense = x.step == channels && y.step == channels;
        for_ranges(x.pixels(), channels, |range| {
            let (pieces, len) =
                if dense { (1, range.len() * channels) } else { (range.len(), channels) };
            for piece in 0..pieces {
                let pixel = range.start + piece;
                // SAFETY: the pixels lie within both maps and the output.
                let (from, other, to) = unsafe {
                    (
                        a.get().cast_const().add(pixel * x.step),
                        b.get().cast_const().add(pixel * y.step),
                        target.get().add(pixel * channels),
                    )
                };
                run_kernel!(path, sum(x: *const f32, y: *const f32, out: *mut f32, len: usize, activation: Activation)
                    with (from, other, to, len, activation));
                // SAFETY: just written.
                unsafe { in_place(path, activation, to, len) };
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

    #[test]
    fn sums_of_whole_maps_and_of_some_channels_agree() {
        let flex = |seed, shape: [usize; 4]| {
            FlexTensor::from_data(TensorData::new(
                crate::testing::floats(shape.iter().product(), seed),
                shape,
            ))
        };
        for (channels, activation) in [
            (3, Activation::Relu),
            (8, Activation::Identity),
            (21, Activation::LeakyRelu(0.5)),
            (13, Activation::Tanh),
        ] {
            let wide = flex(1, [2, channels + 5, 3, 4]);
            let narrow = wide.narrow(1, 2, channels);
            // Channels-last already, so that the narrowed view is read in place.
            let view = wide
                .permute(&[0, 2, 3, 1])
                .to_contiguous()
                .permute(&[0, 3, 1, 2])
                .narrow(1, 2, channels);
            let y = Map::of(flex(2, [2, channels, 3, 4]));
            let (copied, viewed) = (Map::of(narrow.to_contiguous()), Map::of(view));
            assert_ne!(copied.step, viewed.step);
            let expected: Vec<f32> =
                copied.data().iter().zip(y.data()).map(|(a, b)| a + b).collect();
            let mut activated = vec![0.0; expected.len()];
            crate::activation::apply(Path::Portable, activation, &expected, &mut activated);
            for path in Path::available() {
                crate::testing::assert_close(
                    &kernel::run(path, &copied, &y, activation),
                    &activated,
                    1e-6,
                );
                crate::testing::assert_close(
                    &kernel::run(path, &viewed, &y, activation),
                    &activated,
                    1e-6,
                );
            }
        }
    }
}
