//! The auxiliary classifier: a small head on a map in the middle of a network, whose loss sends
//! gradients to the layers before it.
//!
//! Szegedy et al. *Going Deeper with Convolutions.* CVPR 2015, §5.
//! <https://arxiv.org/abs/1409.4842>
//!
//! One departure from the paper: its average over windows of 5×5 pixels, 3 apart, gives 4×4 pixels
//! only for the map of a 224×224 image. Here the windows adapt to the map, as in torchvision.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;

use crate::{Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, Norm, adaptive_avg_pool};

/// Side of the map that the dense layers see, in pixels.
const SIDE: usize = 4;

/// Configuration of an [`AuxClassifier`].
#[derive(Config, Debug)]
pub struct AuxClassifierConfig {
    /// Channels of the map.
    pub channels: usize,
    /// Classes to predict.
    pub num_classes: usize,
    /// Maps of the 1×1 convolution, and units of the hidden dense layer.
    #[config(default = "[128, 1024]")]
    pub widths: [usize; 2],
    /// Normalization after the convolution; the paper has none.
    #[config(default = "Norm::None")]
    pub norm: Norm,
    /// Added to the variance by the normalization.
    #[config(default = 1e-3)]
    pub epsilon: f64,
    /// Chance that a hidden unit is dropped in training.
    #[config(default = 0.7)]
    pub dropout: f64,
}

/// Average pool to 4×4, 1×1 convolution, hidden dense layer, dropout, scores.
///
/// Built by [`AuxClassifierConfig`].
#[derive(Module, Debug)]
pub struct AuxClassifier {
    conv: ConvBlock,
    hidden: Dense,
    dropout: Dropout,
    output: Dense,
}

impl AuxClassifierConfig {
    /// Initializes the head on `device`.
    ///
    /// # Panics
    ///
    /// Panics if `dropout` isn't in `0..1`.
    pub fn init(&self, device: &Device) -> AuxClassifier {
        let [maps, units] = self.widths;
        AuxClassifier {
            conv: ConvBlockConfig::new([self.channels, maps], 1)
                .with_norm(self.norm)
                .with_epsilon(self.epsilon)
                .init(device),
            hidden: DenseConfig::new([maps * SIDE * SIDE, units])
                .with_activation(Activation::Relu)
                .init(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            output: DenseConfig::new([units, self.num_classes]).init(device),
        }
    }
}

impl AuxClassifier {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: `[batch, num_classes]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.conv.forward(adaptive_avg_pool(x, SIDE)); // [batch, maps, 4, 4]
        let x = self.hidden.forward(x.flatten(1, 3));

        self.output.forward(self.dropout.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_gradients, device, noise};

    fn small() -> AuxClassifierConfig {
        AuxClassifierConfig::new(3, 4).with_widths([2, 5]).with_norm(Norm::Batch)
    }

    #[test]
    fn matches_pytorch() {
        for (name, norm) in [("aux_classifier", Norm::Batch), ("aux_classifier_plain", Norm::None)]
        {
            let golden = Golden::open(name);
            let head = golden.load(small().with_norm(norm).init(&device()));

            golden.assert_close("output", head.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn a_map_of_any_size_becomes_scores_of_the_same_parameters() {
        let head = small().init(&device());

        for side in [1, 4, 9, 14] {
            assert_eq!(head.forward(noise([2, 3, side, side], 1, &device())).dims(), [2, 4]);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        // A ReLU has a kink that differences would see.
        let head = AuxClassifier {
            conv: ConvBlockConfig::new([3, 2], 1)
                .with_norm(Norm::None)
                .with_activation(Activation::Tanh)
                .init(&device),
            hidden: DenseConfig::new([32, 5]).with_activation(Activation::Tanh).init(&device),
            ..small().with_dropout(0.0).init(&device)
        };

        assert_gradients(&head, noise([2, 3, 5, 6], 2, &device), AuxClassifier::forward);
    }
}
