//! ResNet for small images: the paper's networks for CIFAR-10, and the plain ones beside them.
//!
//! He, Zhang, Ren, Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016, §4.2.
//! <https://arxiv.org/abs/1512.03385>
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018 (the gate).
//!
//! No departures: a shortcut has no parameters (option A). The paper leaves open where the new
//! channels of zeros lie; here they lie on both sides of the old ones, as in the published weights
//! (akamaster/pytorch_resnet_cifar10), which have no gates. A gate's width rounds down.

use burn::prelude::*;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, Place, Residual, ResidualConfig,
    Shortcut, SqueezeExciteConfig, global_avg_pool, residual_stages,
};

use crate::error::at_least;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in akamaster's networks.
pub const KEYS: &Keys = &[
    ("conv1", "stem.conv"),
    ("bn1", "stem.norm"),
    ("layer{s+1}.{b}.conv{c+1}", "stages.{s}.{b}.branch.{c}.conv"),
    ("layer{s+1}.{b}.bn{c+1}", "stages.{s}.{b}.branch.{c}.norm"),
    ("layer{s+1}.{b}.se.fc1", "stages.{s}.{b}.se.reduce.conv"),
    ("layer{s+1}.{b}.se.fc2", "stages.{s}.{b}.se.expand.conv"),
    ("linear", "head.linear"),
];

/// Configuration of a [`CifarResNet`].
#[derive(Config, Debug)]
pub struct CifarResNetConfig {
    /// Weighted layers, the paper's `6n + 2`.
    pub depth: usize,
    /// Classes to predict.
    #[config(default = 10)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the first stage; the other two double them.
    #[config(default = 16)]
    pub width: usize,
    /// Whether there are shortcuts; without them it is a plain network.
    #[config(default = true)]
    pub shortcuts: bool,
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

/// A residual network of three stages of 3×3 convolutions.
///
/// Built by [`CifarResNetConfig`].
#[derive(Module, Debug)]
pub struct CifarResNet {
    stem: ConvBlock,
    stages: Vec<Vec<Residual>>,
    head: Dense,
}

impl CifarResNetConfig {
    /// ResNet-20, -32, -44, -56 and -110, by their depth: 269,722 · 464,154 · 658,586 · 853,018 ·
    /// 1,727,962 parameters.
    pub fn resnet(depth: usize) -> Self {
        Self::new(depth)
    }

    /// The same without shortcuts, and the same parameters.
    pub fn plain(depth: usize) -> Self {
        Self::new(depth).with_shortcuts(false)
    }

    /// The same with gates: SE-ResNet-20 has 272,095 parameters.
    pub fn seresnet(depth: usize) -> Self {
        Self::new(depth).with_se(true)
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> CifarResNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let units = (self.depth - 2) / 6;
        CifarResNet {
            stem: ConvBlockConfig::new([self.in_channels, self.width], 3).init(device),
            stages: residual_stages(&[units; 3], self.width, device, |place| self.unit(place)),
            head: DenseConfig::new([4 * self.width, self.num_classes]).init(device),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        FeatureInfo::halved(1, &[0, 1, 2].map(|stage| self.width << stage))
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, `depth` isn't 6n + 2, or `drop_path` isn't in
    /// `0..1`.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("width", &[self.width]),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::depths("depth", &[self.depth], 8)?;
        bounds::dropped("drop_path", self.drop_path)?;
        if self.depth % 6 != 2 {
            let reason = format!("depth {} is not 6n + 2: 8, 14, 20, …", self.depth);
            return Err(Error::Options { reason });
        }
        let (units, width) = (self.depth / 6, self.width);
        bounds::affordable((0..3).map(|i| [units, width << i, width << i]))
    }

    fn unit(&self, place: Place) -> ResidualConfig {
        let width = self.width << place.stage;
        let branch = vec![
            ConvBlockConfig::new([place.channels, width], 3).with_stride(place.stride),
            ConvBlockConfig::new([width, width], 3).with_activation(Activation::Identity),
        ];
        let gate = SqueezeExciteConfig::new(width).with_reduction(self.se_reduction);
        ResidualConfig::new(branch)
            .with_shortcut(if self.shortcuts { Shortcut::Padding } else { Shortcut::None })
            .with_se(self.se.then_some(gate))
            .with_zero_init(self.zero_init)
            .with_drop_path(self.drop_path * place.progress)
    }
}

impl Classifier for CifarResNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(images);
        let x = self.stages.iter().flatten().fold(x, |x, unit| unit.forward(x));

        self.head.forward(global_avg_pool(x))
    }

    /// The maps of the three stages, of strides 1, 2 and 4.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let mut x = self.stem.forward(images);
        let maps = self.stages.iter().enumerate().map(|(stage, units)| {
            x = units.iter().fold(x.clone(), |x, unit| unit.forward(x));
            Feature::new(1 << stage, x.clone())
        });
        maps.collect()
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        Some(ConvolutionalHead::global_average(seen, &self.head))
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
    use kiln_testkit::{Golden, device, noise};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("resnet_cifar");
        let tiny = CifarResNetConfig::new(8).with_width(4).with_num_classes(3);

        let (model, report) = weights::load(tiny.init(&device()), &golden.path(), KEYS).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["input", "output"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn has_the_published_depth_and_number_of_parameters() {
        for (config, expected) in [
            (CifarResNetConfig::resnet(20), 269_722),
            (CifarResNetConfig::resnet(32), 464_154),
            (CifarResNetConfig::resnet(44), 658_586),
            (CifarResNetConfig::resnet(56), 853_018),
            (CifarResNetConfig::resnet(110), 1_727_962),
            (CifarResNetConfig::plain(20), 269_722),
            (CifarResNetConfig::seresnet(20), 272_095),
        ] {
            let model = config.init(&device());

            assert_eq!(trainable(&model), expected, "{config}");
            let summary = summarize(&model, [3, 8, 8], &device()).unwrap();
            assert_eq!(summary.depth, config.depth, "{config}");
        }
    }

    #[test]
    fn features_are_halved_from_each_to_the_next() {
        let model = CifarResNetConfig::new(8).with_width(2).init(&device());

        let features = model.features(noise([1, 3, 32, 24], 1, &device()));

        let found: Vec<_> = features.iter().map(|f| (f.stride, f.map.dims())).collect();
        assert_eq!(found, [(1, [1, 2, 32, 24]), (2, [1, 4, 16, 12]), (4, [1, 8, 8, 6])]);
    }

    #[test]
    fn a_depth_that_is_impossible_is_refused() {
        for depth in [0, 2, 18, 21] {
            assert!(CifarResNetConfig::new(depth).check().is_err(), "{depth}");
        }
    }
}
