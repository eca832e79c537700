//! A plain convolutional network for small grey images, as a textbook introduces them.
//!
//! Géron. *Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow.* O'Reilly, 2nd
//! edition 2019, ch. 14 (the layers and their sizes). <https://www.oreilly.com/library/view/-/9781492032632/>
//!
//! One departure: the last map is averaged to 3×3 pixels where the images aren't 28×28.

use burn::module::Initializer;
use burn::prelude::*;
use kiln_layers::{
    ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Mlp, MlpConfig, Norm, adaptive_avg_pool,
};

use crate::error::at_least;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in a PyTorch module that counts its layers from 1.
pub const KEYS: &Keys = &[("conv{n+1}", "convs.{n}.conv"), ("fc{n+1}", "head.layers.{n}.linear")];

/// Side of the map that the dense layers see, in pixels.
const SEEN: usize = 3;
/// Side of the smallest image of which something is left, in pixels.
const SMALLEST: usize = 8;

/// Configuration of a [`Cnn`].
#[derive(Config, Debug)]
pub struct CnnConfig {
    /// Classes to predict.
    #[config(default = 10)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 1)]
    pub in_channels: usize,
    /// Channels of the three stages: one 7×7 convolution, then twice two of 3×3.
    #[config(default = "[64, 128, 256]")]
    pub channels: [usize; 3],
    /// Units of the hidden dense layers.
    #[config(default = "vec![128, 64]")]
    pub hidden: Vec<usize>,
    /// Probability that a feature of a hidden layer is dropped in training.
    #[config(default = 0.5)]
    pub dropout: f64,
}

/// Five convolutions with three pools, and three dense layers: 1,413,834 parameters.
///
/// Built by [`CnnConfig`].
#[derive(Module, Debug)]
pub struct Cnn {
    convs: Vec<ConvBlock>,
    pool: MaxPool,
    head: Mlp,
}

impl CnnConfig {
    /// Initializes the network on `device` as He et al. proposed in 2015.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> Cnn {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let he = |fan_out_only| Initializer::KaimingNormal {
            gain: std::f64::consts::SQRT_2,
            fan_out_only,
        };
        let conv = |from, to, kernel| {
            ConvBlockConfig::new([from, to], kernel)
                .with_norm(Norm::None)
                .with_initializer(he(false))
                .init(device)
        };
        let [first, second, third] = self.channels;
        let features = [&[third * SEEN * SEEN], &self.hidden[..], &[self.num_classes]].concat();

        Cnn {
            convs: vec![
                conv(self.in_channels, first, 7),
                conv(first, second, 3),
                conv(second, second, 3),
                conv(second, third, 3),
                conv(third, third, 3),
            ],
            pool: MaxPoolConfig::new(2, 2).init(),
            head: MlpConfig::new(features)
                .with_dropout(self.dropout)
                .with_initializer(he(false))
                .init(device),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let [first, second, third] = self.channels;
        FeatureInfo::halved(1, &[first, second, third, third])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or everything is dropped.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("channels", &self.channels),
            ("hidden", &self.hidden),
        ])?;
        bounds::dropped("dropout", self.dropout)
    }
}

impl Cnn {
    /// The last map. `tap` sees the map before each pool, and its stride.
    fn maps(&self, images: Tensor<4>, mut tap: impl FnMut(usize, &Tensor<4>)) -> Tensor<4> {
        let mut x = images;
        let mut stride = 1;
        for (i, conv) in self.convs.iter().enumerate() {
            x = conv.forward(x);
            if i % 2 == 0 {
                tap(stride, &x);
                x = self.pool.forward(x);
                stride *= 2;
            }
        }
        x
    }
}

impl Classifier for Cnn {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = adaptive_avg_pool(self.maps(images, |_, _| {}), SEEN);

        self.head.forward(x.flatten(1, 3))
    }

    /// The maps before the pools, of strides 1, 2 and 4, and the last one, of stride 8.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        Feature::shown(|show| {
            let last = self.maps(images, &mut *show);
            show(8, &last);
        })
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        Some(ConvolutionalHead { pool: None, layers: self.head.to_convolutions(SEEN, seen) })
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.convs[0].in_channels();
        at_least([in_channels, SMALLEST, SMALLEST], image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Convolutional, trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn tiny() -> CnnConfig {
        CnnConfig::new().with_channels([2, 3, 4]).with_hidden(vec![6, 5]).with_num_classes(4)
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("cnn");

        let (model, report) = weights::load(tiny().init(&device()), &golden.path(), KEYS).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["input", "output"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn has_the_book_s_number_of_parameters() {
        assert_eq!(trainable(&CnnConfig::new().init(&device())), 1_413_834);
    }

    #[test]
    fn small_and_large_images_go_through() {
        let model = tiny().with_in_channels(3).init(&device());

        assert!(model.check_input([3, 8, 8]).is_ok() && model.check_input([3, 7, 8]).is_err());
        for side in [8, 28, 33] {
            assert_eq!(model.forward(noise([1, 3, side, side], 1, &device())).dims(), [1, 4]);
        }
    }

    #[test]
    fn as_a_convolution_it_gives_the_same_scores() {
        let model = tiny().init(&device());
        let image = noise([2, 1, 28, 28], 2, &device());

        let scores = Convolutional::new(model.clone(), [1, 28, 28]).unwrap().forward(image.clone());

        assert_close(scores.flatten(1, 3), model.forward(image));
    }
}
