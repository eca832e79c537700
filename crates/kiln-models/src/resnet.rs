//! ResNet: image classification with residual units.
//!
//! He, Zhang, Ren, Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016.
//! <https://arxiv.org/abs/1512.03385>
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018 (SE-ResNet).
//! <https://arxiv.org/abs/1709.01507>
//!
//! Yu, Koltun. *Multi-Scale Context Aggregation by Dilated Convolutions.* ICLR 2016 (dilation in place of strides, an
//! option). <https://arxiv.org/abs/1511.07122>
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
    /// Pixels of the image per pixel of the last map: 32, or 16 or 8, where the stages that would halve it further look
    /// as far by dilation.
    #[config(default = 32)]
    pub output_stride: usize,
}

/// A residual network (table 1).
///
/// Built by [`ResNetConfig`].
#[derive(Module, Debug)]
pub struct ResNet {
    output_stride: usize,
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
            output_stride: self.output_stride,
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
        let stage = |stage: usize| FeatureInfo {
            stride: stride(stage, self.output_stride),
            channels: self.branch.channels(self.width << stage),
        };
        let stem = FeatureInfo { stride: 2, channels: self.width };
        std::iter::once(stem).chain((0..4).map(stage)).collect()
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, `drop_path` isn't in `0..1`, or there is no such
    /// `output_stride`.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("width", &[self.width]),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::depths("depths", &self.depths, 1)?;
        bounds::dropped("drop_path", self.drop_path)?;
        if ![8, 16, 32].contains(&self.output_stride) {
            let reason = format!("output_stride must be 8, 16 or 32, found {}", self.output_stride);
            return Err(Error::Options { reason });
        }
        let stages = self.depths.iter().enumerate();
        bounds::affordable(stages.map(|(i, &depth)| [depth, self.width << i, self.width << i]))
    }

    fn unit(&self, place: Place) -> ResidualConfig {
        let dilation = |stage: usize| (4 << stage) / stride(stage, self.output_stride);
        let behind = dilation(place.stage);
        let before = if place.stride == 1 { behind } else { dilation(place.stage - 1) };
        let width = self.width << place.stage;
        let branch = self.branch.convolutions(place, width, [before, behind]);
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

    /// `dilations` are those up to the convolution with the stride, and behind it. Where they differ they stand for it.
    fn convolutions(
        self,
        place: Place,
        width: usize,
        dilations: [usize; 2],
    ) -> Vec<ConvBlockConfig> {
        let stride = place.stride;
        let specs = match self {
            Self::Basic => vec![(3, width, stride), (3, width, 1)],
            Self::Bottleneck => vec![(1, width, 1), (3, width, stride), (1, 4 * width, 1)],
            Self::BottleneckV1 => vec![(1, width, stride), (3, width, 1), (1, 4 * width, 1)],
        };
        let mut channels = place.channels;
        let [mut dilation, behind] = dilations;
        let factor = behind / dilation;
        let last = specs.len() - 1;
        let convs = specs.into_iter().enumerate().map(|(index, (kernel, to, stride))| {
            let from = std::mem::replace(&mut channels, to);
            let activation = if index == last { Activation::Identity } else { Activation::Relu };
            let own = if stride == 1 { dilation } else { std::mem::replace(&mut dilation, behind) };
            ConvBlockConfig::new([from, to], kernel)
                .with_stride(if stride == 1 { 1 } else { stride / factor })
                .with_dilation(if kernel == 1 { 1 } else { own })
                .with_activation(activation)
        });
        convs.collect()
    }
}

/// Pixels of the image per pixel of the map that a stage gives.
fn stride(stage: usize, most: usize) -> usize {
    (4 << stage).min(most)
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

    /// The maps of the stem and of the four stages, of strides 2, 4, 8, 16 and 32, or of no more than `output_stride`.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let stem = self.stem.forward(images);
        let mut x = self.pool.forward(stem.clone());
        let mut features = vec![Feature::new(2, stem)];
        for (stage, units) in self.stages.iter().enumerate() {
            x = units.iter().fold(x, |x, unit| unit.forward(x));
            features.push(Feature::new(stride(stage, self.output_stride), x.clone()));
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
    use std::path::Path;

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
    fn dilated_it_gives_at_every_other_pixel_what_it_gives_with_strides() {
        for branch in [Branch::Basic, Branch::Bottleneck, Branch::BottleneckV1] {
            let config = ResNetConfig::new(branch, [1, 1, 2, 2]).with_width(2);
            let strided = config.init(&device());
            let weights = weights::to_bytes(&strided);
            let image = noise([1, 3, 64, 96], 1, &device());
            let last = |model: &ResNet| model.features(image.clone()).pop().unwrap();
            for (output_stride, factor) in [(16, 2), (8, 4)] {
                let dilated = config.clone().with_output_stride(output_stride).init(&device());
                let dilated =
                    weights::from_bytes(dilated, weights.clone(), Path::new("memory")).unwrap();

                let (fine, coarse) = (last(&dilated), last(&strided));

                assert_eq!((fine.stride, coarse.stride), (output_stride, 32));
                assert_eq!(fine.map.dims()[2..], [64 / output_stride, 96 / output_stride]);
                let picked = MaxPoolConfig::new(1, factor).init().forward(fine.map);
                assert_close(picked, coarse.map);
            }
        }
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
