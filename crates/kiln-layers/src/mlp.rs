//! Dense layers one after the other, with dropout: the head of the networks before 2014.
//!
//! Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov. *Dropout: A Simple Way to Prevent
//! Neural Networks from Overfitting.* JMLR 15, 2014. <https://jmlr.org/papers/v15/srivastava14a.html>

use burn::module::Initializer;
use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;

use crate::{Activation, ConvBlock, Dense, DenseConfig};

/// Configuration of an [`Mlp`].
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Features of the input, of each hidden layer, and of the output.
    pub features: Vec<usize>,
    /// Activation of the hidden layers.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// Probability that a feature is dropped in training; dropout is where `dropped` says.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// Which features are dropped.
    #[config(default = "Dropped::Outputs")]
    pub dropped: Dropped,
    /// Distribution of the weights' first values; biases start at zero.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0, fan_out_only: false }")]
    pub initializer: Initializer,
}

/// The features that dropout drops in an [`Mlp`].
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// What each hidden layer gives.
    Outputs,
    /// What each hidden layer sees; the output layer sees everything.
    Inputs,
}

/// Hidden dense layers with activation and dropout, and a dense output layer.
///
/// Built by [`MlpConfig`].
#[derive(Module, Debug)]
pub struct Mlp {
    /// The dense layers, the output layer last.
    pub layers: Vec<Dense>,
    dropout: Dropout,
    #[module(skip)]
    dropped: Dropped,
}

impl MlpConfig {
    /// Initializes the layers on `device`.
    ///
    /// # Panics
    ///
    /// Panics unless there are features of an input and an output, and `0 <= dropout < 1`.
    pub fn init(&self, device: &Device) -> Mlp {
        assert!(self.features.len() >= 2, "features of an input and an output are needed");
        let last = self.features.len() - 2;
        let layers = self.features.windows(2).enumerate().map(|(i, pair)| {
            let activation = if i < last { self.activation } else { Activation::Identity };
            DenseConfig::new([pair[0], pair[1]])
                .with_activation(activation)
                .with_initializer(self.initializer.clone())
                .init(device)
        });

        Mlp {
            layers: layers.collect(),
            dropout: DropoutConfig::new(self.dropout).init(),
            dropped: self.dropped,
        }
    }
}

impl Mlp {
    /// # Shapes
    ///
    /// - `x`: `[batch, features_in]`
    /// - output: `[batch, features_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.layers.len().saturating_sub(1);
        self.layers.iter().enumerate().fold(x, |x, (i, layer)| match self.dropped {
            _ if i == hidden => layer.forward(x),
            Dropped::Inputs => layer.forward(self.dropout.forward(x)),
            Dropped::Outputs => self.dropout.forward(layer.forward(x)),
        })
    }

    /// The same function as convolutions over maps of any size, without dropout. The first sees windows of
    /// `seen`×`seen` pixels, of which the first dense layer sees averages, `side`×`side` of them.
    ///
    /// # Panics
    ///
    /// Panics as [`Dense::to_convolution`].
    pub fn to_convolutions(&self, side: usize, seen: usize) -> Vec<ConvBlock> {
        let sides = std::iter::once([side, seen]).chain(std::iter::repeat([1, 1]));
        let layers = self.layers.iter().zip(sides);
        layers.map(|(layer, [side, seen])| layer.to_convolution(side, seen)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    fn config() -> MlpConfig {
        MlpConfig::new(vec![12, 6, 5, 3])
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("mlp");
        let mlp = golden.load(MlpConfig::new(vec![9, 6, 5, 4]).init(&device()));

        golden.assert_close("output", mlp.forward(golden.tensor("input")));
    }

    #[test]
    fn the_output_layer_is_linear() {
        let mlp = MlpConfig::new(vec![4, 3]).with_dropout(0.5).init(&device());
        let x = noise::<2>([2, 4], 1, &device());

        assert_close(mlp.forward(x.clone() * 3.0), mlp.forward(x) * 3.0);
    }

    #[test]
    fn inference_drops_nothing() {
        let x = noise::<2>([2, 12], 1, &device());
        for dropped in [Dropped::Inputs, Dropped::Outputs] {
            let mlp = config().with_dropout(0.9).with_dropped(dropped).init(&device());
            let whole = Mlp { dropout: DropoutConfig::new(0.0).init(), ..mlp.clone() };

            mlp.forward(x.clone()).to_data().assert_eq(&whole.forward(x.clone()).to_data(), true);
        }
    }

    #[test]
    fn training_drops_what_a_hidden_layer_sees_or_gives_and_keeps_the_mean() {
        let device = device().autodiff();
        for dropped in [Dropped::Inputs, Dropped::Outputs] {
            let mlp = MlpConfig::new(vec![1, 50, 1])
                .with_dropout(0.5)
                .with_dropped(dropped)
                .with_activation(Activation::Identity)
                .with_initializer(Initializer::Ones)
                .init(&device);

            let scores = mlp.forward(Tensor::ones([400, 1], &device)).to_data();

            let scores: Vec<f32> = scores.iter().collect();
            let mean = scores.iter().sum::<f32>() / 400.0;
            assert!((mean - 50.0).abs() < 10.0, "{mean}");
            let all_or_nothing = scores.iter().all(|&x| x == 0.0 || x == 100.0);
            assert_eq!(all_or_nothing, dropped == Dropped::Inputs);
        }
    }

    #[test]
    fn its_convolutions_give_the_same_scores() {
        let mlp = config().init(&device());
        let x = noise::<4>([2, 3, 2, 2], 2, &device());

        let convolved = mlp.to_convolutions(2, 2).iter().fold(x.clone(), |x, conv| conv.forward(x));

        assert_close(convolved.flatten(1, 3), mlp.forward(x.flatten(1, 3)));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let mlp = config().with_activation(Activation::Tanh).init(&device);

        assert_gradients(&mlp, noise([3, 12], 3, &device), Mlp::forward);
    }
}
