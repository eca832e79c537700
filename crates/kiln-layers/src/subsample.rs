//! Trainable subsampling: average pooling with one coefficient and one bias per map.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.*
//! Proceedings of the IEEE 86(11), 1998, §II.B (layer S2).
//!
//! One departure from the paper: it multiplies the *sum* of a window, this layer its *mean*. The
//! functions are the same; the coefficient here is `kernel²` times the paper's, and starts at 1.

use burn::module::{Initializer, Param};
use burn::prelude::*;
use burn::tensor::ops::ConvOptions;
use kiln_kernels as kernels;

use crate::{Activation, trace};

/// Configuration of a [`TrainableSubsample`].
#[derive(Config, Debug)]
pub struct TrainableSubsampleConfig {
    /// Maps in and out.
    pub channels: usize,
    /// Side of the square window, in pixels.
    #[config(default = 2)]
    pub kernel: usize,
    /// Distance between windows, in pixels.
    #[config(default = 2)]
    pub stride: usize,
    /// Activation of the output.
    #[config(default = "Activation::Identity")]
    pub activation: Activation,
}

/// `activation(coefficient · mean(window) + bias)`, one coefficient and one bias per map.
///
/// Built by [`TrainableSubsampleConfig`].
#[derive(Module, Debug)]
pub struct TrainableSubsample {
    /// `[channels]`
    pub coefficient: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    kernel: usize,
    stride: usize,
    #[module(skip)]
    activation: Activation,
}

impl TrainableSubsampleConfig {
    /// Initializes the layer on `device`, as plain average pooling before its activation.
    pub fn init(&self, device: &Device) -> TrainableSubsample {
        TrainableSubsample {
            coefficient: Initializer::Ones.init([self.channels], device),
            bias: Initializer::Zeros.init([self.channels], device),
            kernel: self.kernel,
            stride: self.stride,
            activation: self.activation,
        }
    }
}

impl TrainableSubsample {
    /// Averages each window, scales and shifts each map, and activates.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: `[batch, channels, height / stride, width / stride]` when the kernel is as large
    ///   as the stride
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        // A mean with a factor per map is a depthwise convolution whose taps are all equal.
        let Self { kernel, stride, .. } = *self;
        let channels = self.coefficient.dims()[0];
        let tap = self.coefficient.val() / (kernel * kernel) as f64;
        let weight = tap.reshape([channels, 1, 1, 1]).expand([channels, 1, kernel, kernel]);
        let options = ConvOptions::new([stride; 2], [0; 2], [1; 2], channels);
        let y = kernels::conv2d(
            x,
            weight,
            Some(self.bias.val()),
            options,
            self.activation.kernel(),
            None,
        );

        trace::note(|| {
            trace::Layer::new("subsample", &y).with_parameters([self.coefficient.id, self.bias.id])
        });
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("trainable_subsample");
        let config = TrainableSubsampleConfig::new(3).with_activation(Activation::Tanh);
        let layer = golden.load(config.init(&device()));

        golden.assert_close("output", layer.forward(golden.tensor("input")));
    }

    #[test]
    fn a_new_layer_is_plain_average_pooling() {
        let layer = TrainableSubsampleConfig::new(2).init(&device());
        let x = noise([3, 2, 6, 4], 1, &device());

        let plain = crate::AvgPoolConfig::new(2, 2).init();

        assert_close(layer.forward(x.clone()), plain.forward(x));
    }

    #[test]
    fn has_one_coefficient_and_one_bias_per_map() {
        assert_eq!(TrainableSubsampleConfig::new(6).init(&device()).num_params(), 12);
    }

    #[test]
    fn maps_do_not_mix() {
        let layer = TrainableSubsampleConfig::new(2).init(&device());
        let x = noise([1, 2, 4, 4], 2, &device());
        let changed = x.clone().slice_assign(s![.., 1..2], noise([1, 1, 4, 4], 3, &device()));

        let first = |x| layer.forward(x).slice(s![.., 0..1]);

        assert_close(first(x), first(changed));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let layer =
            TrainableSubsampleConfig::new(3).with_activation(Activation::Tanh).init(&device);

        assert_gradients(&layer, noise([2, 3, 4, 6], 4, &device), TrainableSubsample::forward);
    }
}
