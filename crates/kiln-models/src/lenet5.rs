//! LeNet-5: handwritten digit recognition, as textbooks draw it.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.*
//! Proceedings of the IEEE 86(11), 1998, §II.B and fig. 2.
//! <http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf>
//!
//! Departures from the paper:
//! - C3 sees all six maps of S2, where table I saved connections;
//! - tanh in place of `1.7159 tanh(2x/3)`, which equals it up to the scale of the weights;
//! - a dense output layer with a softmax loss, in place of radial basis functions on drawings of
//!   the digits;
//! - images of 28×28 pixels, zero-padded to the paper's 32×32 by C1.

use burn::module::Initializer;
use burn::prelude::*;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, Norm, TrainableSubsample,
    TrainableSubsampleConfig,
};

use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in a PyTorch module with the paper's layer names.
pub const KEYS: &Keys = &[("c{n}", "c{n}.conv"), ("f6", "f6.linear"), ("output", "output.linear")];

/// Side of the images, in pixels.
const SIDE: usize = 28;

/// Configuration of a [`LeNet5`].
#[derive(Config, Debug)]
pub struct LeNet5Config {
    /// Classes to predict.
    #[config(default = 10)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 1)]
    pub in_channels: usize,
    /// Maps of C1, C3 and C5.
    #[config(default = "[6, 16, 120]")]
    pub maps: [usize; 3],
    /// Units of F6.
    #[config(default = 84)]
    pub hidden: usize,
}

/// LeNet-5 (fig. 2): 61,750 parameters.
///
/// Built by [`LeNet5Config`].
#[derive(Module, Debug)]
pub struct LeNet5 {
    c1: ConvBlock,
    s2: TrainableSubsample,
    c3: ConvBlock,
    s4: TrainableSubsample,
    c5: ConvBlock,
    f6: Dense,
    output: Dense,
}

impl LeNet5Config {
    /// Initializes the network on `device`, with weights of variance `1 / fan in` (LeCun, Bottou,
    /// Orr, Müller. *Efficient BackProp.* 1998, §4.6).
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> LeNet5 {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let Self { num_classes, in_channels, maps: [c1, c3, c5], hidden } = *self;
        let conv = |from, to, padding| {
            ConvBlockConfig::new([from, to], 5)
                .with_padding(Some(padding))
                .with_norm(Norm::None)
                .with_activation(Activation::Tanh)
                .with_initializer(Initializer::KaimingUniform { gain: 1.0, fan_out_only: false })
                .init(device)
        };
        let subsample = |maps| {
            TrainableSubsampleConfig::new(maps).with_activation(Activation::Tanh).init(device)
        };
        let dense = |from, to| DenseConfig::new([from, to]);

        LeNet5 {
            c1: conv(in_channels, c1, 2),
            s2: subsample(c1),
            c3: conv(c1, c3, 0),
            s4: subsample(c3),
            c5: conv(c3, c5, 0),
            f6: dense(c5, hidden).with_activation(Activation::Tanh).init(device),
            output: dense(hidden, num_classes).init(device),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let [c1, c3, _] = self.maps;
        FeatureInfo::halved(2, &[c1, c3])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("maps", &self.maps),
            ("hidden", &[self.hidden]),
        ])
    }
}

impl LeNet5 {
    /// The maps of S2 and S4.
    fn maps(&self, images: Tensor<4>) -> [Tensor<4>; 2] {
        let s2 = self.s2.forward(self.c1.forward(images)); // [batch, 6, 14, 14]
        let s4 = self.s4.forward(self.c3.forward(s2.clone())); // [batch, 16, 5, 5]
        [s2, s4]
    }
}

impl Classifier for LeNet5 {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, 28, 28]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        assert_shape!(images, [_, _, SIDE, SIDE]);

        let [_, s4] = self.maps(images); // [batch, 16, 5, 5]
        let x = self.c5.forward(s4).flatten(1, 3); // [batch, 120]

        self.output.forward(self.f6.forward(x))
    }

    /// The maps of S2 and S4, of strides 2 and 4.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let [s2, s4] = self.maps(images);
        vec![Feature::new(2, s2), Feature::new(4, s4)]
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["c5", "f6", "output"]
    }

    fn convolutional_head(&self, _: usize) -> Option<ConvolutionalHead> {
        let dense = [&self.f6, &self.output].map(|layer| layer.to_convolution(1, 1));
        let layers = std::iter::once(self.c5.clone()).chain(dense).collect();
        Some(ConvolutionalHead { pool: None, layers })
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.c1.in_channels();
        let expected = [in_channels, SIDE, SIDE];
        if image != expected {
            return Err(Error::Input { expected, found: image });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Convolutional, weights};
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    fn tiny() -> LeNet5Config {
        LeNet5Config::new().with_num_classes(4).with_maps([2, 3, 6]).with_hidden(5)
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("lenet5");
        let model = tiny().init(&device());

        let (model, report) = weights::load(model, &golden.path(), KEYS).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["input", "output"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn has_the_published_number_of_parameters() {
        assert_eq!(LeNet5Config::new().init(&device()).num_params(), 61_750);
    }

    #[test]
    fn as_a_convolution_it_gives_the_same_scores() {
        let model = LeNet5Config::new().init(&device());
        let image = noise([2, 1, 28, 28], 2, &device());

        let scores = Convolutional::new(model.clone(), [1, 28, 28]).unwrap().forward(image.clone());

        assert_close(scores.flatten(1, 3), model.forward(image));
    }

    #[test]
    fn takes_colour_images_of_the_same_size_only() {
        let model = tiny().with_in_channels(3).init(&device());

        assert!(model.check_input([3, 28, 28]).is_ok());
        let error = model.check_input([1, 32, 32]).unwrap_err().to_string();
        assert!(error.starts_with("the network takes images of 3x28x28, not 1x32x32"), "{error}");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let model = tiny().init(&device);

        assert_gradients(&model, noise([2, 1, 28, 28], 1, &device), LeNet5::forward);
    }
}
