//! Darknet-53: Darknet with shortcuts, the backbone of YOLOv3.
//!
//! Redmon, Farhadi. *YOLOv3: An Incremental Improvement.* 2018, §2.4 and table 1.
//! <https://arxiv.org/abs/1804.02767>
//!
//! Departures from the paper:
//! - the leaky rectifiers have PyTorch's slope .01, because the published weights (timm's
//!   `darknet53`) were trained so; `activation = "LeakyRelu"` has the authors' .1;
//! - the head is a dense layer after the global average, which equals a 1×1 convolution before it.

use burn::prelude::*;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, Residual, ResidualConfig,
    global_avg_pool,
};

use crate::classifier::whole;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds, error};

/// Names of the parameters in timm's `darknet53`.
pub const KEYS: &Keys = &[
    ("stem.conv1.conv", "stem.conv"),
    ("stem.conv1.bn", "stem.norm"),
    ("stages.{s}.conv_down.conv", "stages.{s}.down.conv"),
    ("stages.{s}.conv_down.bn", "stages.{s}.down.norm"),
    ("stages.{s}.blocks.{b}.conv{c+1}.conv", "stages.{s}.blocks.{b}.branch.{c}.conv"),
    ("stages.{s}.blocks.{b}.conv{c+1}.bn", "stages.{s}.blocks.{b}.branch.{c}.norm"),
    ("head.fc", "head.linear"),
];

/// Configuration of a [`Darknet53`].
#[derive(Config, Debug)]
pub struct Darknet53Config {
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the first convolution.
    #[config(default = 32)]
    pub stem: usize,
    /// Channels of the five stages; each halves the map.
    #[config(default = "[64, 128, 256, 512, 1024]")]
    pub channels: [usize; 5],
    /// Residual blocks of the five stages.
    #[config(default = "[1, 2, 8, 8, 4]")]
    pub depths: [usize; 5],
    /// Activation of every convolution.
    #[config(default = "Activation::SlightlyLeakyRelu")]
    pub activation: Activation,
}

/// Darknet-53 (table 1): 41,609,928 parameters.
///
/// Built by [`Darknet53Config`].
#[derive(Module, Debug)]
pub struct Darknet53 {
    stem: ConvBlock,
    stages: Vec<Stage>,
    head: Option<Dense>,
}

/// A convolution that halves the map, then residual units.
#[derive(Module, Debug)]
struct Stage {
    down: ConvBlock,
    /// 1×1 to half the channels, 3×3 back; the sum with the shortcut has no activation.
    blocks: Vec<Residual>,
}

impl Darknet53Config {
    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> Darknet53 {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let conv = |channels, kernel, stride| {
            ConvBlockConfig::new(channels, kernel)
                .with_stride(stride)
                .with_activation(self.activation)
        };
        let mut from = self.stem;
        let stages = self.channels.into_iter().zip(self.depths).map(|(to, depth)| {
            let down = conv([from, to], 3, 2).init(device);
            from = to;
            let branch = vec![conv([to, to / 2], 1, 1), conv([to / 2, to], 3, 1)];
            let unit = ResidualConfig::new(branch).with_activation(Activation::Identity);
            Stage { down, blocks: (0..depth).map(|_| unit.init(device)).collect() }
        });

        Darknet53 {
            stem: conv([self.in_channels, self.stem], 3, 1).init(device),
            stages: stages.collect(),
            head: Some(DenseConfig::new([self.channels[4], self.num_classes]).init(device)),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        FeatureInfo::halved(1, &[&[self.stem], &self.channels[..]].concat())
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is absurd, or a width is zero or can't be halved.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("stem", &[self.stem]),
            ("channels", &self.channels),
        ])?;
        bounds::depths("depths", &self.depths, 0)?;
        if self.channels.iter().any(|width| width % 2 == 1) {
            let reason = format!("the channels {:?} must be even", self.channels);
            return Err(Error::Options { reason });
        }
        let blocks = self.depths.iter().zip(self.channels).map(|(&d, width)| [d, width, width]);
        let downs = self.channels.windows(2).map(|pair| [1, pair[0], pair[1]]);
        bounds::affordable(blocks.chain(downs))
    }
}

impl Classifier for Darknet53 {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stages.iter().fold(self.stem.forward(images), |x, stage| stage.forward(x));

        whole(&self.head).forward(global_avg_pool(x))
    }

    /// The maps of stem and stages, of strides 1, 2, 4, 8, 16 and 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let mut features = vec![Feature::new(1, self.stem.forward(images))];
        for (i, stage) in self.stages.iter().enumerate() {
            let map = stage.forward(features[i].map.clone());
            features.push(Feature::new(2 << i, map));
        }
        features
    }

    fn into_backbone(self) -> Option<Self> {
        Some(Self { head: None, ..self })
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        self.head.as_ref().map(|head| ConvolutionalHead::global_average(seen, head))
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.stem.in_channels();
        error::at_least([in_channels, 1, 1], image)
    }
}

impl Stage {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.blocks.iter().fold(self.down.forward(x), |x, block| block.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{trainable, weights};
    use kiln_testkit::{Golden, device, noise, zeroed};

    fn tiny() -> Darknet53Config {
        Darknet53Config::new()
            .with_stem(3)
            .with_channels([4, 4, 4, 6, 6])
            .with_depths([1, 2, 1, 1, 1])
            .with_num_classes(5)
    }

    #[test]
    fn matches_timm() {
        let golden = Golden::open("darknet53");
        let model = tiny().init(&device());

        let (model, report) = weights::load(model, &golden.path(), KEYS).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["input", "output"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn has_fifty_two_convolutions_a_dense_layer_and_the_published_parameters() {
        let model = Darknet53Config::new().init(&device());

        let parameters = crate::parameters(&model);
        let convolutions = parameters.iter().filter(|p| p.path.ends_with("conv.weight")).count();
        assert_eq!(convolutions + 1, 53);
        assert_eq!(trainable(&model), 41_609_928);
    }

    #[test]
    fn a_block_without_weights_is_the_identity() {
        let model = zeroed(tiny().init(&device()));
        let x = noise([2, 4, 5, 3], 1, &device());

        let y = model.stages[0].blocks[0].forward(x.clone());

        y.to_data().assert_eq(&x.to_data(), true); // bit for bit
    }

    #[test]
    fn features_are_halved_from_stage_to_stage() {
        let model = tiny().init(&device());

        let features = model.features(noise([1, 3, 32, 64], 1, &device()));

        let sizes: Vec<_> = features.iter().map(|f| (f.stride, f.channels)).collect();
        assert_eq!(sizes, [(1, 3), (2, 4), (4, 4), (8, 4), (16, 6), (32, 6)]);
        assert!(features.iter().all(|f| f.map.dims()[2..] == [32 / f.stride, 64 / f.stride]));
    }
}
