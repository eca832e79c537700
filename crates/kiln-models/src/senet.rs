//! SENet: the residual networks with gates as their authors published them.
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018.
//! <https://arxiv.org/abs/1709.01507>
//!
//! These are timm's `legacy_` networks, which fit the authors' Caffe weights: the max pool rounds
//! up in place of padding, a bottleneck strides in its first 1×1 (in SENet-154 in its 3×3), and there is
//! dropout before the last layer. `seresnet50` and its sisters in [`resnet`](crate::resnet) are what timm trained
//! later.
//!
//! Departures from the paper:
//! - SE-ResNet-18 and 34, which it doesn't have, apply a ReLU before the gate, as timm does;
//! - the gate's dense layers are 1×1 convolutions, which is the same.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, MaxPool, MaxPoolConfig, Place,
    Residual, ResidualConfig, Shortcut, SqueezeExciteConfig, global_avg_pool, residual_stages,
};

use crate::classifier::whole;
use crate::error::at_least;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in timm's legacy SENets.
pub const KEYS: &Keys = &[
    ("layer0.conv{n+1}", "stem.{n}.conv"),
    ("layer0.bn{n+1}", "stem.{n}.norm"),
    ("layer{s+1}.{b}.conv{c+1}", "stages.{s}.{b}.branch.{c}.conv"),
    ("layer{s+1}.{b}.bn{c+1}", "stages.{s}.{b}.branch.{c}.norm"),
    ("layer{s+1}.{b}.downsample.0", "stages.{s}.{b}.shortcut.conv"),
    ("layer{s+1}.{b}.downsample.1", "stages.{s}.{b}.shortcut.norm"),
    ("layer{s+1}.{b}.se_module.fc1", "stages.{s}.{b}.se.reduce.conv"),
    ("layer{s+1}.{b}.se_module.fc2", "stages.{s}.{b}.se.expand.conv"),
    ("last_linear", "head.linear"),
];

/// Side of the smallest image, in pixels: the max pool needs a window.
const SMALLEST: usize = 5;

/// Which residual branch the units of a [`SeNet`] have.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1, with the output four times as wide as the middle.
    Bottleneck,
    /// A bottleneck with a grouped 3×3 convolution, a stem of three 3×3 convolutions and
    /// projections of 3×3 (SENet-154, appendix).
    Grouped,
}

/// Configuration of a [`SeNet`].
#[derive(Config, Debug)]
pub struct SeNetConfig {
    /// Residual branch of every unit.
    pub unit: Unit,
    /// Units in each of the four stages.
    pub depths: [usize; 4],
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the first convolution; each stage doubles them.
    #[config(default = 64)]
    pub width: usize,
    /// Groups of a grouped convolution.
    #[config(default = 64)]
    pub groups: usize,
    /// Width ratio of a gate's bottleneck, the paper's `r`.
    #[config(default = 16)]
    pub se_reduction: usize,
    /// Chance that a feature is dropped before the last layer, in training.
    #[config(default = 0.2)]
    pub dropout: f64,
}

/// A residual network with a gate in every unit.
///
/// Built by [`SeNetConfig`].
#[derive(Module, Debug)]
pub struct SeNet {
    stem: Vec<ConvBlock>,
    pool: MaxPool,
    stages: Vec<Vec<Residual>>,
    dropout: Dropout,
    head: Option<Dense>,
}

impl SeNetConfig {
    /// timm's SE-ResNet-18: 11,778,592 parameters.
    pub fn seresnet18() -> Self {
        Self::new(Unit::Basic, [2, 2, 2, 2])
    }

    /// timm's SE-ResNet-34: 21,958,868 parameters.
    pub fn seresnet34() -> Self {
        Self::new(Unit::Basic, [3, 4, 6, 3])
    }

    /// SE-ResNet-50: 28,088,024 parameters.
    pub fn seresnet50() -> Self {
        Self::new(Unit::Bottleneck, [3, 4, 6, 3])
    }

    /// SE-ResNet-101: 49,326,872 parameters.
    pub fn seresnet101() -> Self {
        Self::new(Unit::Bottleneck, [3, 4, 23, 3])
    }

    /// SE-ResNet-152: 66,821,848 parameters.
    pub fn seresnet152() -> Self {
        Self::new(Unit::Bottleneck, [3, 8, 36, 3])
    }

    /// SENet-154: 115,088,984 parameters.
    pub fn senet154() -> Self {
        Self::new(Unit::Grouped, [3, 8, 36, 3])
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> SeNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let Self { in_channels, width, .. } = *self;
        let conv = |from, to, kernel| ConvBlockConfig::new([from, to], kernel);
        let stem = match self.unit {
            Unit::Basic | Unit::Bottleneck => vec![conv(in_channels, width, 7).with_stride(2)],
            Unit::Grouped => vec![
                conv(in_channels, width, 3).with_stride(2),
                conv(width, width, 3),
                conv(width, 2 * width, 3),
            ],
        };
        let channels = stem[stem.len() - 1].channels[1];
        let features = self.unit.channels(8 * width);

        SeNet {
            stem: stem.iter().map(|conv| conv.init(device)).collect(),
            pool: MaxPoolConfig::new(3, 2).with_ceil(true).init(),
            stages: residual_stages(&self.depths, channels, device, |place| self.residual(place)),
            dropout: DropoutConfig::new(self.dropout).init(),
            head: Some(DenseConfig::new([features, self.num_classes]).init(device)),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|stage| self.unit.channels(self.width << stage));
        let stem = if self.unit == Unit::Grouped { 2 * self.width } else { self.width };
        FeatureInfo::halved(2, &[stem, a, b, c, d])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, `dropout` isn't in `0..1`, or groups don't divide
    /// their channels.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("width", &[self.width]),
            ("groups", &[self.groups]),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::depths("depths", &self.depths, 1)?;
        bounds::dropped("dropout", self.dropout)?;
        let (groups, channels) = (self.groups, 2 * self.width);
        if self.unit == Unit::Grouped && !channels.is_multiple_of(groups) {
            let reason = format!("{groups} groups don't divide {channels} channels");
            return Err(Error::Options { reason });
        }
        let stages = self.depths.iter().enumerate();
        bounds::affordable(stages.map(|(i, &depth)| [depth, self.width << i, self.width << i]))
    }

    fn residual(&self, place: Place) -> ResidualConfig {
        let Place { channels, stride, stage, .. } = place;
        let width = self.width << stage;
        let conv = |from, to, kernel| ConvBlockConfig::new([from, to], kernel);
        let linear = |conv: ConvBlockConfig| conv.with_activation(Activation::Identity);
        let (branch, shortcut) = match self.unit {
            Unit::Basic => (
                // The second ReLU is no mistake: see the header.
                vec![conv(channels, width, 3).with_stride(stride), conv(width, width, 3)],
                Shortcut::Projection,
            ),
            Unit::Bottleneck => (
                vec![
                    conv(channels, width, 1).with_stride(stride),
                    conv(width, width, 3),
                    linear(conv(width, 4 * width, 1)),
                ],
                Shortcut::Projection,
            ),
            Unit::Grouped => (
                vec![
                    conv(channels, 2 * width, 1),
                    conv(2 * width, 4 * width, 3).with_stride(stride).with_groups(self.groups),
                    linear(conv(4 * width, 4 * width, 1)),
                ],
                Shortcut::WideProjection,
            ),
        };
        let gate = SqueezeExciteConfig::new(self.unit.channels(width));
        ResidualConfig::new(branch)
            .with_shortcut(shortcut)
            .with_se(Some(gate.with_reduction(self.se_reduction)))
    }
}

impl Unit {
    fn channels(self, width: usize) -> usize {
        match self {
            Self::Basic => width,
            Self::Bottleneck | Self::Grouped => 4 * width,
        }
    }
}

impl Classifier for SeNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stem.iter().fold(images, |x, conv| conv.forward(x));
        let x = self.pool.forward(x); // stride 4
        let x = self.stages.iter().flatten().fold(x, |x, unit| unit.forward(x));

        whole(&self.head).forward(self.dropout.forward(global_avg_pool(x)))
    }

    /// The maps of the stem and of the four stages, of strides 2, 4, 8, 16 and 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let stem = self.stem.iter().fold(images, |x, conv| conv.forward(x));
        let mut x = self.pool.forward(stem.clone());
        let mut features = vec![Feature::new(2, stem)];
        for (stage, units) in self.stages.iter().enumerate() {
            x = units.iter().fold(x, |x, unit| unit.forward(x));
            features.push(Feature::new(4 << stage, x.clone()));
        }
        features
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["dropout", "head"]
    }

    fn into_backbone(self) -> Option<Self> {
        Some(Self { head: None, ..self })
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        self.head.as_ref().map(|head| ConvolutionalHead::global_average(seen, head))
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.stem[0].in_channels();
        at_least([in_channels, SMALLEST, SMALLEST], image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{summarize, trainable, weights};
    use kiln_testkit::{Golden, device, noise};

    fn tiny(unit: Unit) -> SeNetConfig {
        SeNetConfig::new(unit, [1; 4])
            .with_width(if unit == Unit::Grouped { 1 } else { 2 })
            .with_groups(2)
            .with_se_reduction(2)
            .with_num_classes(3)
    }

    #[test]
    fn matches_timm() {
        for (name, unit) in [("legacy_seresnet", Unit::Basic), ("legacy_senet", Unit::Grouped)] {
            let golden = Golden::open(name);
            let config = tiny(unit);

            let (model, report) =
                weights::load(config.init(&device()), &golden.path(), KEYS).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn has_the_published_number_of_parameters() {
        for (config, expected) in [
            (SeNetConfig::seresnet18(), 11_778_592),
            (SeNetConfig::seresnet34(), 21_958_868),
            (SeNetConfig::seresnet50(), 28_088_024),
            (SeNetConfig::seresnet101(), 49_326_872),
            (SeNetConfig::seresnet152(), 66_821_848),
            (SeNetConfig::senet154(), 115_088_984),
        ] {
            let model = config.init(&device());

            assert_eq!(trainable(&model), expected, "{config}");
        }
    }

    #[test]
    fn is_as_deep_as_its_name_says() {
        for (config, depth) in [
            (SeNetConfig::seresnet18(), 18),
            (SeNetConfig::seresnet50(), 50),
            (SeNetConfig::senet154(), 154),
        ] {
            let model = config.with_width(2).with_groups(2).init(&device());
            assert_eq!(summarize(&model, [3, 32, 32], &device()).unwrap().depth, depth);
        }
    }

    #[test]
    fn the_smallest_image_goes_through_and_a_smaller_one_is_refused() {
        let model = tiny(Unit::Bottleneck).init(&device());

        assert!(model.check_input([3, 4, 5]).is_err());
        model.check_input([3, 5, 5]).unwrap();
        assert_eq!(model.forward(noise([1, 3, 5, 5], 1, &device())).dims(), [1, 3]);
    }

    #[test]
    fn features_are_halved_from_each_to_the_next() {
        let model = tiny(Unit::Grouped).init(&device());

        let features = model.features(noise([1, 3, 64, 32], 1, &device()));

        let found: Vec<_> = features.iter().map(|f| (f.stride, f.map.dims())).collect();
        let expected = [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32)]
            .map(|(stride, channels)| (stride, [1, channels, 64 / stride, 32 / stride]));
        assert_eq!(found, expected);
    }
}
