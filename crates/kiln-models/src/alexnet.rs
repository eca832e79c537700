//! AlexNet: five convolutions and three dense layers.
//!
//! Krizhevsky, Sutskever, Hinton. *ImageNet Classification with Deep Convolutional Neural
//! Networks.* NIPS 2012.
//! <https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks>
//!
//! Krizhevsky. *One weird trick for parallelizing convolutional neural networks.* 2014 (the widths
//! of torchvision's). <https://arxiv.org/abs/1404.5997>
//!
//! Departures from the papers:
//! - the first convolution pads images of 224×224 pixels by 2, where the first paper must have
//!   meant 227×227;
//! - `alexnet` has no normalization, and drops what the hidden layers see instead of what they
//!   give, because torchvision's weights are trained so;
//! - the last map is averaged, or stretched, to 6×6 pixels for images of another size, as
//!   torchvision does;
//! - weights start as He et al. proposed in 2015, and biases at zero, in place of a deviation of
//!   0.01 and some biases of one, so that narrow networks learn too.

use burn::module::Initializer;
use burn::prelude::*;
use kiln_layers::{
    ConvBlock, ConvBlockConfig, Dropped, LocalResponseNorm, LocalResponseNormConfig, MaxPool,
    MaxPoolConfig, Mlp, MlpConfig, Norm, adaptive_avg_pool,
};

use crate::error::at_least;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in torchvision's network.
pub const KEYS: &Keys = &[
    ("features.0", "convs.0.conv"),
    ("features.3", "convs.1.conv"),
    ("features.6", "convs.2.conv"),
    ("features.8", "convs.3.conv"),
    ("features.10", "convs.4.conv"),
    ("classifier.1", "head.layers.0.linear"),
    ("classifier.4", "head.layers.1.linear"),
    ("classifier.6", "head.layers.2.linear"),
];

/// Kernel, stride and padding of the convolutions, in pixels.
const CONVS: [[usize; 3]; 5] = [[11, 4, 2], [5, 1, 2], [3, 1, 1], [3, 1, 1], [3, 1, 1]];
/// Side of the map that the dense layers see, in pixels.
const SEEN: usize = 6;
/// Side of the smallest image of which something is left, in pixels.
const SMALLEST: usize = 63;

/// Configuration of an [`AlexNet`].
#[derive(Config, Debug)]
pub struct AlexNetConfig {
    /// Channels of the five convolutions.
    pub channels: [usize; 5],
    /// Groups of the second, fourth and fifth convolution; the paper's two graphics cards.
    pub groups: usize,
    /// Whether local response normalization follows the first and the second convolution.
    pub lrn: bool,
    /// What dropout drops in the head.
    pub dropped: Dropped,
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Units of the two hidden dense layers.
    #[config(default = 4096)]
    pub hidden: usize,
    /// Probability that a feature of the head is dropped in training.
    #[config(default = 0.5)]
    pub dropout: f64,
}

/// AlexNet (2012, fig. 2).
///
/// Built by [`AlexNetConfig`].
#[derive(Module, Debug)]
pub struct AlexNet {
    convs: Vec<ConvBlock>,
    norm: Option<LocalResponseNorm>,
    pool: MaxPool,
    head: Mlp,
}

impl AlexNetConfig {
    /// `alexnet`, as in torchvision: 61,100,840 parameters.
    pub fn alexnet() -> Self {
        Self::new([64, 192, 384, 256, 256], 1, false, Dropped::Inputs)
    }

    /// `alexnet-2012`, as in the paper: 60,965,224 parameters.
    pub fn alexnet_2012() -> Self {
        Self::new([96, 256, 384, 384, 256], 2, true, Dropped::Outputs)
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> AlexNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let mut channels = self.in_channels;
        let convs = std::iter::zip(CONVS, self.channels).enumerate();
        let convs = convs.map(|(i, ([kernel, stride, padding], to))| {
            let from = std::mem::replace(&mut channels, to);
            ConvBlockConfig::new([from, to], kernel)
                .with_stride(stride)
                .with_padding(Some(padding))
                .with_groups(if GROUPED.contains(&i) { self.groups } else { 1 })
                .with_norm(Norm::None)
                .init(device)
        });

        AlexNet {
            convs: convs.collect(),
            norm: self.lrn.then(|| LocalResponseNormConfig::new().init()),
            pool: MaxPoolConfig::new(3, 2).init(),
            head: MlpConfig::new(vec![
                self.channels[4] * SEEN * SEEN,
                self.hidden,
                self.hidden,
                self.num_classes,
            ])
            .with_dropout(self.dropout)
            .with_dropped(self.dropped)
            .with_initializer(Initializer::KaimingNormal {
                gain: std::f64::consts::SQRT_2,
                fan_out_only: false,
            })
            .init(device),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let [first, second, _, _, last] = self.channels;
        FeatureInfo::halved(4, &[first, second, last, last])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, the groups don't divide the channels, or everything
    /// is dropped.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("channels", &self.channels),
            ("groups", &[self.groups]),
            ("hidden", &[self.hidden]),
        ])?;
        bounds::dropped("dropout", self.dropout)?;
        let Self { channels, groups, .. } = self;
        if channels.iter().any(|channels| channels % groups != 0) {
            let reason = format!("{groups} groups don't divide the channels {channels:?}");
            return Err(Error::Options { reason });
        }
        Ok(())
    }
}

/// The convolutions of which the paper's graphics cards each had a half.
const GROUPED: [usize; 3] = [1, 3, 4];

impl AlexNet {
    /// The last map. `tap` sees the map before each pool, and its stride.
    fn maps(&self, images: Tensor<4>, mut tap: impl FnMut(usize, &Tensor<4>)) -> Tensor<4> {
        let mut x = images;
        let mut stride = 4;
        for (i, conv) in self.convs.iter().enumerate() {
            x = conv.forward(x);
            if let (Some(norm), 0 | 1) = (&self.norm, i) {
                x = norm.forward(x);
            }
            if matches!(i, 0 | 1 | 4) {
                tap(stride, &x);
                x = self.pool.forward(x);
                stride *= 2;
            }
        }
        x
    }
}

impl Classifier for AlexNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = adaptive_avg_pool(self.maps(images, |_, _| {}), SEEN);

        self.head.forward(x.flatten(1, 3))
    }

    /// The maps before the pools, of strides 4, 8 and 16, and the last one, of stride 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        Feature::shown(|show| {
            let last = self.maps(images, &mut *show);
            show(32, &last);
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

    fn tiny(config: AlexNetConfig) -> AlexNetConfig {
        let config = config.with_hidden(8).with_num_classes(5);
        AlexNetConfig { channels: [4, 4, 6, 4, 2], ..config }
    }

    #[test]
    fn both_forms_match_pytorch() {
        for (name, config) in
            [("alexnet", AlexNetConfig::alexnet()), ("alexnet_2012", AlexNetConfig::alexnet_2012())]
        {
            let golden = Golden::open(name);
            let model = tiny(config).with_in_channels(1).init(&device());

            let (model, report) = weights::load(model, &golden.path(), KEYS).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn they_have_the_published_numbers_of_parameters() {
        assert_eq!(trainable(&AlexNetConfig::alexnet().init(&device())), 61_100_840);
        assert_eq!(trainable(&AlexNetConfig::alexnet_2012().init(&device())), 60_965_224);
    }

    #[test]
    fn the_smallest_image_goes_through_and_a_smaller_one_is_refused() {
        let model = tiny(AlexNetConfig::alexnet_2012()).init(&device());

        assert!(model.check_input([3, SMALLEST, SMALLEST]).is_ok());
        assert_eq!(model.forward(noise([1, 3, SMALLEST, SMALLEST], 1, &device())).dims(), [1, 5]);
        let error = model.check_input([3, 224, SMALLEST - 1]).unwrap_err().to_string();
        assert!(error.contains("at least 3x63x63, not 3x224x62"), "{error}");
    }

    #[test]
    fn as_a_convolution_it_gives_the_same_scores_and_a_map_of_a_larger_image() {
        let model = tiny(AlexNetConfig::alexnet_2012()).init(&device());
        let sliding = Convolutional::new(model.clone(), [3, 224, 224]).unwrap();
        let image = noise([2, 3, 224, 224], 2, &device());

        let scores = sliding.forward(image.clone());

        assert_eq!(scores.dims(), [2, 5, 1, 1]);
        assert_close(scores.flatten(1, 3), model.forward(image));
        assert_eq!(sliding.forward(noise([1, 3, 288, 256], 3, &device())).dims(), [1, 5, 3, 2]);
    }

    #[test]
    fn impossible_groups_are_refused() {
        let config = AlexNetConfig { groups: 5, ..AlexNetConfig::alexnet() };
        let error = config.check().unwrap_err().to_string();

        assert!(error.contains("5 groups don't divide"), "{error}");
    }

    #[test]
    fn features_are_halved_from_pool_to_pool() {
        let model = tiny(AlexNetConfig::alexnet()).init(&device());

        let features = model.features(noise([1, 3, 224, 224], 1, &device()));

        let shapes: Vec<_> =
            features.iter().map(|map| (map.stride, map.channels, map.map.dims()[3])).collect();
        assert_eq!(shapes, [(4, 4, 55), (8, 4, 27), (16, 2, 13), (32, 2, 6)]);
    }
}
