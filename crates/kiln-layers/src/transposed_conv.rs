//! Transposed convolution: upsampling that is learned.
//!
//! Dumoulin, Visin. *A guide to convolution arithmetic for deep learning.* 2016, §4.
//! <https://arxiv.org/abs/1603.07285>
//!
//! Long, Shelhamer, Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015, §3.3 (upsampling, and
//! the weights that it begins with). <https://arxiv.org/abs/1411.4038>

use burn::module::{Initializer, Param, ParamId};
use burn::prelude::*;
use burn::tensor::ops::ConvTransposeOptions;
use kiln_kernels as kernels;

use crate::trace;

/// What the kernels of a [`TransposedConv`] begin as.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Upsampling {
    /// Random numbers of the size that keeps the variance of what is scattered (He et al.).
    Random,
    /// Bilinear interpolation of each channel by itself.
    Bilinear,
}

/// Configuration of a [`TransposedConv`].
#[derive(Config, Debug)]
pub struct TransposedConvConfig {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Side of the square kernel, in pixels of the output.
    pub kernel: usize,
    /// Pixels of the output between the places of neighbours of the input.
    pub stride: usize,
    /// Pixels that are cut off on each side.
    #[config(default = 0)]
    pub padding: usize,
    /// Whether a number is added to each channel.
    #[config(default = true)]
    pub bias: bool,
    /// What the kernels begin as.
    #[config(default = "Upsampling::Random")]
    pub start: Upsampling,
}

/// Scatters its kernel at each pixel of the input, weighted by the pixel: what a convolution of that stride and padding
/// does to gradients.
///
/// Built by [`TransposedConvConfig`].
#[derive(Module, Debug)]
pub struct TransposedConv {
    /// `[channels_in, channels_out, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
}

impl TransposedConvConfig {
    /// Makes maps of `channels` exactly `factor` times as large, and begins as bilinear interpolation; without a bias.
    pub fn upsampling(channels: usize, factor: usize) -> Self {
        // As wide as the tent that interpolates, which isn't the same for odd and even factors.
        let kernel = 2 * factor - factor % 2;
        Self::new([channels; 2], kernel, factor)
            .with_padding(factor / 2)
            .with_bias(false)
            .with_start(Upsampling::Bilinear)
    }

    /// Initializes the layer on `device`; a bias begins at zero.
    ///
    /// # Panics
    ///
    /// Panics if kernel or stride is zero, or if bilinear kernels shall change the number of channels.
    pub fn init(&self, device: &Device) -> TransposedConv {
        let Self { channels: [from, to], kernel, stride, padding, bias, start } = *self;
        assert!(kernel > 0 && stride > 0, "kernel and stride must be positive");
        let shape = [from, to, kernel, kernel];
        let weight = match start {
            Upsampling::Random => {
                // What meets in one pixel of the output.
                let seen = (from * kernel * kernel).div_ceil(stride * stride);
                Initializer::Normal { mean: 0.0, std: (2.0 / seen as f64).sqrt() }
                    .init(shape, device)
            }
            Upsampling::Bilinear => {
                assert!(from == to, "bilinear kernels keep {from} channels, not {to}");
                let init = move |device: &Device, require_grad: bool| {
                    bilinear(from, kernel, device).set_require_grad(require_grad)
                };
                Param::uninitialized(ParamId::new(), init, device.clone(), true, shape.into())
            }
        };
        let bias = bias.then(|| Initializer::Zeros.init([to], device));
        TransposedConv { weight, bias, stride, padding }
    }
}

/// Kernels that interpolate each of so many channels by itself.
fn bilinear(channels: usize, kernel: usize, device: &Device) -> Tensor<4> {
    let reach = kernel.div_ceil(2) as f64;
    let middle = (kernel - 1) as f64 / 2.0;
    let tent: Vec<f64> = (0..kernel).map(|at| 1.0 - (at as f64 - middle).abs() / reach).collect();
    let size = kernel * kernel;
    let mut values = vec![0_f32; channels * channels * size];
    for channel in 0..channels {
        let own = &mut values[(channel * channels + channel) * size..][..size];
        for (at, value) in own.iter_mut().enumerate() {
            *value = (tent[at / kernel] * tent[at % kernel]) as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [channels, channels, kernel, kernel]), device)
}

impl TransposedConv {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, h, w]`, `h = (height - 1) · stride + kernel - 2 · padding`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let options =
            ConvTransposeOptions::new([self.stride; 2], [self.padding; 2], [0; 2], [1; 2], 1);
        let bias = self.bias.as_ref().map(Param::val);
        let identity = kernels::Activation::Identity;
        let y = kernels::conv_transpose2d(x, self.weight.val(), bias, options, identity);

        trace::note(|| {
            let weights: usize = self.weight.dims().iter().product();
            let bias = self.bias.iter().map(|bias| bias.id);
            trace::Layer::new("transposed_conv", &y)
                .with_parameters([self.weight.id].into_iter().chain(bias))
                .with_macs(weights * height * width)
        });
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    /// Channels, kernel, stride, padding.
    const SHAPES: [([usize; 2], usize, usize, usize); 7] = [
        ([2, 3], 4, 2, 0),
        ([3, 2], 4, 2, 1),
        ([1, 1], 1, 1, 0),
        ([2, 2], 3, 1, 1),
        ([2, 4], 2, 2, 0),
        ([2, 1], 5, 3, 2),
        ([1, 2], 2, 3, 0),
    ];

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("transposed_conv");
        let layer = TransposedConvConfig::new([3, 4], 5, 3).with_padding(1).init(&device());
        let layer = golden.load(layer);

        golden.assert_close("output", layer.forward(golden.tensor("input")));
    }

    /// `x` with `stride - 1` zeros between neighbours and so many around.
    fn spread(x: Tensor<4>, stride: usize, around: usize) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let sides = [height, width].map(|side| (side - 1) * stride + 1 + 2 * around);
        let mut zeros = Tensor::zeros([batch, channels, sides[0], sides[1]], &x.device());
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |at| (row, at))) {
            let pixel = x.clone().slice([0..batch, 0..channels, row..row + 1, column..column + 1]);
            let [down, right] = [row, column].map(|at| around + at * stride);
            zeros = zeros
                .slice_assign([0..batch, 0..channels, down..down + 1, right..right + 1], pixel);
        }
        zeros
    }

    #[test]
    fn it_equals_inserting_zero_rows_and_columns_and_then_convolving() {
        for (channels, kernel, stride, padding) in SHAPES {
            let mut layer = TransposedConvConfig::new(channels, kernel, stride)
                .with_padding(padding)
                .init(&device());
            layer.bias = Some(Param::from_tensor(noise([channels[1]], 1, &device())));
            for [height, width] in [[1, 1], [3, 5], [4, 2]] {
                let x = noise([2, channels[0], height, width], 2, &device());

                // The kernel of the convolution stands on its head, and its channels change places.
                let spread = spread(x.clone(), stride, kernel - 1 - padding.min(kernel - 1));
                let turned = layer.weight.val().flip([2, 3]).swap_dims(0, 1);
                let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
                let bias = layer.bias.as_ref().map(Param::val);
                let expected = burn::tensor::module::conv2d(spread, turned, bias, options);

                assert_close(layer.forward(x), expected);
            }
        }
    }

    #[test]
    fn bilinear_kernels_interpolate_wherever_all_neighbours_are() {
        for factor in [2, 3, 4, 8, 16] {
            let layer = TransposedConvConfig::upsampling(2, factor).init(&device());
            let x = noise([1, 2, 4, 5], 3, &device());

            let y = layer.forward(x.clone());

            assert_eq!(y.dims(), [1, 2, 4 * factor, 5 * factor]);
            let options =
                InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
            let sides = [4 * factor, 5 * factor];
            let expected = kernels::interpolate(x, options.with_output_size(sides));
            // Beyond the middle of the outermost pixels there are zeros here, and more of the same there.
            let inner = |map: Tensor<4>| {
                let [_, _, height, width] = map.dims();
                map.slice([
                    0..1,
                    0..2,
                    factor / 2..height - factor / 2,
                    factor / 2..width - factor / 2,
                ])
            };
            assert_close(inner(y), inner(expected));
        }
    }

    #[test]
    fn bilinear_kernels_leave_a_flat_map_flat_and_its_channels_apart() {
        for (kernel, stride) in [(4, 2), (16, 8), (32, 16), (64, 32), (5, 3)] {
            let layer = TransposedConvConfig::new([2, 2], kernel, stride)
                .with_bias(false)
                .with_start(Upsampling::Bilinear)
                .init(&device());
            let flat = |side| {
                Tensor::<4>::from_floats([[[[3.0]], [[-5.0]]]], &device())
                    .expand([1, 2, side, side])
            };

            let y = layer.forward(flat(4));

            let [.., side] = y.dims();
            let inner = y.slice([0..1, 0..2, stride..side - stride, stride..side - stride]);
            let [.., inside] = inner.dims();
            assert_close(inner, flat(inside));
        }
    }

    #[test]
    fn random_kernels_keep_the_variance_of_a_rectified_map() {
        for (channels, kernel, stride) in [([64, 32], 2, 2), ([32, 64], 4, 2), ([48, 48], 3, 1)] {
            let layer = TransposedConvConfig::new(channels, kernel, stride).init(&device());
            let x = noise([1, channels[0], 12, 12], 4, &device()).clamp_min(0.0);
            let squares = x.clone().square().mean().into_scalar::<f32>();

            let y = layer.forward(x).slice([0..1, 0..channels[1], 3..12, 3..12]);

            let ratio = y.square().mean().into_scalar::<f32>() / squares;
            assert!((1.4..2.8).contains(&ratio), "{channels:?}, {kernel}, {stride}: {ratio}");
        }
    }

    #[test]
    #[should_panic(expected = "bilinear kernels keep 2 channels, not 3")]
    fn bilinear_kernels_between_other_numbers_of_channels_are_refused() {
        TransposedConvConfig::new([2, 3], 4, 2).with_start(Upsampling::Bilinear).init(&device());
    }

    #[test]
    fn the_trace_counts_a_multiplication_for_each_weight_and_pixel() {
        let layer = TransposedConvConfig::new([2, 3], 4, 2).init(&device());

        let (y, layers) = trace::record(false, || layer.forward(noise([2, 2, 5, 3], 5, &device())));

        assert_eq!(y.dims(), [2, 3, 12, 8]);
        assert_eq!((layers[0].kind, layers[0].macs), ("transposed_conv", 2 * 3 * 16 * 15));
        assert_eq!((layers[0].parameters.len(), layers[0].depth), (2, 1));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        for (channels, kernel, stride, padding) in SHAPES {
            let config = TransposedConvConfig::new(channels, kernel, stride).with_padding(padding);
            let x = noise([2, channels[0], 3, 4], 6, &device);

            assert_gradients(&config.init(&device), x, TransposedConv::forward);
        }
        let bilinear = TransposedConvConfig::upsampling(2, 2).init(&device);
        assert_gradients(&bilinear, noise([1, 2, 3, 3], 7, &device), TransposedConv::forward);
    }
}
