//! VGG: stages of 3×3 convolutions, and three dense layers.
//!
//! Simonyan, Zisserman. *Very Deep Convolutional Networks for Large-Scale Image Recognition.* ICLR
//! 2015. <https://arxiv.org/abs/1409.1556>
//!
//! Departures from the paper:
//! - batch normalization as an option, after convolutions that keep their bias, as in torchvision;
//! - the last map is averaged, or stretched, to 7×7 pixels for images of another size, as
//!   torchvision does;
//! - weights start as He et al. proposed in 2015, where the paper trained a shallow network first;
//! - squeeze-and-excitation as an option, after the activation of every convolution (Hu, Shen,
//!   Sun. *Squeeze-and-Excitation Networks.* CVPR 2018, §3.3).

use burn::module::Initializer;
use burn::prelude::*;
use kiln_layers::{
    ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Mlp, MlpConfig, Norm, SqueezeExcite,
    SqueezeExciteConfig, adaptive_avg_pool,
};

use crate::classifier::whole;
use crate::error::at_least;
use crate::weights::Keys;
use crate::weights::keys::kept;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Side of the map that the dense layers see, in pixels.
const SEEN: usize = 7;
/// Side of the smallest image of which something is left, in pixels.
const SMALLEST: usize = 32;

/// Configuration of a [`Vgg`].
#[derive(Config, Debug)]
pub struct VggConfig {
    /// Convolutions in each of the five stages (table 1).
    pub depths: [usize; 5],
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the first stage; the next three double them.
    #[config(default = 64)]
    pub width: usize,
    /// Units of the two hidden dense layers.
    #[config(default = 4096)]
    pub hidden: usize,
    /// Normalization after each convolution.
    #[config(default = "Norm::None")]
    pub norm: Norm,
    /// Probability that a feature of a hidden layer is dropped in training.
    #[config(default = 0.5)]
    pub dropout: f64,
    /// Whether a squeeze-and-excitation gate follows each convolution.
    #[config(default = false)]
    pub se: bool,
    /// Width ratio of the gates' bottlenecks.
    #[config(default = 16)]
    pub se_reduction: usize,
    /// Whether the pools keep the last row and column of an odd map, as Caffe's do.
    #[config(default = false)]
    pub ceil: bool,
}

/// A VGG network (table 1).
///
/// Built by [`VggConfig`].
#[derive(Module, Debug)]
pub struct Vgg {
    stages: Vec<Vec<ConvBlock>>,
    /// One per convolution, or none at all.
    gates: Vec<Vec<SqueezeExcite>>,
    pool: MaxPool,
    head: Option<Mlp>,
}

impl VggConfig {
    /// Column A: 132,863,336 parameters; 132,868,840 with batch normalization.
    pub fn vgg11() -> Self {
        Self::new([1, 1, 2, 2, 2])
    }

    /// Column B: 133,047,848 parameters; 133,053,736 with batch normalization.
    pub fn vgg13() -> Self {
        Self::new([2, 2, 2, 2, 2])
    }

    /// Column D: 138,357,544 parameters; 138,365,992 with batch normalization.
    pub fn vgg16() -> Self {
        Self::new([2, 2, 3, 3, 3])
    }

    /// Column E: 143,667,240 parameters; 143,678,248 with batch normalization.
    pub fn vgg19() -> Self {
        Self::new([2, 2, 4, 4, 4])
    }

    /// Names of the parameters in torchvision's networks.
    ///
    /// They number every layer, so they depend on the depths. Each call leaves a table of a few
    /// hundred bytes in memory for good.
    pub fn keys(&self) -> &'static Keys {
        let head = [0, 3, 6].into_iter().enumerate();
        let mut rows: Vec<_> = head
            .map(|(n, layer)| (format!("classifier.{layer}"), format!("head.layers.{n}.linear")))
            .collect();
        let mut row = |layer: usize, here| rows.push((format!("features.{layer}"), here));
        let mut layer = 0;
        for (stage, &depth) in self.depths.iter().enumerate() {
            for block in 0..depth {
                row(layer, format!("stages.{stage}.{block}.conv"));
                layer += 1;
                if self.norm == Norm::Batch {
                    row(layer, format!("stages.{stage}.{block}.norm"));
                    layer += 1;
                }
                layer += 1; // the activation
            }
            layer += 1; // the pool
        }
        kept(rows)
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> Vgg {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let widths = [1, 2, 4, 8, 8].map(|factor| factor * self.width);
        let mut channels = self.in_channels;
        let stages = std::iter::zip(self.depths, widths).map(|(depth, width)| {
            let convs = (0..depth).map(|_| {
                let from = std::mem::replace(&mut channels, width);
                let conv = ConvBlockConfig::new([from, width], 3).with_norm(self.norm);
                conv.with_bias(true).init(device)
            });
            convs.collect()
        });
        let stages: Vec<Vec<ConvBlock>> = stages.collect();
        let gates = std::iter::zip(self.depths, widths).map(|(depth, width)| {
            let gate = SqueezeExciteConfig::new(width).with_reduction(self.se_reduction);
            (0..depth).map(|_| gate.init(device)).collect()
        });

        let features = vec![channels * SEEN * SEEN, self.hidden, self.hidden, self.num_classes];
        Vgg {
            stages,
            gates: if self.se { gates.collect() } else { Vec::new() },
            pool: MaxPoolConfig::new(2, 2).with_ceil(self.ceil).init(),
            head: Some(
                MlpConfig::new(features)
                    .with_dropout(self.dropout)
                    .with_initializer(Initializer::KaimingNormal {
                        gain: std::f64::consts::SQRT_2,
                        fan_out_only: false,
                    })
                    .init(device),
            ),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        FeatureInfo::halved(1, &[1, 2, 4, 8, 8, 8].map(|times| times * self.width))
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
            ("width", &[self.width]),
            ("hidden", &[self.hidden]),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::depths("depths", &self.depths, 1)?;
        bounds::dropped("dropout", self.dropout)?;
        let stages = self.depths.iter().enumerate();
        bounds::affordable(stages.map(|(i, &depth)| {
            let width = self.width << i.min(3);
            [depth, width, width]
        }))
    }
}

impl Vgg {
    /// The last map. `tap` sees the map of each stage, and its stride.
    fn maps(&self, images: Tensor<4>, mut tap: impl FnMut(usize, &Tensor<4>)) -> Tensor<4> {
        let mut x = images;
        for (stage, convs) in self.stages.iter().enumerate() {
            for (block, conv) in convs.iter().enumerate() {
                x = conv.forward(x);
                if let Some(gate) = self.gates.get(stage).and_then(|gates| gates.get(block)) {
                    x = gate.forward(x);
                }
            }
            tap(1 << stage, &x);
            x = self.pool.forward(x);
        }
        x
    }
}

impl Classifier for Vgg {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = adaptive_avg_pool(self.maps(images, |_, _| {}), SEEN);

        whole(&self.head).forward(x.flatten(1, 3))
    }

    /// The maps of the stages, of strides 1, 2, 4, 8 and 16, and the last one, of stride 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        Feature::shown(|show| {
            let last = self.maps(images, &mut *show);
            show(32, &last);
        })
    }

    fn into_backbone(self) -> Option<Self> {
        Some(Self { head: None, ..self })
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        let layers = self.head.as_ref()?.to_convolutions(SEEN, seen);
        Some(ConvolutionalHead { pool: None, layers })
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.stages[0][0].in_channels();
        at_least([in_channels, SMALLEST, SMALLEST], image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::keys::{Direction, translate};
    use crate::{Convolutional, summarize, trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn tiny() -> VggConfig {
        VggConfig::vgg11().with_width(2).with_hidden(6).with_num_classes(3)
    }

    #[test]
    fn matches_torchvision_with_and_without_batch_normalization() {
        for (name, norm) in [("vgg", Norm::None), ("vgg_bn", Norm::Batch)] {
            let golden = Golden::open(name);
            let config = tiny().with_width(1).with_norm(norm);

            let (model, report) =
                weights::load(config.init(&device()), &golden.path(), config.keys()).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn they_have_the_published_depths_and_numbers_of_parameters() {
        for (config, depth, plain, normalized) in [
            (VggConfig::vgg11(), 11, 132_863_336, 132_868_840),
            (VggConfig::vgg13(), 13, 133_047_848, 133_053_736),
            (VggConfig::vgg16(), 16, 138_357_544, 138_365_992),
            (VggConfig::vgg19(), 19, 143_667_240, 143_678_248),
        ] {
            assert_eq!(trainable(&config.init(&device())), plain);
            assert_eq!(
                trainable(&config.clone().with_norm(Norm::Batch).init(&device())),
                normalized
            );

            let narrow = config.with_width(1).with_hidden(2).with_se(true).init(&device());
            let summary = summarize(&narrow, [3, 32, 32], &device()).unwrap();
            assert_eq!(summary.depth, depth);
        }
    }

    #[test]
    fn torchvision_numbers_every_layer() {
        for (norm, there) in [(Norm::None, "features.28.bias"), (Norm::Batch, "features.40.bias")] {
            let keys = VggConfig::vgg16().with_norm(norm);

            let name = translate("stages.4.2.conv.bias", keys.keys(), Direction::There);

            assert_eq!(name, there);
        }
    }

    #[test]
    fn half_open_gates_halve_every_map() {
        let plain = tiny().init(&device());
        let gated = tiny().with_se(true).init(&device());
        assert_eq!(gated.gates.iter().flatten().count(), 8);

        // Zero weights make a gate ½.
        let gates = kiln_testkit::zeroed(gated.gates);
        let gated = Vgg { gates, ..plain.clone() };
        let image = noise([1, 3, 32, 32], 1, &device());

        let [x, y] = [plain, gated].map(|model| model.maps(image.clone(), |_, _| {}));
        assert_close(y * 2_f32.powi(8), x); // biases are zero and rectifiers homogeneous
    }

    #[test]
    fn as_a_convolution_it_gives_the_same_scores_and_a_map_of_a_larger_image() {
        let model = tiny().init(&device());
        let sliding = Convolutional::new(model.clone(), [3, 224, 224]).unwrap();
        let image = noise([2, 3, 224, 224], 2, &device());

        let scores = sliding.forward(image.clone());

        assert_eq!(scores.dims(), [2, 3, 1, 1]);
        assert_close(scores.flatten(1, 3), model.forward(image));
        assert_eq!(sliding.forward(noise([1, 3, 288, 256], 3, &device())).dims(), [1, 3, 3, 2]);
    }

    #[test]
    fn with_ceil_no_row_or_column_is_lost() {
        for (ceil, expected) in [(false, [70, 35, 17, 8, 4, 2]), (true, [70, 35, 18, 9, 5, 3])] {
            let model = tiny().with_ceil(ceil).init(&device());

            let maps = model.features(noise([1, 3, 70, 70], 1, &device()));

            assert_eq!(maps.iter().map(|f| f.map.dims()[3]).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn images_of_any_size_go_through_from_the_smallest_on() {
        let model = tiny().init(&device());

        for [height, width] in [[32, 32], [40, 70]] {
            assert!(model.check_input([3, height, width]).is_ok());
            assert_eq!(model.forward(noise([1, 3, height, width], 1, &device())).dims(), [1, 3]);
        }
        assert!(model.check_input([3, 31, 32]).is_err() && model.check_input([1, 32, 32]).is_err());
        let strides: Vec<_> =
            model.features(noise([1, 3, 32, 32], 1, &device())).iter().map(|f| f.stride).collect();
        assert_eq!(strides, [1, 2, 4, 8, 16, 32]);
    }
}
