//! A convolution in which each map sees only the maps that a table gives it.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.*
//! Proceedings of the IEEE 86(11), 1998, §II.B (layer C3 and table I).

use burn::module::{Initializer, Param};
use burn::prelude::*;
use burn::tensor::ops::ConvOptions;
use kiln_kernels as kernels;

use crate::{Activation, trace};

/// Configuration of a [`TableConv`].
#[derive(Config, Debug)]
pub struct TableConvConfig {
    /// Channels in.
    pub channels: usize,
    /// For every channel out, the channels in that it sees, in ascending order.
    pub table: Vec<Vec<usize>>,
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Activation of the output.
    #[config(default = "Activation::Identity")]
    pub activation: Activation,
}

/// `activation(conv(x) + bias)` with one kernel for each connection of the table.
///
/// Built by [`TableConvConfig`].
#[derive(Module, Debug)]
pub struct TableConv {
    /// The kernels, connection after connection: `[connections, kernel, kernel]`.
    pub weight: Param<Tensor<3>>,
    /// `[channels_out]`
    pub bias: Param<Tensor<1>>,
    channels: usize,
    /// For every pair of a channel out and a channel in, the number of its kernel plus one; zero
    /// where there is none.
    #[module(skip)]
    places: Vec<i32>,
    #[module(skip)]
    activation: Activation,
}

impl TableConvConfig {
    /// Initializes the layer on `device`: kernels uniform, of variance `1 / fan in` for the
    /// connections of their own map, biases zero.
    ///
    /// # Panics
    ///
    /// Panics if the table names a channel that isn't there or names one twice.
    pub fn init(&self, device: &Device) -> TableConv {
        let Self { channels, ref table, kernel, activation } = *self;
        let mut places = vec![0; table.len() * channels];
        let mut bounds = Vec::new();
        for (out, seen) in table.iter().enumerate() {
            for &channel in seen {
                assert!(channel < channels, "map {out} sees channel {channel} of {channels}");
                let place = &mut places[out * channels + channel];
                assert!(*place == 0, "map {out} sees channel {channel} twice");
                bounds.push((3.0 / (seen.len() * kernel * kernel) as f32).sqrt());
                *place = bounds.len() as i32;
            }
        }

        let shape = [bounds.len(), kernel, kernel];
        let uniform = Initializer::Uniform { min: -1.0, max: 1.0 };
        let weight: Param<Tensor<3>> = uniform.init(shape, device);
        TableConv {
            weight: weight.init_mapper(move |weight| {
                let bounds = TensorData::new(bounds.clone(), [shape[0], 1, 1]);
                let bounds = Tensor::from_data(bounds, &weight.device());
                weight * bounds
            }),
            bias: Initializer::Zeros.init([table.len()], device),
            channels,
            places,
            activation,
        }
    }
}

impl TableConv {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height - kernel + 1, width - kernel + 1]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
        let bias = Some(self.bias.val());
        let y = kernels::conv2d(x, self.kernels(), bias, options, self.activation.kernel(), None);

        trace::note(|| {
            let [.., height, width] = y.dims();
            let taps: usize = self.weight.dims().iter().product();
            trace::Layer::new("conv", &y)
                .with_parameters([self.weight.id, self.bias.id])
                .with_macs(taps * height * width)
        });
        y
    }

    /// The kernels of all pairs, zero where the table has no connection:
    /// `[channels_out, channels_in, kernel, kernel]`.
    pub fn kernels(&self) -> Tensor<4> {
        let weight = self.weight.val();
        let [_, kernel, _] = weight.dims();
        let places = TensorData::new(self.places.clone(), [self.places.len()]);
        let places = Tensor::<1, Int>::from_data(places, &weight.device());
        let none = Tensor::zeros([1, kernel, kernel], &weight.device());

        Tensor::cat(vec![none, weight], 0).select(0, places).reshape([
            self.places.len() / self.channels,
            self.channels,
            kernel,
            kernel,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConvBlockConfig, Norm};
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    fn layer(table: &[&[usize]], device: &Device) -> TableConv {
        let table = table.iter().map(|seen| seen.to_vec()).collect();
        TableConvConfig::new(3, table, 3).init(device)
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("table_conv");
        let table = vec![vec![0, 2], vec![1], vec![0, 1, 2], vec![1, 2]];
        let config = TableConvConfig::new(3, table, 3).with_activation(Activation::Tanh);
        let layer = golden.load(config.init(&device()));

        golden.assert_close("output", layer.forward(golden.tensor("input")));
    }

    #[test]
    fn a_full_table_is_a_convolution() {
        let layer = layer(&[&[0, 1, 2], &[0, 1, 2]], &device());
        let mut conv = ConvBlockConfig::new([3, 2], 3)
            .with_padding(Some(0))
            .with_norm(Norm::None)
            .with_activation(Activation::Identity)
            .init(&device());
        conv.conv.weight = Param::from_tensor(layer.weight.val().reshape([2, 3, 3, 3]));
        let x = noise([2, 3, 5, 6], 1, &device());

        assert_close(layer.forward(x.clone()), conv.forward(x));
    }

    #[test]
    fn a_map_is_blind_to_what_its_row_leaves_out() {
        let layer = layer(&[&[0, 2], &[1]], &device());
        let x = noise([1, 3, 4, 4], 1, &device());
        let changed = x.clone().slice_assign(s![.., 1..2], noise([1, 1, 4, 4], 2, &device()));

        let difference = layer.forward(x) - layer.forward(changed);

        let [first, second] =
            [0, 1].map(|map| difference.clone().narrow(1, map, 1).abs().max().into_scalar::<f32>());
        assert!(first == 0.0 && second > 0.1, "{first} {second}");
    }

    #[test]
    fn has_one_kernel_per_connection_and_its_spread_follows_the_fan_in() {
        let table: Vec<Vec<usize>> =
            (0..200).map(|out| if out < 100 { vec![0] } else { vec![0, 1, 2] }).collect();
        let layer = TableConvConfig::new(3, table, 3).init(&device());

        assert_eq!(layer.num_params(), 400 * 9 + 200);
        let variance = |from, count| {
            let weight = layer.weight.val().narrow(0, from, count);
            weight.powi_scalar(2).mean().into_scalar::<f32>()
        };
        assert!((variance(0, 100) * 9.0 - 1.0).abs() < 0.2);
        assert!((variance(100, 300) * 27.0 - 1.0).abs() < 0.2);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let layer = layer(&[&[0, 2], &[1]], &device);

        assert_gradients(&layer, noise([2, 3, 4, 5], 3, &device), TableConv::forward);
    }
}
