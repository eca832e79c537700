//! Fully connected layer with its activation.

use burn::module::{Initializer, Param};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use kiln_kernels as kernels;

use crate::{Activation, ConvBlock, ConvBlockConfig, Norm, trace};

/// Configuration of a [`Dense`] layer.
#[derive(Config, Debug)]
pub struct DenseConfig {
    /// Features in and out.
    pub features: [usize; 2],
    /// Activation of the output.
    #[config(default = "Activation::Identity")]
    pub activation: Activation,
    /// Distribution of the weights' first values: uniform with standard deviation
    /// `1 / sqrt(features in)`. The bias starts at zero.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0, fan_out_only: false }")]
    pub initializer: Initializer,
}

/// `activation(x W + b)`.
///
/// Built by [`DenseConfig`].
#[derive(Module, Debug)]
pub struct Dense {
    /// Weights `[features_in, features_out]` and bias.
    pub linear: Linear,
    #[module(skip)]
    activation: Activation,
}

impl DenseConfig {
    /// Initializes the layer on `device`.
    pub fn init(&self, device: &Device) -> Dense {
        let [features_in, features_out] = self.features;
        let mut linear = LinearConfig::new(features_in, features_out)
            .with_bias(false)
            .with_initializer(self.initializer.clone())
            .init(device);
        linear.bias = Some(Initializer::Zeros.init([features_out], device));

        Dense { linear, activation: self.activation }
    }
}

impl Dense {
    /// Maps each row of features.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, features_in]`
    /// - output: `[batch, features_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.linear.weight.val(), self.linear.bias.as_ref().map(Param::val));
        let y = kernels::linear(x, weight, bias, self.activation.kernel());
        trace::note(|| {
            let bias = self.linear.bias.iter().map(|bias| bias.id);

            trace::Layer::new("dense", &y)
                .with_parameters([self.linear.weight.id].into_iter().chain(bias))
                .with_macs(self.linear.weight.dims().iter().product())
        });
        y
    }

    /// The same function of every window of `seen`×`seen` pixels, as a convolution without padding:
    /// for the one window of a map of that size, what this layer gives for the flattened map of
    /// `side`×`side` pixels that an [`adaptive_avg_pool`](crate::adaptive_avg_pool) makes of it. Of
    /// equal sides there is nothing to average.
    ///
    /// # Panics
    ///
    /// Panics if no map of `side`×`side` pixels has `features_in` values.
    pub fn to_convolution(&self, side: usize, seen: usize) -> ConvBlock {
        let weight = self.linear.weight.val();
        let [features_in, features_out] = weight.dims();
        let channels = features_in / (side * side);
        assert!(
            channels * side * side == features_in,
            "no map of {side}x{side} pixels has {features_in} values"
        );

        let mut block = ConvBlockConfig::new([channels, features_out], seen)
            .with_padding(Some(0))
            .with_norm(Norm::None)
            .with_activation(self.activation)
            .init(&weight.device());
        let kernel = weight.transpose().reshape([features_out, channels, side, side]);
        block.conv.weight = Param::from_tensor(spread(kernel, seen));
        block.conv.bias.clone_from(&self.linear.bias);
        block
    }
}

/// The kernel of `seen`×`seen` pixels that gives for a map what `kernel` gives for its averages: each
/// pixel has a part of the weight of every average that it is in.
fn spread(kernel: Tensor<4>, seen: usize) -> Tensor<4> {
    let [.., side] = kernel.dims();
    if side == seen {
        return kernel;
    }
    let parts = (0..side).flat_map(|bin| {
        let window = bin * seen / side..((bin + 1) * seen).div_ceil(side);
        (0..seen).map(move |pixel| match window.contains(&pixel) {
            true => 1.0 / window.len() as f32,
            false => 0.0,
        })
    });
    let parts = TensorData::new(parts.collect::<Vec<f32>>(), [1, 1, side, seen]);
    let parts = Tensor::<4>::from_data(parts, &kernel.device());
    kernel.matmul(parts.clone()).swap_dims(2, 3).matmul(parts).swap_dims(2, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adaptive_avg_pool;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, zeroed};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("dense");
        let dense = DenseConfig::new([7, 5]).with_activation(Activation::Tanh);
        let dense = golden.load(dense.init(&device()));

        golden.assert_close("output", dense.forward(golden.tensor("input")));
    }

    #[test]
    fn zero_weights_give_the_activation_of_zero() {
        let dense = DenseConfig::new([5, 3]).with_activation(Activation::Sigmoid);
        let dense = zeroed(dense.init(&device()));

        let y = dense.forward(noise([2, 5], 1, &device()));

        y.to_data().assert_eq(&TensorData::from([[0.5_f32; 3]; 2]), true);
    }

    #[test]
    fn its_convolution_gives_the_same_for_every_window() {
        let dense = DenseConfig::new([3 * 2 * 2, 5]).with_activation(Activation::Tanh);
        let dense = dense.init(&device());
        let x = noise([2, 3, 4, 3], 3, &device());

        let maps = dense.to_convolution(2, 2).forward(x.clone());

        assert_eq!(maps.dims(), [2, 5, 3, 2]);
        let window = x.slice(s![.., .., 2..4, 1..3]).flatten(1, 3);
        assert_close(maps.slice(s![.., .., 2, 1]).flatten(1, 3), dense.forward(window));
    }

    #[test]
    fn its_convolution_takes_averages_along() {
        let dense = DenseConfig::new([2 * 3 * 3, 4]).init(&device());
        // Smaller than what the layer sees, so that pixels repeat; larger, evenly and not.
        for seen in [1, 2, 6, 7] {
            let x = noise([2, 2, seen, seen], 3, &device());

            let map = dense.to_convolution(3, seen).forward(x.clone());

            assert_eq!(map.dims(), [2, 4, 1, 1]);
            let averaged = adaptive_avg_pool(x, 3).flatten(1, 3);
            assert_close(map.flatten(1, 3), dense.forward(averaged));
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let dense = DenseConfig::new([4, 3]).with_activation(Activation::ScaledTanh).init(&device);

        assert_gradients(&dense, noise([3, 4], 2, &device), Dense::forward);
    }
}
