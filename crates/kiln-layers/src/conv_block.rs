//! Convolution, normalization and activation: the unit that most networks are made of.
//!
//! Ioffe, Szegedy. *Batch Normalization: Accelerating Deep Network Training by Reducing Internal
//! Covariate Shift.* ICML 2015. <https://arxiv.org/abs/1502.03167>
//!
//! He, Zhang, Ren, Sun. *Delving Deep into Rectifiers.* ICCV 2015 (the initialization).
//! <https://arxiv.org/abs/1502.01852>

use burn::module::{Initializer, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::ops::ConvOptions;
use kiln_kernels as kernels;

use crate::{Activation, trace};

/// What normalizes the output of a convolution.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Batch normalization; the convolution then has no bias.
    Batch,
    /// Nothing; the convolution has a bias.
    None,
}

/// Configuration of a [`ConvBlock`].
#[derive(Config, Debug)]
pub struct ConvBlockConfig {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Stride in both directions, in pixels.
    #[config(default = 1)]
    pub stride: usize,
    /// Zeros on each side, in pixels; `None` keeps `size / stride` for an odd kernel.
    pub padding: Option<usize>,
    /// Distance between the kernel's taps, in pixels.
    #[config(default = 1)]
    pub dilation: usize,
    /// Groups of channels that don't see each other.
    #[config(default = 1)]
    pub groups: usize,
    /// Normalization between the convolution and the activation.
    #[config(default = "Norm::Batch")]
    pub norm: Norm,
    /// Whether the convolution has a bias beside its norm, which a norm takes away again; without
    /// a norm it always has one.
    #[config(default = false)]
    pub bias: bool,
    /// Added to the variance by the normalization.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Activation after the normalization.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// Distribution of the kernel's first values: He et al., so that gradients keep their size
    /// through rectifiers. A bias starts at zero.
    #[config(
        default = "Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true }"
    )]
    pub initializer: Initializer,
}

/// `activation(norm(conv(x)))`, with an optional residual input before the activation.
///
/// Built by [`ConvBlockConfig`].
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// The convolution; it has a bias where there is no norm, or on request.
    pub conv: Conv2d,
    /// The normalization; the kernels fold it into the convolution in inference.
    pub norm: Option<BatchNorm>,
    #[module(skip)]
    activation: Activation,
}

impl ConvBlockConfig {
    /// Initializes the block on `device`.
    ///
    /// # Panics
    ///
    /// Panics if kernel or stride is zero, or if `groups` does not divide both numbers of channels.
    pub fn init(&self, device: &Device) -> ConvBlock {
        assert!(self.kernel > 0 && self.stride > 0, "kernel and stride must be positive");
        let [channels_in, channels_out] = self.channels;
        let padding = self.padding.unwrap_or(self.dilation * (self.kernel - 1) / 2);
        let mut conv = Conv2dConfig::new([channels_in, channels_out], [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_bias(false)
            .with_initializer(self.initializer.clone())
            .init(device);

        if self.bias || self.norm == Norm::None {
            conv.bias = Some(Initializer::Zeros.init([channels_out], device));
        }
        let norm = match self.norm {
            Norm::Batch => {
                let norm = BatchNormConfig::new(channels_out).with_epsilon(self.epsilon);
                Some(norm.init(device))
            }
            Norm::None => None,
        };

        ConvBlock { conv, norm, activation: self.activation }
    }
}

impl ConvBlock {
    /// Convolves, normalizes and activates `x`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height / stride, width / stride]` with the default padding
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, None)
    }

    /// Like [`forward`](Self::forward), with `residual` added before the activation.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - `residual`: the shape of the output
    /// - output: `[batch, channels_out, height / stride, width / stride]` with the default padding
    pub fn forward_residual(&self, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.run(x, Some(residual))
    }

    /// Channels of the input; asking initializes nothing.
    pub fn in_channels(&self) -> usize {
        let [_, of_group, ..] = self.conv.weight.lazy_shape().dims::<4>();
        of_group * self.conv.groups
    }

    /// What the kernels need to know to compute the block with others as one, on `device`, where
    /// nothing learns.
    pub(crate) fn convolution(&self, device: &Device) -> kernels::Convolution {
        kernels::Convolution {
            weight: self.conv.weight.val(),
            bias: self.conv.bias.as_ref().map(Param::val),
            norm: self.norm.as_ref().map(|norm| fixed(norm, device)),
            options: self.options(),
            activation: self.activation.kernel(),
        }
    }

    fn run(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let y = match &self.norm {
            Some(norm) if x.device().is_autodiff() && norm.training.is_enabled() => {
                let (weight, bias) = (self.conv.weight.val(), self.conv.bias.as_ref());
                let (bias, identity) = (bias.map(Param::val), kernels::Activation::Identity);
                let y = kernels::conv2d(x, weight, bias, self.options(), identity, None);
                normalize(norm, y, self.activation.kernel(), residual)
            }
            _ => {
                let device = x.device();
                self.convolution(&device).of(x, residual)
            }
        };
        trace::note(|| {
            let [_, taps, kernel_height, kernel_width] = self.conv.weight.dims();
            let [_, outputs @ ..] = y.dims();
            let macs = outputs.iter().product::<usize>() * taps * kernel_height * kernel_width;
            let norm = self.norm.iter().flat_map(|norm| [norm.gamma.id, norm.beta.id]);
            let bias = self.conv.bias.iter().map(|bias| bias.id);

            trace::Layer::new("conv", &y)
                .with_parameters([self.conv.weight.id].into_iter().chain(bias).chain(norm))
                .with_macs(macs)
                .with_window(trace::Window {
                    kernel: [kernel_height, kernel_width],
                    stride: self.conv.stride,
                    channels: taps * self.conv.groups,
                    groups: self.conv.groups,
                })
        });
        y
    }

    fn options(&self) -> ConvOptions<2> {
        let Conv2d { stride, dilation, groups, padding, .. } = &self.conv;
        let PaddingConfig2d::Explicit(top, left, bottom, right) = *padding else {
            unreachable!("`init` gives every convolution an explicit padding");
        };
        let padding = [(top, bottom), (left, right)];
        ConvOptions::new_with_padding(*stride, padding, *dilation, *groups)
    }
}

/// The normalization with the statistics of training so far.
fn fixed(norm: &BatchNorm, device: &Device) -> kernels::Norm {
    let here = |vector: Tensor<1>| {
        if vector.device() == *device { vector } else { vector.to_device(device) }
    };
    kernels::Norm {
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
        mean: here(norm.running_mean.value_sync()),
        variance: here(norm.running_var.value_sync()),
        epsilon: norm.epsilon,
    }
}

/// Normalizes `y` with its own statistics and lets the running ones follow: the variance as PyTorch
/// estimates it, over one value less than there are.
fn normalize(
    norm: &BatchNorm,
    y: Tensor<4>,
    activation: kernels::Activation,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    let [batch, _, height, width] = y.dims();
    let values = (batch * height * width) as f64;
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    let (y, mean, variance) =
        kernels::batch_norm_train(y, gamma, beta, norm.epsilon, activation, residual);

    let follow = |running: Tensor<1>, now: Tensor<1>| {
        running * (1.0 - norm.momentum) + now.detach() * norm.momentum
    };
    let variance = variance * (values / (values - 1.0).max(1.0));
    norm.running_mean.update(follow(norm.running_mean.value_sync(), mean).detach());
    norm.running_var.update(follow(norm.running_var.value_sync(), variance).detach());
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, zeroed};

    /// Stride, dilation, groups, a norm with statistics of its own, a leaky activation.
    fn odd_block(device: &Device) -> ConvBlock {
        ConvBlockConfig::new([4, 6], 3)
            .with_stride(2)
            .with_dilation(2)
            .with_groups(2)
            .with_epsilon(1e-3)
            .with_activation(Activation::LeakyRelu)
            .init(device)
    }

    /// Kernels, strides and dilations.
    const WINDOWS: [(usize, usize, usize); 7] =
        [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (5, 2, 1), (3, 1, 3), (3, 3, 2)];

    fn window(kernel: usize, stride: usize, dilation: usize) -> ConvBlockConfig {
        ConvBlockConfig::new([1, 2], kernel).with_stride(stride).with_dilation(dilation)
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("conv_block");
        let block = golden.load(odd_block(&device()));

        golden.assert_close("output", block.forward(golden.tensor("input")));
    }

    /// Convolution, norm and activation one after the other, for a block that folds them.
    fn apart(block: &ConvBlock, x: Tensor<4>) -> Tensor<4> {
        let alone = ConvBlock { norm: None, activation: Activation::Identity, ..block.clone() };
        let norm = block.norm.as_ref().unwrap();
        block.activation.forward(norm.forward(alone.forward(x)))
    }

    #[test]
    fn the_norm_folded_for_inference_changes_nothing() {
        let golden = Golden::open("conv_block");
        let block = golden.load(odd_block(&device()));
        let x = golden.tensor("input");

        assert_close(block.forward(x.clone()), apart(&block, x));
    }

    #[test]
    fn folding_takes_a_bias_along() {
        let mut block = ConvBlockConfig::new([2, 3], 3).with_bias(true).init(&device());
        block.conv.bias = Some(Param::from_tensor(noise([3], 1, &device())));
        let norm = block.norm.as_ref().unwrap();
        norm.running_mean.update(noise([3], 3, &device()));
        norm.running_var.update(noise([3], 4, &device()).abs() + 0.5);
        let _ = (norm.running_mean.value_sync(), norm.running_var.value_sync());
        let x = noise([2, 2, 4, 5], 2, &device());

        assert_close(block.forward(x.clone()), apart(&block, x));
    }

    #[test]
    fn frozen_in_training_it_gives_what_inference_gives_and_keeps_its_statistics() {
        let golden = Golden::open("conv_block");
        let block = golden.load(odd_block(&device())).train();
        let before = block.norm.as_ref().unwrap().running_mean.value_sync().to_data();
        let x = golden.tensor("input");

        let frozen = block.freeze();
        let y = frozen.forward(Tensor::from_inner(x.clone()));

        assert_close(y.inner(), frozen.valid().forward(x));
        let after = frozen.norm.as_ref().unwrap().running_mean.value_sync().to_data();
        after.assert_eq(&before, true);
    }

    #[test]
    fn the_residual_is_added_before_the_activation() {
        let block = zeroed(ConvBlockConfig::new([3, 3], 3).init(&device()));
        let x = noise([2, 3, 5, 4], 1, &device());

        let y = block.forward_residual(x.clone(), x.clone());

        y.to_data().assert_eq(&Activation::Relu.forward(x).to_data(), true); // bit for bit
    }

    #[test]
    fn the_default_padding_keeps_size_over_stride_rounded_up() {
        for (kernel, stride, dilation) in WINDOWS {
            let block = window(kernel, stride, dilation).init(&device());
            for [height, width] in [[12, 8], [13, 7], [9, 16]] {
                let [.., y, x] = block.forward(noise([1, 1, height, width], 2, &device())).dims();

                let expected = [height.div_ceil(stride), width.div_ceil(stride)];
                assert_eq!([y, x], expected, "kernel {kernel} on {height}x{width}");
            }
        }
    }

    #[test]
    fn without_padding_the_kernel_stays_inside_the_image() {
        for (kernel, stride, dilation) in WINDOWS {
            let block = window(kernel, stride, dilation).with_padding(Some(0)).init(&device());
            for [height, width] in [[12, 8], [13, 7], [9, 16]] {
                let [.., y, x] = block.forward(noise([1, 1, height, width], 2, &device())).dims();

                // Places where the kernel can begin, every `stride`-th of them.
                let places =
                    |side: usize| (0..side).filter(move |at| at + dilation * (kernel - 1) < side);
                let expected = [height, width].map(|side| places(side).step_by(stride).count());
                assert_eq!([y, x], expected, "kernel {kernel} on {height}x{width}");
            }
        }
    }

    #[test]
    fn a_shifted_image_shifts_the_map() {
        let block = ConvBlockConfig::new([2, 3], 3)
            .with_padding(Some(0))
            .with_norm(Norm::None)
            .init(&device());
        let x = noise([1, 2, 9, 9], 3, &device());

        let right = block.forward(x.clone().narrow(3, 1, 8));
        let whole = block.forward(x);

        assert_close(right, whole.narrow(3, 1, 6));
    }

    #[test]
    fn only_a_block_without_norm_has_a_bias() {
        let plain = ConvBlockConfig::new([1, 2], 3).with_norm(Norm::None).init(&device());
        let normal = ConvBlockConfig::new([1, 2], 3).init(&device());

        assert!(plain.conv.bias.is_some() && plain.norm.is_none());
        assert!(normal.conv.bias.is_none() && normal.norm.is_some());
    }

    #[test]
    fn running_statistics_follow_the_batch_as_in_pytorch() {
        let block = ConvBlockConfig::new([2, 3], 1).init(&device().autodiff());
        let x = noise([2, 2, 3, 4], 5, &device().autodiff());
        let weight = block.conv.weight.val();
        let identity = kernels::Activation::Identity;
        let y = kernels::conv2d(x.clone(), weight, None, block.options(), identity, None).inner();
        let y = y.swap_dims(0, 1).reshape([3, 24]);
        let mean = y.clone().mean_dim(1).reshape([3]);
        let variance = y.var(1).reshape([3]); // divides by 23

        let _ = block.forward(x);

        let norm = block.norm.unwrap().valid();
        assert_close(norm.running_mean.value_sync(), mean * 0.1);
        assert_close(norm.running_var.value_sync(), variance * 0.1 + 0.9);
    }

    #[test]
    fn a_frozen_norm_keeps_its_statistics_and_uses_them() {
        let device = device().autodiff();
        let block = ConvBlockConfig::new([2, 3], 3).init(&device);
        let x = noise([2, 2, 4, 4], 6, &device);
        let expected = block.valid().forward(x.clone().inner());

        let frozen = block.freeze();
        let y = frozen.forward(x.clone());

        assert_close(y.inner(), expected.clone());
        assert_close(frozen.valid().forward(x.inner()), expected);
    }

    #[test]
    fn inference_sees_new_statistics_and_a_new_weight() {
        let mut block = ConvBlockConfig::new([3, 5], 3).init(&device());
        let x = noise([2, 3, 6, 7], 7, &device());
        let expected = |block: &ConvBlock| apart(block, x.clone());

        assert_close(block.forward(x.clone()), expected(&block));
        let norm = block.norm.as_ref().unwrap();
        norm.running_mean.update(noise([5], 8, &device()));
        norm.running_var.update(noise([5], 9, &device()).abs() + 0.5);
        let _ = (norm.running_mean.value_sync(), norm.running_var.value_sync());
        assert_close(block.forward(x.clone()), expected(&block));
        block.conv.weight = block.conv.weight.map(|weight| weight * 2.0);
        assert_close(block.forward(x.clone()), expected(&block));
    }

    #[test]
    fn gradients_flow_through_a_frozen_norm() {
        let device = device().autodiff();
        let golden = Golden::open("conv_block");
        let mut block = golden.load(odd_block(&device));
        block.activation = Activation::Tanh;
        let mut norm = block.norm.take().unwrap();
        norm.training = norm.training.with_value(false);
        block.norm = Some(norm);

        assert_gradients(&block, noise([2, 4, 7, 6], 10, &device), ConvBlock::forward);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let block = ConvBlockConfig::new([2, 4], 3)
            .with_groups(2)
            .with_activation(Activation::Tanh)
            .init(&device);

        assert_gradients(&block, noise([2, 2, 4, 5], 4, &device), |block, x| {
            block.forward_residual(x.clone(), x.clone().repeat_dim(1, 2))
        });
    }
}
