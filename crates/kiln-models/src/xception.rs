//! Xception: Inception taken to its extreme, residual stacks of depthwise separable convolutions.
//!
//! Chollet. *Xception: Deep Learning with Depthwise Separable Convolutions.* CVPR 2017, fig. 5.
//! <https://arxiv.org/abs/1610.02357>
//!
//! Departures from the paper:
//! - no optional dense layers before the classifier, which fig. 5 leaves open;
//! - the norms' epsilon, 1e-5, and the pools' padding are those of timm's weights;
//! - `se` adds a squeeze-and-excitation gate at the end of each residual branch
//!   (<https://arxiv.org/abs/1709.01507>, §3.3), which the paper doesn't have.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use kiln_kernels as kernels;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, MaxPool, MaxPoolConfig,
    SeparableConv, SeparableConvConfig, SqueezeExcite, SqueezeExciteConfig, global_avg_pool, trace,
};

use crate::classifier::whole;
use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds, error};

/// Names of the parameters in timm's `legacy_xception`, whose branches are numbered with their
/// rectifiers; the first block begins without one.
pub const KEYS: &Keys = &[
    ("block1.rep.0.conv1", "blocks.0.branch.0.depthwise.conv"),
    ("block1.rep.0.pointwise", "blocks.0.branch.0.pointwise.conv"),
    ("block1.rep.1", "blocks.0.branch.0.pointwise.norm"),
    ("block1.rep.3.conv1", "blocks.0.branch.1.depthwise.conv"),
    ("block1.rep.3.pointwise", "blocks.0.branch.1.pointwise.conv"),
    ("block1.rep.4", "blocks.0.branch.1.pointwise.norm"),
    ("block{b+1}.rep.1.conv1", "blocks.{b}.branch.0.depthwise.conv"),
    ("block{b+1}.rep.1.pointwise", "blocks.{b}.branch.0.pointwise.conv"),
    ("block{b+1}.rep.2", "blocks.{b}.branch.0.pointwise.norm"),
    ("block{b+1}.rep.4.conv1", "blocks.{b}.branch.1.depthwise.conv"),
    ("block{b+1}.rep.4.pointwise", "blocks.{b}.branch.1.pointwise.conv"),
    ("block{b+1}.rep.5", "blocks.{b}.branch.1.pointwise.norm"),
    ("block{b+1}.rep.7.conv1", "blocks.{b}.branch.2.depthwise.conv"),
    ("block{b+1}.rep.7.pointwise", "blocks.{b}.branch.2.pointwise.conv"),
    ("block{b+1}.rep.8", "blocks.{b}.branch.2.pointwise.norm"),
    ("block{b+1}.skip", "blocks.{b}.shortcut.conv"),
    ("block{b+1}.skipbn", "blocks.{b}.shortcut.norm"),
    ("conv{i+3}.conv1", "exit.{i}.depthwise.conv"),
    ("conv{i+3}.pointwise", "exit.{i}.pointwise.conv"),
    ("bn{i+3}", "exit.{i}.pointwise.norm"),
    ("conv{i+1}", "stem.{i}.conv"),
    ("bn{i+1}", "stem.{i}.norm"),
    ("fc", "head.linear"),
];

/// Side of the smallest image, in pixels: the stem's convolutions have no padding.
const SMALLEST: usize = 7;

/// Configuration of an [`Xception`].
#[derive(Config, Debug)]
pub struct XceptionConfig {
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels of the two full convolutions.
    #[config(default = "[32, 64]")]
    pub stem: [usize; 2],
    /// Channels of the entry flow's blocks; each halves the map.
    #[config(default = "[128, 256, 728]")]
    pub entry: [usize; 3],
    /// Blocks of the middle flow, which keep the map.
    #[config(default = 8)]
    pub middle: usize,
    /// Channels of the exit flow: of its block, which halves the map, and of the two last
    /// convolutions.
    #[config(default = "[1024, 1536, 2048]")]
    pub exit: [usize; 3],
    /// Part of the features that training drops before the classifier (§4.5).
    #[config(default = 0.5)]
    pub dropout: f64,
    /// Whether each residual branch ends with a squeeze-and-excitation gate.
    #[config(default = false)]
    pub se: bool,
    /// Width ratio of such a gate.
    #[config(default = 16)]
    pub se_reduction: usize,
}

/// Xception (fig. 5): 22,855,952 parameters.
///
/// Built by [`XceptionConfig`].
#[derive(Module, Debug)]
pub struct Xception {
    stem: Vec<ConvBlock>,
    blocks: Vec<Block>,
    exit: Vec<SeparableConv>,
    dropout: Dropout,
    head: Option<Dense>,
}

/// `se(branch(x)) + shortcut(x)`.
#[derive(Module, Debug)]
struct Block {
    /// Separable convolutions with rectifiers between them.
    branch: Vec<SeparableConv>,
    se: Option<SqueezeExcite>,
    shortcut: Option<ConvBlock>,
    /// Halves the branch where the shortcut halves the map.
    pool: Option<MaxPool>,
}

impl XceptionConfig {
    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> Xception {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let Self { num_classes, in_channels, stem: [first, second], entry, exit, .. } = *self;
        let stem = |channels, stride| {
            let config = ConvBlockConfig::new(channels, 3).with_padding(Some(0));
            config.with_stride(stride).init(device)
        };
        let mut blocks = Vec::new();
        let mut from = second;
        for to in entry {
            blocks.push(self.block(&[from, to, to], 2, device));
            from = to;
        }
        blocks.extend((0..self.middle).map(|_| self.block(&[from; 4], 1, device)));
        // The last block widens in its second convolution.
        blocks.push(self.block(&[from, from, exit[0]], 2, device));

        Xception {
            stem: vec![stem([in_channels, first], 2), stem([first, second], 1)],
            blocks,
            exit: exit
                .windows(2)
                .map(|pair| SeparableConvConfig::new([pair[0], pair[1]]).init(device))
                .collect(),
            dropout: DropoutConfig::new(self.dropout).init(),
            head: Some(DenseConfig::new([exit[2], num_classes]).init(device)),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let ([_, stem], [first, second, third], [.., last]) = (self.stem, self.entry, self.exit);
        FeatureInfo::halved(2, &[stem, first, second, third, last])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or if dropout would drop everything.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("stem", &self.stem),
            ("entry", &self.entry),
            ("exit", &self.exit),
            ("se_reduction", &[self.se_reduction]),
        ])?;
        bounds::depths("middle", &[self.middle], 1)?;
        bounds::dropped("dropout", self.dropout)?;
        let widths = [&self.stem[..], &self.entry, &self.exit].concat();
        let middle = [3 * self.middle, self.entry[2], self.entry[2]];
        let others = widths.windows(2).map(|pair| [1, pair[0], pair[1]]);
        bounds::affordable(others.chain([middle]))
    }

    /// A residual block whose branch has these channels, from the first to the last.
    fn block(&self, channels: &[usize], stride: usize, device: &Device) -> Block {
        let (from, to) = (channels[0], channels[channels.len() - 1]);
        let last = channels.len() - 2;
        let branch = channels.windows(2).enumerate().map(|(i, pair)| {
            let activation = if i == last { Activation::Identity } else { Activation::Relu };
            let config = SeparableConvConfig::new([pair[0], pair[1]]);
            config.with_activation(activation).init(device)
        });

        Block {
            branch: branch.collect(),
            se: self.se.then(|| {
                SqueezeExciteConfig::new(to).with_reduction(self.se_reduction).init(device)
            }),
            shortcut: (stride != 1 || from != to).then(|| {
                ConvBlockConfig::new([from, to], 1)
                    .with_stride(stride)
                    .with_activation(Activation::Identity)
                    .init(device)
            }),
            pool: (stride != 1).then(|| MaxPoolConfig::new(3, stride).with_padding(1).init()),
        }
    }
}

impl Xception {
    /// The last map. `tap` sees the maps that other networks may use, and their stride.
    fn maps(&self, images: Tensor<4>, mut tap: impl FnMut(usize, &Tensor<4>)) -> Tensor<4> {
        let mut x = self.stem.iter().fold(images, |x, conv| conv.forward(x));
        let mut stride = 2;
        for (i, block) in self.blocks.iter().enumerate() {
            let activated = if i == 0 { x.clone() } else { Activation::Relu.forward(x.clone()) };
            if block.pool.is_some() {
                tap(stride, &activated);
                stride *= 2;
            }
            x = block.forward(x, activated);
        }
        let x = self.exit.iter().fold(x, |x, conv| conv.forward(x));
        tap(stride, &x);
        x
    }
}

impl Classifier for Xception {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`, 7 pixels or more each way
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let pooled = global_avg_pool(self.maps(images, |_, _| {}));

        whole(&self.head).forward(self.dropout.forward(pooled))
    }

    /// The maps before each halving and the last one, of strides 2, 4, 8, 16 and 32.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        Feature::shown(|show| {
            self.maps(images, show);
        })
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
        error::at_least([in_channels, SMALLEST, SMALLEST], image)
    }
}

impl Block {
    /// `activated` is what the branch begins with, `x` what the shortcut carries.
    fn forward(&self, x: Tensor<4>, activated: Tensor<4>) -> Tensor<4> {
        let [first @ .., last] = &self.branch[..] else {
            unreachable!("every branch has convolutions")
        };
        let fork = trace::fork();
        let branch = fork.branch(|| first.iter().fold(activated, |y, conv| conv.forward(y)));
        if let (None, None) = (&self.shortcut, &self.se) {
            return last.forward_residual(branch, x);
        }

        let branch = last.forward(branch);
        let branch = match &self.pool {
            Some(pool) => pool.forward(branch),
            None => branch,
        };
        let branch = match &self.se {
            Some(se) => se.forward(branch),
            None => branch,
        };
        match &self.shortcut {
            Some(shortcut) => fork.branch(|| shortcut.forward_residual(x, branch)),
            None => kernels::add(branch, x, kernels::Activation::Identity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{trainable, weights};
    use kiln_testkit::{Golden, device, noise, zeroed};

    fn tiny() -> XceptionConfig {
        XceptionConfig::new()
            .with_stem([2, 4])
            .with_entry([4, 6, 6])
            .with_middle(1)
            .with_exit([8, 8, 10])
            .with_num_classes(5)
    }

    #[test]
    fn matches_timm() {
        let golden = Golden::open("xception");
        let model = tiny().init(&device());

        let (model, report) = weights::load(model, &golden.path(), KEYS).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["input", "output"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn has_the_published_number_of_parameters_and_thirty_four_separable_convolutions() {
        let model = XceptionConfig::new().init(&device());

        let parameters = crate::parameters(&model);
        let depthwise = parameters.iter().filter(|p| p.path.contains("depthwise")).count();
        assert_eq!(depthwise, 34);
        assert_eq!(trainable(&model), 22_855_952);
    }

    #[test]
    fn a_middle_block_without_weights_is_the_identity() {
        for se in [false, true] {
            let model = zeroed(tiny().with_se(se).init(&device()));
            let x = noise([2, 6, 5, 3], 1, &device());

            let y = model.blocks[3].forward(x.clone(), Activation::Relu.forward(x.clone()));

            y.to_data().assert_eq(&x.to_data(), true); // bit for bit
        }
    }

    #[test]
    fn gates_cost_what_the_paper_of_squeeze_and_excitation_says() {
        let count = |se| trainable(&XceptionConfig::new().with_se(se).init(&device()));

        // Two dense layers with biases and a bottleneck of channels / 16 at every branch.
        let gate = |channels: usize| 2 * channels * (channels / 16) + channels + channels / 16;
        let gates = gate(128) + gate(256) + 9 * gate(728) + gate(1024);
        assert_eq!(count(true) - count(false), gates);
    }

    #[test]
    fn features_are_halved_from_flow_to_flow() {
        let model = tiny().init(&device());

        let features = model.features(noise([1, 3, 71, 71], 1, &device()));

        let sizes: Vec<_> =
            features.iter().map(|f| (f.stride, f.channels, f.map.dims()[2])).collect();
        assert_eq!(sizes, [(2, 4, 33), (4, 4, 17), (8, 6, 9), (16, 6, 5), (32, 10, 3)]);
    }

    #[test]
    fn the_smallest_image_goes_through() {
        let model = tiny().init(&device());

        assert!(model.check_input([3, 6, 7]).is_err());
        model.check_input([3, 7, 7]).unwrap();
        assert_eq!(model.forward(noise([2, 3, 7, 7], 2, &device())).dims(), [2, 5]);
    }
}
