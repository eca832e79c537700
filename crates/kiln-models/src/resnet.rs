//! ResNet: image classification with residual units.
//!
//! He, Zhang, Ren, Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016.
//! <https://arxiv.org/abs/1512.03385>
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018 (SE-ResNet).
//! <https://arxiv.org/abs/1709.01507>
//!
//! Departures from the papers:
//! - a bottleneck strides in its 3×3 convolution, not in its first 1×1 ("v1.5"), because the
//!   published torchvision weights do; the `-v1` variants stride as in the paper;
//! - the bottleneck of a gate is a multiple of eight channels wide, as timm has it.

use burn::prelude::*;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, MaxPool, MaxPoolConfig, Place,
    Residual, ResidualConfig, Rounding, SqueezeExciteConfig, global_avg_pool, residual_stages,
};

use crate::classifier::whole;
use crate::error::at_least;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in torchvision's and timm's ResNets.
pub const KEYS: &Keys = &[
    ("conv1", "stem.conv"),
    ("bn1", "stem.norm"),
    ("layer{s+1}.{b}.conv{c+1}", "stages.{s}.{b}.branch.{c}.conv"),
    ("layer{s+1}.{b}.bn{c+1}", "stages.{s}.{b}.branch.{c}.norm"),
    ("layer{s+1}.{b}.downsample.0", "stages.{s}.{b}.shortcut.conv"),
    ("layer{s+1}.{b}.downsample.1", "stages.{s}.{b}.shortcut.norm"),
    ("layer{s+1}.{b}.se.fc1", "stages.{s}.{b}.se.reduce.conv"),
    ("layer{s+1}.{b}.se.fc2", "stages.{s}.{b}.se.expand.conv"),
    ("fc", "head.linear"),
];

/// Which residual branch the units of a [`ResNet`] have (fig. 5).
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Branch {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1, with the output four times as wide as the middle.
    Bottleneck,
    /// The same with the stride in the first 1×1 instead of the 3×3.
    BottleneckV1,
}

/// Configuration of a [`ResNet`].
#[derive(Config, Debug)]
pub struct ResNetConfig {
    /// Residual branch of every unit.
    pub branch: Branch,
    /// Units in each of the four stages (table 1).
    pub depths: [usize; 4],
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the stem; each stage doubles them.
    #[config(default = 64)]
    pub width: usize,
    /// Whether every branch ends with a squeeze-and-excitation gate.
    #[config(default = false)]
    pub se: bool,
    /// Width ratio of a gate's bottleneck, the paper's `r` (§3.2).
    #[config(default = 16)]
    pub se_reduction: usize,
    /// Whether every unit starts as its shortcut.
    #[config(default = false)]
    pub zero_init: bool,
    /// Chance that the last unit's branch is dropped in training; it grows evenly from the first.
    #[config(default = 0.0)]
    pub drop_path: f64,
}

/// A residual network (table 1).
///
/// Built by [`ResNetConfig`].
#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvBlock,
    pool: MaxPool,
    stages: Vec<Vec<Residual>>,
    head: Option<Dense>,
}

impl ResNetConfig {
    /// ResNet-18: 11,689,512 parameters.
    pub fn resnet18() -> Self {
        Self::new(Branch::Basic, [2, 2, 2, 2])
    }

    /// ResNet-34: 21,797,672 parameters.
    pub fn resnet34() -> Self {
        Self::new(Branch::Basic, [3, 4, 6, 3])
    }

    /// ResNet-50: 25,557,032 parameters; 28,088,024 with `se`.
    pub fn resnet50() -> Self {
        Self::new(Branch::Bottleneck, [3, 4, 6, 3])
    }

    /// ResNet-101: 44,549,160 parameters; 49,326,872 with `se`.
    pub fn resnet101() -> Self {
        Self::new(Branch::Bottleneck, [3, 4, 23, 3])
    }

    /// ResNet-152: 60,192,808 parameters; 66,821,848 with `se`.
    pub fn resnet152() -> Self {
        Self::new(Branch::Bottleneck, [3, 8, 36, 3])
    }

    /// The same with the stride of a bottleneck where the paper has it, and the same parameters.
    #[must_use]
    pub fn v1(self) -> Self {
        Self { branch: Branch::BottleneckV1, ..self }
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> ResNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        ResNet {
            stem: ConvBlockConfig::new([self.in_channels, self.width], 7)
                .with_stride(2)
                .init(device),
            pool: MaxPoolConfig::new(3, 2).with_padding(1).init(),
            stages: residual_stages(&self.depths, self.width, device, |place| self.unit(place)),
            head: Some(
                DenseConfig::new([self.branch.channels(8 * self.width), self.num_classes])
                    .init(device),
            ),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|stage| self.branch.channels(self.width << stage));
        FeatureInfo::halved(2, &[self.width, a, b, c, d])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or `drop_path` isn't in `0..1`.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("width", &[self.width]),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::depths("depths", &self.depths, 1)?;
        bounds::dropped("drop_path", self.drop_path)?;
        let stages = self.depths.iter().enumerate();
        bounds::affordable(stages.map(|(i, &depth)| [depth, self.width << i, self.width << i]))
    }

    fn unit(&self, place: Place) -> ResidualConfig {
        let branch = self.branch.convolutions(place, self.width << place.stage);
        let config = ResidualConfig::new(branch)
            .with_zero_init(self.zero_init)
            .with_drop_path(self.drop_path * place.progress);
        let gate =
            SqueezeExciteConfig::new(config.channels_out()).with_reduction(self.se_reduction);
        config.with_se(self.se.then(|| gate.with_rounding(Rounding::ToEights)))
    }
}

impl Branch {
    fn channels(self, width: usize) -> usize {
        match self {
            Self::Basic => width,
            Self::Bottleneck | Self::BottleneckV1 => 4 * width,
        }
    }

    fn convolutions(self, place: Place, width: usize) -> Vec<ConvBlockConfig> {
        let stride = place.stride;
        let specs = match self {
            Self::Basic => vec![(3, width, stride), (3, width, 1)],
            Self::Bottleneck => vec![(1, width, 1), (3, width, stride), (1, 4 * width, 1)],
            Self::BottleneckV1 => vec![(1, width, stride), (3, width, 1), (1, 4 * width, 1)],
        };
        let mut channels = place.channels;
        let last = specs.len() - 1;
        let convs = specs.into_iter().enumerate().map(|(index, (kernel, to, stride))| {
            let from = std::mem::replace(&mut channels, to);
            let activation = if index == last { Activation::Identity } else { Activation::Relu };
            ConvBlockConfig::new([from, to], kernel).with_stride(stride).with_activation(activation)
        });
        convs.collect()
    }
}

impl Classifier for ResNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(self.stem.forward(images)); // stride 4
        let x = self.stages.iter().flatten().fold(x, |x, unit| unit.forward(x));

        whole(&self.head).forward(global_avg_pool(x))
    }

    /// The maps of the stem and of the four stages, of strides 2, 4, 8, 16 and 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let stem = self.stem.forward(images);
        let mut x = self.pool.forward(stem.clone());
        let mut features = vec![Feature::new(2, stem)];
        for (stage, units) in self.stages.iter().enumerate() {
            x = units.iter().fold(x, |x, unit| unit.forward(x));
            features.push(Feature::new(4 << stage, x.clone()));
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
        at_least([in_channels, 1, 1], image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{summarize, trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn variants() -> [(ResNetConfig, usize, usize); 5] {
        [
            (ResNetConfig::resnet18(), 18, 11_689_512),
            (ResNetConfig::resnet34(), 34, 21_797_672),
            (ResNetConfig::resnet50(), 50, 25_557_032),
            (ResNetConfig::resnet101(), 101, 44_549_160),
            (ResNetConfig::resnet152(), 152, 60_192_808),
        ]
    }

    fn tiny(branch: Branch) -> ResNetConfig {
        ResNetConfig::new(branch, [1; 4]).with_width(2).with_num_classes(3)
    }

    fn count(config: &ResNetConfig) -> usize {
        trainable(&config.init(&device()))
    }

    #[test]
    fn matches_torchvision_and_timm() {
        for (name, config) in
            [("resnet", tiny(Branch::Bottleneck)), ("seresnet", tiny(Branch::Basic).with_se(true))]
        {
            let golden = Golden::open(name);

            let (model, report) =
                weights::load(config.init(&device()), &golden.path(), KEYS).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn has_the_published_number_of_parameters() {
        for (config, _, expected) in variants() {
            assert_eq!(count(&config), expected, "{config}");
        }
        for (config, expected) in [
            (ResNetConfig::resnet50(), 28_088_024),
            (ResNetConfig::resnet101(), 49_326_872),
            (ResNetConfig::resnet152(), 66_821_848),
        ] {
            assert_eq!(count(&config.with_se(true)), expected);
        }
    }

    #[test]
    fn is_as_deep_as_its_name_says_with_gates_or_without() {
        for (config, depth, _) in variants() {
            for se in [false, true] {
                let model = config.clone().with_width(2).with_se(se).init(&device());
                let summary = summarize(&model, [3, 32, 32], &device()).unwrap();
                assert_eq!(summary.depth, depth);
            }
        }
    }

    #[test]
    fn version_1_strides_earlier_and_has_the_same_parameters() {
        let macs = |branch| {
            let model = tiny(branch).init(&device());
            summarize(&model, [3, 64, 64], &device()).unwrap().macs
        };

        assert!(macs(Branch::BottleneckV1) < macs(Branch::Bottleneck));
        assert_eq!(count(&tiny(Branch::BottleneckV1)), count(&tiny(Branch::Bottleneck)));
    }

    #[test]
    fn features_are_halved_from_each_to_the_next_and_one_pixel_is_enough() {
        let model = tiny(Branch::Bottleneck).init(&device());

        let features = model.features(noise([1, 3, 64, 96], 1, &device()));

        let found: Vec<_> = features.iter().map(|f| (f.stride, f.map.dims())).collect();
        let expected = [(2, 2), (4, 8), (8, 16), (16, 32), (32, 64)]
            .map(|(stride, channels)| (stride, [1, channels, 64 / stride, 96 / stride]));
        assert_eq!(found, expected);
        model.check_input([3, 1, 1]).unwrap();
        assert_eq!(model.forward(noise([1, 3, 1, 1], 1, &device())).dims(), [1, 3]);
    }

    #[test]
    fn with_zero_init_the_units_that_keep_the_shape_change_nothing() {
        device().seed(1);
        let deep =
            ResNetConfig::new(Branch::Basic, [3, 1, 1, 1]).with_width(2).with_zero_init(true);
        let model = deep.init(&device());
        let mut shallow = model.clone();
        shallow.stages[0].truncate(1);
        let images = noise([2, 3, 32, 32], 1, &device());

        assert_close(model.forward(images.clone()), shallow.forward(images));
    }
}
