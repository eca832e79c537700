//! Depthwise separable convolution: first each channel by itself, then the channels at each pixel.
//!
//! Chollet. *Xception: Deep Learning with Depthwise Separable Convolutions.* CVPR 2017, §1.2.
//! <https://arxiv.org/abs/1610.02357>
//!
//! It equals the full convolution whose kernels factor into one spatial kernel per input channel
//! and one weight per pair of channels, at `1 / channels_out + 1 / kernel²` of the multiply-adds.

use burn::prelude::*;
use kiln_kernels as kernels;

use crate::{Activation, ConvBlock, ConvBlockConfig, Norm, trace};

/// Configuration of a [`SeparableConv`].
#[derive(Config, Debug)]
pub struct SeparableConvConfig {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Side of the square kernel, in pixels.
    #[config(default = 3)]
    pub kernel: usize,
    /// Stride in both directions, in pixels.
    #[config(default = 1)]
    pub stride: usize,
    /// Distance between the kernel's taps, in pixels.
    #[config(default = 1)]
    pub dilation: usize,
    /// Normalization after the pointwise convolution.
    #[config(default = "Norm::Batch")]
    pub norm: Norm,
    /// Activation after the normalization; between the two convolutions there is none (§4.7).
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

/// `activation(norm(pointwise(depthwise(x))))`.
///
/// Built by [`SeparableConvConfig`].
#[derive(Module, Debug)]
pub struct SeparableConv {
    /// One kernel per channel, without a bias.
    pub depthwise: ConvBlock,
    /// A 1×1 convolution with norm and activation.
    pub pointwise: ConvBlock,
}

impl SeparableConvConfig {
    /// Initializes the layer on `device`. The padding keeps `size / stride` for an odd kernel.
    ///
    /// # Panics
    ///
    /// Panics if kernel or stride is zero.
    pub fn init(&self, device: &Device) -> SeparableConv {
        let Self { channels: [channels_in, channels_out], kernel, stride, dilation, .. } = *self;
        let mut depthwise = ConvBlockConfig::new([channels_in, channels_in], kernel)
            .with_stride(stride)
            .with_dilation(dilation)
            .with_groups(channels_in)
            .with_norm(Norm::None)
            .with_activation(Activation::Identity)
            .init(device);
        // A constant per channel is what the next layer's bias or norm has already.
        depthwise.conv.bias = None;

        SeparableConv {
            depthwise,
            pointwise: ConvBlockConfig::new([channels_in, channels_out], 1)
                .with_norm(self.norm)
                .with_activation(self.activation)
                .init(device),
        }
    }
}

impl SeparableConv {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height / stride, width / stride]` for an odd kernel
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, None)
    }

    /// Like [`forward`](Self::forward), with `residual` added before the activation.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - `residual`: the shape of the output
    /// - output: `[batch, channels_out, height / stride, width / stride]` for an odd kernel
    pub fn forward_residual(&self, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.run(x, Some(residual))
    }

    /// Both convolutions, as one where neither gradients nor the trace need what is between them.
    fn run(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let device = x.device();
        if !device.is_autodiff() && !trace::recording() {
            let [first, second] =
                [&self.depthwise, &self.pointwise].map(|c| c.convolution(&device));
            return kernels::conv2d_pair(x, first, second, residual);
        }
        let x = self.depthwise.forward(x);
        match residual {
            Some(residual) => self.pointwise.forward_residual(x, residual),
            None => self.pointwise.forward(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, zeroed};

    #[test]
    fn matches_pytorch() {
        for (name, norm) in [("separable", Norm::Batch), ("separable_plain", Norm::None)] {
            let golden = Golden::open(name);
            let config = SeparableConvConfig::new([4, 6]).with_stride(2).with_dilation(2);
            let layer = golden.load(config.with_norm(norm).init(&device()));

            golden.assert_close("output", layer.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn equals_the_full_convolution_with_factored_kernels() {
        let linear = Activation::Identity;
        let layer = SeparableConvConfig::new([3, 5])
            .with_norm(Norm::None)
            .with_activation(linear)
            .init(&device());
        let mut full = ConvBlockConfig::new([3, 5], 3)
            .with_norm(Norm::None)
            .with_activation(linear)
            .init(&device());

        let spatial = layer.depthwise.conv.weight.val().reshape([1, 3, 3, 3]);
        let mixing = layer.pointwise.conv.weight.val(); // [5, 3, 1, 1]
        full.conv.weight = full.conv.weight.map(|_| mixing * spatial);

        let x = noise([2, 3, 7, 5], 1, &device());
        assert_close(layer.forward(x.clone()), full.forward(x));
    }

    #[test]
    fn saves_the_multiply_adds_of_the_paper() {
        let x = noise([1, 8, 6, 6], 2, &device());
        let layer = SeparableConvConfig::new([8, 16]).init(&device());
        let full = ConvBlockConfig::new([8, 16], 3).init(&device());
        let macs = |layers: Vec<trace::Layer>| layers.iter().map(|layer| layer.macs).sum::<u64>();

        let (_, separable) = trace::record(false, || layer.forward(x.clone()));
        let (_, whole) = trace::record(false, || full.forward(x));

        // 1 / channels_out + 1 / kernel² = 1/16 + 1/9
        assert_eq!(macs(separable) * 16 * 9, macs(whole) * (9 + 16));
    }

    #[test]
    fn the_residual_is_added_before_the_activation() {
        let layer = zeroed(SeparableConvConfig::new([3, 3]).init(&device()));
        let x = noise([2, 3, 5, 4], 3, &device());

        let y = layer.forward_residual(x.clone(), x.clone());

        y.to_data().assert_eq(&Activation::Relu.forward(x).to_data(), true); // bit for bit
    }

    #[test]
    fn a_large_map_gives_the_same_whether_or_not_what_is_between_is_kept() {
        // The one is what a record sees, bit for bit: a sum has the same order in both.
        let layer = SeparableConvConfig::new([12, 20]).init(&device());
        for (batch, side) in [(1, 41), (3, 19)] {
            let x = noise([batch, 12, side, side + 2], 5, &device());
            let residual = noise([batch, 20, side, side + 2], 6, &device());
            let run = || layer.forward_residual(x.clone(), residual.clone());

            let (apart, _) = trace::record(false, run);

            run().to_data().assert_eq(&apart.to_data(), true);
        }
    }

    #[test]
    fn the_norm_folded_for_inference_changes_nothing() {
        let golden = Golden::open("separable");
        let config = SeparableConvConfig::new([4, 6]).with_stride(2).with_dilation(2);
        let layer = golden.load(config.clone().init(&device()));
        let mut linear = golden.load(config.with_activation(Activation::Identity).init(&device()));
        let norm = linear.pointwise.norm.take().unwrap();
        let x = golden.tensor("input");

        let apart = Activation::Relu.forward(norm.forward(linear.forward(x.clone())));

        assert_close(layer.forward(x), apart);
    }

    #[test]
    fn only_the_pointwise_convolution_has_a_bias_and_only_without_a_norm() {
        let with = |norm| SeparableConvConfig::new([4, 6]).with_norm(norm).init(&device());

        assert_eq!(with(Norm::None).num_params(), 4 * 9 + 4 * 6 + 6);
        assert!(with(Norm::Batch).pointwise.conv.bias.is_none());
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let config = SeparableConvConfig::new([3, 4]).with_activation(Activation::Tanh);
        let layer = config.init(&device);

        assert_gradients(&layer, noise([2, 3, 4, 5], 4, &device), SeparableConv::forward);
    }
}
