//! GoogLeNet: image classification with inception modules.
//!
//! Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich. *Going Deeper with
//! Convolutions.* CVPR 2015. <https://arxiv.org/abs/1409.4842>
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018, fig. 2 (SE-Inception).
//!
//! Departures of `googlenet-2014` from the paper:
//! - the paper gives no constants for its local response norms; they are AlexNet's;
//! - the auxiliary heads adapt their average pool to the map, so that an image of any size fits;
//! - kernels start as He et al. have them, where the paper says nothing.
//!
//! Departures of `googlenet`, as torchvision has it: batch norm after every convolution (Ioffe,
//! Szegedy 2015) in place of biases and local response norms, 3×3 kernels in the 5×5 branches,
//! a last max pool of 2×2, and less dropout.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use kiln_layers::{
    AuxClassifier, AuxClassifierConfig, ConvBlock, ConvBlockConfig, Dense, DenseConfig, Inception,
    InceptionConfig, LocalResponseNorm, LocalResponseNormConfig, MaxPool, MaxPoolConfig, Norm,
    Objective, Targets, global_avg_pool, trace,
};

use crate::classifier::whole;
use crate::error::at_least;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// The rows of [`KEYS`]: those of every inception module by its name there and its number here.
macro_rules! keys {
    ($($there:literal => $here:literal),*) => {
        &[
            $(
                (concat!("inception", $there, ".branch1.conv"), concat!("modules.", $here, ".one.conv")),
                (concat!("inception", $there, ".branch1.bn"), concat!("modules.", $here, ".one.norm")),
                (concat!("inception", $there, ".branch2.{n}.conv"), concat!("modules.", $here, ".three.{n}.conv")),
                (concat!("inception", $there, ".branch2.{n}.bn"), concat!("modules.", $here, ".three.{n}.norm")),
                (concat!("inception", $there, ".branch3.{n}.conv"), concat!("modules.", $here, ".five.{n}.conv")),
                (concat!("inception", $there, ".branch3.{n}.bn"), concat!("modules.", $here, ".five.{n}.norm")),
                (concat!("inception", $there, ".branch4.1.conv"), concat!("modules.", $here, ".projection.conv")),
                (concat!("inception", $there, ".branch4.1.bn"), concat!("modules.", $here, ".projection.norm")),
            )*
            ("conv{n+1}.conv", "stem.{n}.conv"),
            ("conv{n+1}.bn", "stem.{n}.norm"),
            ("aux{n+1}.conv.conv", "aux.{n}.conv.conv"),
            ("aux{n+1}.conv.bn", "aux.{n}.conv.norm"),
            ("aux{n+1}.fc1", "aux.{n}.hidden.linear"),
            ("aux{n+1}.fc2", "aux.{n}.output.linear"),
            ("fc", "head.linear"),
        ]
    };
}

/// Names of the parameters in torchvision's GoogLeNet.
#[rustfmt::skip]
pub const KEYS: &Keys = keys! {
    "3a" => 0, "3b" => 1, "4a" => 2, "4b" => 3, "4c" => 4, "4d" => 5, "4e" => 6, "5a" => 7, "5b" => 8
};

/// Widths of each inception module (table 1): 3a, 3b, 4a to 4e, 5a and 5b.
const MODULES: [[usize; 6]; 9] = [
    [64, 96, 128, 16, 32, 32],
    [128, 128, 192, 32, 96, 64],
    [192, 96, 208, 16, 48, 64],
    [160, 112, 224, 24, 64, 64],
    [128, 128, 256, 24, 64, 64],
    [112, 144, 288, 32, 64, 64],
    [256, 160, 320, 32, 128, 128],
    [256, 160, 320, 32, 128, 128],
    [384, 192, 384, 48, 128, 128],
];
/// The modules that a max pool comes before, besides the first: 4a and 5a.
const POOLED: [usize; 2] = [2, 7];
/// The modules whose maps the auxiliary heads see: 4a and 4d.
const AUX: [usize; 2] = [2, 5];
/// Weight of each auxiliary head's loss (§5).
const AUX_WEIGHT: f32 = 0.3;

/// What follows the convolutions of a [`GoogLeNet`].
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Biases, and local response norms in the stem: the paper's.
    Paper,
    /// Batch norm: torchvision's.
    BatchNorm,
}

/// Configuration of a [`GoogLeNet`].
#[derive(Config, Debug)]
pub struct GoogLeNetConfig {
    /// The paper's network or torchvision's.
    pub edition: Edition,
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the first convolution; all others keep their proportion to its 64.
    #[config(default = 64)]
    pub width: usize,
    /// Whether the two auxiliary heads are there for training.
    #[config(default = false)]
    pub aux: bool,
    /// Whether every module ends with a squeeze-and-excitation gate.
    #[config(default = false)]
    pub se: bool,
    /// Width ratio of a gate's bottleneck, the paper's `r` (§3.2).
    #[config(default = 16)]
    pub se_reduction: usize,
    /// Chance that a feature is dropped before the last layer, in training.
    #[config(default = 0.2)]
    pub dropout: f64,
}

/// GoogLeNet (table 1).
///
/// Built by [`GoogLeNetConfig`].
#[derive(Module, Debug)]
pub struct GoogLeNet {
    stem: [ConvBlock; 3],
    lrn: Option<LocalResponseNorm>,
    pool: MaxPool,
    last_pool: MaxPool,
    modules: Vec<Inception>,
    aux: Vec<AuxClassifier>,
    dropout: Dropout,
    head: Option<Dense>,
    /// Side of the smallest image, in pixels.
    smallest: usize,
}

impl GoogLeNetConfig {
    /// GoogLeNet as torchvision has it: 6,624,904 parameters, 13,004,888 with its auxiliary heads.
    pub fn googlenet() -> Self {
        Self::new(Edition::BatchNorm)
    }

    /// GoogLeNet as in the paper: 6,998,552 parameters, 13,378,280 with its auxiliary heads.
    pub fn googlenet_2014() -> Self {
        Self::new(Edition::Paper).with_dropout(0.4)
    }

    /// SE-Inception: torchvision's GoogLeNet with a gate after each module, 7,105,007 parameters.
    pub fn se_googlenet() -> Self {
        Self::googlenet().with_se(true)
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> GoogLeNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let scaled = |channels: usize| (channels * self.width).div_ceil(64);
        let (norm, kernel, last_pool, smallest) = match self.edition {
            Edition::Paper => (Norm::None, 5, 3, 47),
            Edition::BatchNorm => (Norm::Batch, 3, 2, 31),
        };
        let epsilon = 1e-3;
        let conv = |from, to, kernel| {
            ConvBlockConfig::new([from, to], kernel).with_norm(norm).with_epsilon(epsilon)
        };
        let [first, last] = [64, 192].map(scaled);

        let mut channels = last;
        let mut seen_by_aux = Vec::new();
        let modules = MODULES.into_iter().enumerate().map(|(index, widths)| {
            let module = InceptionConfig::new(channels, widths.map(scaled))
                .with_kernel(kernel)
                .with_norm(norm)
                .with_epsilon(epsilon)
                .with_se_reduction(self.se.then_some(self.se_reduction));
            channels = module.channels_out();
            if self.aux && AUX.contains(&index) {
                seen_by_aux.push(channels);
            }
            module.init(device)
        });
        let modules = modules.collect();
        let aux = seen_by_aux.into_iter().map(|channels| {
            AuxClassifierConfig::new(channels, self.num_classes)
                .with_widths([128, 1024].map(scaled))
                .with_norm(norm)
                .with_epsilon(epsilon)
                .init(device)
        });

        GoogLeNet {
            stem: [
                conv(self.in_channels, first, 7).with_stride(2).init(device),
                conv(first, first, 1).init(device),
                conv(first, last, 3).init(device),
            ],
            lrn: (self.edition == Edition::Paper).then(|| LocalResponseNormConfig::new().init()),
            pool: MaxPoolConfig::new(3, 2).with_ceil(true).init(),
            last_pool: MaxPoolConfig::new(last_pool, 2).with_ceil(true).init(),
            modules,
            aux: aux.collect(),
            dropout: DropoutConfig::new(self.dropout).init(),
            head: Some(DenseConfig::new([channels, self.num_classes]).init(device)),
            smallest,
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let scaled = |channels: usize| (channels * self.width).div_ceil(64);
        // A module's maps are those of its four views, two of which have a reduction before them.
        let after = |index: usize| {
            let [a, _, b, _, c, d] = MODULES[index];
            [a, b, c, d].map(scaled).iter().sum()
        };
        FeatureInfo::halved(2, &[scaled(64), scaled(192), after(1), after(6), after(8)])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or `dropout` isn't in `0..1`.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("width", &[self.width]),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::dropped("dropout", self.dropout)?;
        // One 1×1 convolution of the last block, from 832 to 384 channels where the width is 64.
        bounds::affordable([[78, self.width, self.width]])
    }
}

impl Classifier for GoogLeNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, x] = self.stem(images);
        self.scores(self.maps(x, |_, _| {}))
    }

    /// The objective of the scores, and .3 of that of each auxiliary head (§5), or as much as the objective says.
    fn loss(
        &self,
        images: Tensor<4>,
        targets: Targets,
        objective: &Objective,
    ) -> (Tensor<2>, Tensor<1>) {
        let mut aux = Vec::new();
        let [_, x] = self.stem(images);
        let x = self.maps(x, |index, map| {
            let head = AUX.iter().position(|&seen| seen == index);
            if let Some(head) = head.and_then(|number| self.aux.get(number)) {
                aux.push(trace::aside(|| head.forward(map.clone())));
            }
        });
        let scores = self.scores(x);

        let loss = objective.of(scores.clone(), targets.clone());
        let weight = objective.aux_weight.unwrap_or(AUX_WEIGHT);
        let loss = aux
            .into_iter()
            .fold(loss, |loss, scores| loss + objective.of(scores, targets.clone()) * weight);
        (scores, loss)
    }

    /// The stem's maps of strides 2 and 4, and those of modules 3b, 4e and 5b, of strides 8, 16
    /// and 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let [half, quarter] = self.stem(images);
        let mut features = vec![Feature::new(2, half), Feature::new(4, quarter.clone())];
        self.maps(quarter, |index, map| match index {
            1 => features.push(Feature::new(8, map.clone())),
            6 => features.push(Feature::new(16, map.clone())),
            8 => features.push(Feature::new(32, map.clone())),
            _ => {}
        });
        features
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["aux", "dropout", "head"]
    }

    fn training_paths(&self) -> &'static [&'static str] {
        &["aux"]
    }

    fn into_backbone(self) -> Option<Self> {
        Some(Self { aux: Vec::new(), head: None, ..self })
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        self.head.as_ref().map(|head| ConvolutionalHead::global_average(seen, head))
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.stem[0].in_channels();
        at_least([in_channels, self.smallest, self.smallest], image)
    }
}

impl GoogLeNet {
    /// The maps of the stem before each of its pools.
    fn stem(&self, images: Tensor<4>) -> [Tensor<4>; 2] {
        let [first, reduce, last] = &self.stem;
        let half = first.forward(images); // stride 2
        let x = self.normalized(self.pool.forward(half.clone())); // stride 4
        [half, last.forward(reduce.forward(x))]
    }

    /// The last map; `see` gets the number and the map of every module. `x` is the stem's last.
    fn maps(&self, x: Tensor<4>, mut see: impl FnMut(usize, &Tensor<4>)) -> Tensor<4> {
        let mut x = self.pool.forward(self.normalized(x));
        for (index, module) in self.modules.iter().enumerate() {
            if index == POOLED[0] {
                x = self.pool.forward(x);
            } else if index == POOLED[1] {
                x = self.last_pool.forward(x);
            }
            x = module.forward(x);
            see(index, &x);
        }
        x
    }

    fn scores(&self, x: Tensor<4>) -> Tensor<2> {
        whole(&self.head).forward(self.dropout.forward(global_avg_pool(x)))
    }

    fn normalized(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.lrn {
            Some(lrn) => lrn.forward(x),
            None => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{summarize, trainable, weights};
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Gradients;
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn tiny(edition: Edition) -> GoogLeNetConfig {
        GoogLeNetConfig::new(edition).with_width(1).with_num_classes(3)
    }

    #[test]
    fn matches_pytorch() {
        for (name, edition) in
            [("googlenet", Edition::BatchNorm), ("googlenet_2014", Edition::Paper)]
        {
            let golden = Golden::open(name);
            let model = tiny(edition).init(&device());

            let (model, report) = weights::load_classifier(model, &golden.path(), KEYS).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn has_the_published_number_of_parameters() {
        for (config, expected) in [
            (GoogLeNetConfig::googlenet(), 6_624_904),
            (GoogLeNetConfig::googlenet().with_aux(true), 13_004_888),
            (GoogLeNetConfig::googlenet_2014(), 6_998_552),
            (GoogLeNetConfig::googlenet_2014().with_aux(true), 13_378_280),
            (GoogLeNetConfig::se_googlenet(), 7_105_007),
        ] {
            let model = config.init(&device());

            assert_eq!(trainable(&model), expected, "{config}");
        }
    }

    #[test]
    fn is_22_layers_deep_and_27_with_pools() {
        for edition in [Edition::Paper, Edition::BatchNorm] {
            let model = tiny(edition).with_aux(true).with_se(true).init(&device());

            let summary = summarize(&model, [3, 64, 64], &device()).unwrap();

            assert_eq!(summary.depth, 22);
            // Beside those on the way, every module has one in a branch no longer than the others;
            // its gate pools too.
            let pools = |kind| summary.layers.iter().filter(|row| row.kind == kind).count();
            let on_the_way = pools("max_pool") - 9 + pools("global_avg_pool") - 9;
            assert_eq!(summary.depth + on_the_way, 27);
        }
    }

    #[test]
    fn features_are_halved_from_each_to_the_next() {
        let model = tiny(Edition::BatchNorm).init(&device());

        let features = model.features(noise([1, 3, 64, 96], 1, &device()));

        let sizes: Vec<_> = features.iter().map(|f| (f.stride, f.map.dims())).collect();
        let channels = |index: usize| features[index].channels;
        assert_eq!(sizes.len(), 5);
        for (index, (stride, dims)) in sizes.into_iter().enumerate() {
            assert_eq!(dims, [1, channels(index), 64 / stride, 96 / stride]);
        }
    }

    #[test]
    fn the_smallest_image_goes_through_and_a_smaller_one_is_refused() {
        for (edition, smallest) in [(Edition::Paper, 47), (Edition::BatchNorm, 31)] {
            let model = tiny(edition).init(&device());

            assert!(model.check_input([3, smallest - 1, 64]).is_err());
            model.check_input([3, smallest, smallest]).unwrap();
            let scores = model.forward(noise([2, 3, smallest, smallest], 1, &device()));
            assert_eq!(scores.dims(), [2, 3]);
        }
    }

    #[test]
    fn the_loss_adds_three_tenths_of_each_auxiliary_head_and_prediction_ignores_them() {
        let with = tiny(Edition::Paper).with_aux(true).init(&device());
        let without = GoogLeNet { aux: Vec::new(), ..with.clone() };
        let images = noise([2, 3, 64, 64], 1, &device());
        let targets = Targets::Classes(Tensor::from_ints([0, 2], &device()));
        let plain = Objective::default();

        let (scores, loss) = with.loss(images.clone(), targets.clone(), &plain);
        let half = Objective { aux_weight: Some(0.15), ..plain.clone() };
        let (_, with_half) = with.loss(images.clone(), targets.clone(), &half);

        scores.to_data().assert_eq(&without.forward(images.clone()).to_data(), true);
        let (_, main) = without.loss(images.clone(), targets.clone(), &plain);
        let mut expected = main.clone();
        with.maps(with.stem(images).into_iter().nth(1).unwrap(), |index, map| {
            if let Some(head) = AUX.iter().position(|&seen| seen == index) {
                let scores = with.aux[head].forward(map.clone());
                expected = expected.clone() + plain.of(scores, targets.clone()) * 0.3;
            }
        });
        assert_close(with_half, (expected.clone() + main) * 0.5);
        assert_close(loss, expected);
    }

    #[test]
    fn auxiliary_heads_are_there_on_request_only_and_cost_prediction_nothing() {
        for config in [GoogLeNetConfig::googlenet(), GoogLeNetConfig::googlenet_2014()] {
            let config = config.with_width(4);
            let of = |config: &GoogLeNetConfig| {
                summarize(&config.init(&device()), [3, 64, 64], &device()).unwrap()
            };

            let (without, with) = (of(&config), of(&config.clone().with_aux(true)));

            assert!(without.layers.iter().all(|layer| !layer.name.starts_with("aux")));
            assert!(with.parameters > without.parameters);
            assert_eq!((with.macs, with.depth), (without.macs, without.depth));
        }
    }

    #[test]
    fn each_auxiliary_head_gets_a_gradient() {
        let device = device().autodiff();
        device.seed(1);
        let model = tiny(Edition::BatchNorm).with_width(8).with_aux(true).init(&device);
        let targets = Targets::Classes(Tensor::from_ints([0, 2], &device));
        let images = noise([2, 3, 64, 64], 1, &device);

        let (_, loss) = model.loss(images, targets, &Objective::default());

        struct Largest<'a>(&'a Gradients, f32);
        impl ModuleVisitor for Largest<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = param.grad(self.0) {
                    self.1 =
                        gradient.to_data().iter().fold(self.1, |m: f32, x: f32| m.max(x.abs()));
                }
            }
        }
        let gradients = loss.backward();
        for head in &model.aux {
            let mut largest = Largest(&gradients, 0.0);
            head.visit(&mut largest);
            assert!(largest.1 > 0.0);
        }
    }
}
