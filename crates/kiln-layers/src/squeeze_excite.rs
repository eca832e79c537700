//! Squeeze-and-excitation: channel attention computed from the pooled feature map.
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018.
//! <https://arxiv.org/abs/1709.01507>

use burn::prelude::*;
use kiln_kernels as kernels;

use crate::{Activation, ConvBlock, ConvBlockConfig, Norm, global_avg_pool, trace};

/// How the width of a gate's bottleneck is rounded; it is never zero.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Down, as the authors do.
    Down,
    /// To the nearest multiple of eight, and to eight at least, as timm does.
    ToEights,
}

/// Configuration of a [`SqueezeExcite`] gate.
#[derive(Config, Debug)]
pub struct SqueezeExciteConfig {
    /// Channels of the feature map to rescale.
    pub channels: usize,
    /// Width ratio of the bottleneck, the paper's `r` (§3.2).
    #[config(default = 16)]
    pub reduction: usize,
    /// Rounding of `channels / reduction`.
    #[config(default = "Rounding::Down")]
    pub rounding: Rounding,
}

/// Rescales every channel by a gate between 0 and 1 (§3, fig. 1).
///
/// `y = x · σ(W₂ δ(W₁ mean(x)))`, with `δ` the ReLU and `σ` the sigmoid.
///
/// Built by [`SqueezeExciteConfig`].
#[derive(Module, Debug)]
pub struct SqueezeExcite {
    /// `W₁`, a 1×1 convolution to `channels / reduction`.
    reduce: ConvBlock,
    /// `W₂`, a 1×1 convolution back to `channels`.
    expand: ConvBlock,
}

impl SqueezeExciteConfig {
    /// Initializes the gate on `device`.
    ///
    /// # Panics
    ///
    /// Panics if a number is zero.
    pub fn init(&self, device: &Device) -> SqueezeExcite {
        let Self { channels, reduction, .. } = *self;
        assert!(channels > 0 && reduction > 0, "every number in {self} must be positive");
        let pointwise = |from, to, activation| {
            ConvBlockConfig::new([from, to], 1)
                .with_norm(Norm::None)
                .with_activation(activation)
                .init(device)
        };
        let hidden = self.hidden();

        SqueezeExcite {
            reduce: pointwise(channels, hidden, Activation::Relu),
            expand: pointwise(hidden, channels, Activation::Sigmoid),
        }
    }

    /// Width of the bottleneck.
    fn hidden(&self) -> usize {
        let Self { channels, reduction, rounding } = *self;
        match rounding {
            Rounding::Down => (channels / reduction).max(1),
            Rounding::ToEights => ((channels + 4 * reduction) / (8 * reduction) * 8).max(8),
        }
    }
}

impl SqueezeExcite {
    /// Gates the channels of `x`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: the shape of `x`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let gate = self.gate(x.clone());
        scale(x, gate, None, Activation::Identity)
    }

    /// The factor of every channel.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: `[batch, channels, 1, 1]`
    pub fn gate(&self, x: Tensor<4>) -> Tensor<4> {
        trace::aside(|| {
            let [batch, channels, ..] = x.dims();
            let pooled = global_avg_pool(x).reshape([batch, channels, 1, 1]);
            self.expand.forward(self.reduce.forward(pooled))
        })
    }
}

/// `activation(x · gate + residual)`, which the trace sees as a layer.
pub(crate) fn scale(
    x: Tensor<4>,
    gate: Tensor<4>,
    residual: Option<Tensor<4>>,
    activation: Activation,
) -> Tensor<4> {
    let y = kernels::scale_channels(x, gate, residual, activation.kernel());
    trace::note(|| trace::Layer::new("scale", &y));
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, zeroed};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("squeeze_excite");
        let gate = golden.load(SqueezeExciteConfig::new(8).with_reduction(4).init(&device()));

        golden.assert_close("output", gate.forward(golden.tensor("input")));
    }

    #[test]
    fn zero_weights_halve_the_input() {
        // They make the gate σ(0) = ½ for every channel.
        let gate = zeroed(SqueezeExciteConfig::new(16).init(&device()));
        let x = noise([2, 16, 3, 5], 1, &device());

        assert_close(gate.forward(x.clone()), x / 2.0);
    }

    #[test]
    fn where_the_pixels_are_does_not_matter_to_the_gate() {
        let gate = SqueezeExciteConfig::new(8).with_reduction(2).init(&device());
        let x = noise([1, 8, 4, 6], 2, &device());

        assert_close(gate.gate(x.clone()), gate.gate(x.flip([2, 3])));
    }

    #[test]
    fn the_bottleneck_is_rounded_as_told_and_never_empty() {
        let hidden = |channels, rounding| {
            SqueezeExciteConfig::new(channels).with_rounding(rounding).hidden()
        };

        for (channels, down, to_eights) in
            [(8, 1, 8), (16, 1, 8), (64, 4, 8), (188, 11, 8), (192, 12, 16), (2048, 128, 128)]
        {
            assert_eq!(hidden(channels, Rounding::Down), down, "{channels}");
            assert_eq!(hidden(channels, Rounding::ToEights), to_eights, "{channels}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let pointwise = |from, to, activation| {
            ConvBlockConfig::new([from, to], 1)
                .with_norm(Norm::None)
                .with_activation(activation)
                .init(&device)
        };
        // A ReLU has a kink that differences would see.
        let gate = SqueezeExcite {
            reduce: pointwise(8, 2, Activation::Tanh),
            expand: pointwise(2, 8, Activation::Sigmoid),
        };

        assert_gradients(&gate, noise([2, 8, 3, 2], 3, &device), SqueezeExcite::forward);
    }
}
