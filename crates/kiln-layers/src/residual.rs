//! The residual unit: a branch of convolutions that learns what to add to its input.
//!
//! He, Zhang, Ren, Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016, §3.
//! <https://arxiv.org/abs/1512.03385>
//!
//! Hu, Shen, Sun. *Squeeze-and-Excitation Networks.* CVPR 2018, fig. 3 (the gate).
//! <https://arxiv.org/abs/1709.01507>

use burn::module::Initializer;
use burn::prelude::*;
use burn::tensor::ops::MaxPoolOptions;
use kiln_kernels as kernels;

use crate::squeeze_excite::scale;
use crate::{
    Activation, ConvBlock, ConvBlockConfig, DropPath, DropPathConfig, SqueezeExcite,
    SqueezeExciteConfig, trace,
};

/// How the input goes around the branch where the branch changes its shape (§3.3). Where it
/// doesn't, the input goes around as it is.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Shortcut {
    /// Through a 1×1 convolution with the branch's stride (option B).
    Projection,
    /// Through a 3×3 convolution where there is a stride, a 1×1 convolution elsewhere (SENet-154).
    WideProjection,
    /// Every `stride`-th pixel, with new channels of zeros on both sides of the old ones
    /// (option A): no parameters.
    Padding,
    /// Not at all, even where the shape stays: a plain network.
    None,
}

/// Configuration of a [`Residual`] unit.
#[derive(Config, Debug)]
pub struct ResidualConfig {
    /// Convolutions of the branch. The activation of the last one comes before the gate and the
    /// sum; it is the identity in every published network but timm's legacy SE-ResNet-18 and 34.
    pub branch: Vec<ConvBlockConfig>,
    /// The way around the branch.
    #[config(default = "Shortcut::Projection")]
    pub shortcut: Shortcut,
    /// Gate at the end of the branch.
    pub se: Option<SqueezeExciteConfig>,
    /// Chance that an image's branch is dropped in training.
    #[config(default = 0.0)]
    pub drop_path: f64,
    /// Whether the scale of the last norm starts at zero, so that the unit starts as its shortcut
    /// (Goyal et al., *Accurate, Large Minibatch SGD*, 2017, §5.1).
    #[config(default = false)]
    pub zero_init: bool,
    /// Activation of the sum.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

/// `activation(gate(branch(x)) + shortcut(x))` (eq. 1 and 2).
///
/// Built by [`ResidualConfig`].
#[derive(Module, Debug)]
pub struct Residual {
    branch: Vec<ConvBlock>,
    /// A projection where the shape changes; `None` is the identity, or the rule below.
    shortcut: Option<ConvBlock>,
    se: Option<SqueezeExcite>,
    drop_path: Option<DropPath>,
    #[module(skip)]
    rule: Shortcut,
    /// Of the whole branch, in pixels.
    stride: usize,
    /// Whether the last convolution also sums and activates.
    fused: bool,
    #[module(skip)]
    activation: Activation,
}

impl ResidualConfig {
    /// Channels out; zero for an empty branch.
    pub fn channels_out(&self) -> usize {
        self.branch.last().map_or(0, |conv| conv.channels[1])
    }

    /// Initializes the unit on `device`.
    ///
    /// # Panics
    ///
    /// Panics if the branch is empty, if the channels of its convolutions don't follow from one
    /// another, or if `drop_path` isn't in `0..1`.
    pub fn init(&self, device: &Device) -> Residual {
        let [.., last] = &self.branch[..] else { panic!("a residual branch is empty") };
        let follow = |pair: &[ConvBlockConfig]| pair[0].channels[1] == pair[1].channels[0];
        assert!(self.branch.windows(2).all(follow), "channels don't follow in {self}");
        let (from, to) = (self.branch[0].channels[0], last.channels[1]);
        let stride = self.branch.iter().map(|conv| conv.stride).product();

        let se = self.se.as_ref().map(|gate| gate.init(device));
        let drop_path = (self.drop_path > 0.0).then(|| DropPathConfig::new(self.drop_path).init());
        let fused = se.is_none() && drop_path.is_none() && last.activation == Activation::Identity;
        let mut branch: Vec<ConvBlock> =
            self.branch[..self.branch.len() - 1].iter().map(|conv| conv.init(device)).collect();
        let activation = if fused { self.activation } else { last.activation };
        let mut conv = last.clone().with_activation(activation).init(device);
        if let Some(norm) = conv.norm.as_mut().filter(|_| self.zero_init) {
            norm.gamma = Initializer::Zeros.init([to], device);
        }
        branch.push(conv);

        Residual {
            branch,
            shortcut: self.projection([from, to], stride).map(|conv| conv.init(device)),
            se,
            drop_path,
            rule: self.shortcut,
            stride,
            fused,
            activation: self.activation,
        }
    }

    fn projection(&self, channels: [usize; 2], stride: usize) -> Option<ConvBlockConfig> {
        let [from, to] = channels;
        let kernel = match self.shortcut {
            Shortcut::Padding | Shortcut::None => return None,
            Shortcut::WideProjection if stride != 1 => 3,
            Shortcut::Projection | Shortcut::WideProjection => 1,
        };
        (stride != 1 || from != to).then(|| {
            let last = &self.branch[self.branch.len() - 1];
            ConvBlockConfig::new(channels, kernel)
                .with_stride(stride)
                .with_norm(last.norm)
                .with_epsilon(last.epsilon)
                .with_activation(Activation::Identity)
        })
    }
}

/// Where a unit of [`residual_stages`] stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Number of its stage, from 0.
    pub stage: usize,
    /// Channels of its input.
    pub channels: usize,
    /// Its stride: 2 in the first unit of every stage but the first one.
    pub stride: usize,
    /// Part of all units that end with this one, in `0..=1`.
    pub progress: f64,
}

/// Stages of so many units each, which halve the map between them (table 1).
///
/// `channels` is what the first unit sees, and `unit` describes the unit at a place.
///
/// # Panics
///
/// Panics where [`ResidualConfig::init`] does.
pub fn residual_stages(
    depths: &[usize],
    mut channels: usize,
    device: &Device,
    unit: impl Fn(Place) -> ResidualConfig,
) -> Vec<Vec<Residual>> {
    let total: usize = depths.iter().sum();
    let mut built = 0;
    let mut stage_of = |stage: usize, depth| -> Vec<Residual> {
        let units = (0..depth).map(|index| {
            built += 1;
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let progress = built as f64 / total as f64;
            let config = unit(Place { stage, channels, stride, progress });
            channels = config.channels_out();
            config.init(device)
        });
        units.collect()
    };
    depths.iter().enumerate().map(|(stage, &depth)| stage_of(stage, depth)).collect()
}

impl Residual {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height / stride, width / stride]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let fork = trace::fork();
        let around = fork.branch(|| self.around(x.clone()));

        fork.branch(|| {
            let [first @ .., last] = &self.branch[..] else { unreachable!("`init` refuses this") };
            let x = first.iter().fold(x, |x, conv| conv.forward(x));
            match around {
                Some(around) if self.fused => last.forward_residual(x, around),
                around => {
                    let y = last.forward(x);
                    if self.fused { y } else { self.join(y, around) }
                }
            }
        })
    }

    /// `x` as it is added to the branch.
    fn around(&self, x: Tensor<4>) -> Option<Tensor<4>> {
        match (&self.shortcut, self.rule) {
            (Some(projection), _) => Some(projection.forward(x)),
            (None, Shortcut::None) => None,
            (None, Shortcut::Padding) => Some(self.padded(x)),
            (None, Shortcut::Projection | Shortcut::WideProjection) => Some(x),
        }
    }

    /// Option A: every `stride`-th pixel, which is the largest of one, and zeros for the channels that
    /// are new.
    fn padded(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, from, ..] = x.dims();
        let [to, ..] = self.branch[self.branch.len() - 1].conv.weight.lazy_shape().dims::<4>();
        let x = if self.stride == 1 {
            x
        } else {
            kernels::max_pool2d(x, MaxPoolOptions::new([1; 2]).with_stride([self.stride; 2]))
        };
        if from == to {
            return x;
        }
        let [batch, _, height, width] = x.dims();
        let before = (to - from) / 2;
        // Channels last in memory, as the kernels' maps are.
        let zeros = |channels| {
            Tensor::zeros([batch, height, width, channels], &x.device()).permute([0, 3, 1, 2])
        };
        let parts =
            [(before > 0).then(|| zeros(before)), Some(x.clone()), Some(zeros(to - from - before))];
        kernels::concat_channels(parts.into_iter().flatten().collect())
    }

    /// `activation(branch · gate + around)`, where the gate includes what drops a path.
    fn join(&self, branch: Tensor<4>, around: Option<Tensor<4>>) -> Tensor<4> {
        let gate = self.se.as_ref().map(|gate| gate.gate(branch.clone()));
        let drop = self.drop_path.as_ref().and_then(|path| path.factor(&branch));
        let factor = match (gate, drop) {
            (Some(gate), Some(drop)) => Some(gate * drop),
            (Some(gate), None) => Some(gate),
            (None, Some(drop)) => Some(drop.expand([branch.dims()[0], branch.dims()[1], 1, 1])),
            (None, None) => None,
        };

        match (factor, around) {
            (Some(factor), around) => scale(branch, factor, around, self.activation),
            (None, None) => self.activation.forward(branch),
            (None, Some(around)) => {
                let y = kernels::add(branch, around, self.activation.kernel());
                trace::note(|| trace::Layer::new("add", &y));
                y
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{ModuleMapper, Param};
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, zeroed};

    fn conv(from: usize, to: usize, kernel: usize) -> ConvBlockConfig {
        ConvBlockConfig::new([from, to], kernel)
    }

    fn bottleneck() -> ResidualConfig {
        ResidualConfig::new(vec![
            conv(4, 2, 1),
            conv(2, 2, 3).with_stride(2),
            conv(2, 8, 1).with_activation(Activation::Identity),
        ])
    }

    fn basic(from: usize, to: usize, stride: usize) -> ResidualConfig {
        ResidualConfig::new(vec![
            conv(from, to, 3).with_stride(stride),
            conv(to, to, 3).with_activation(Activation::Identity),
        ])
    }

    fn gate(channels: usize) -> Option<SqueezeExciteConfig> {
        Some(SqueezeExciteConfig::new(channels).with_reduction(2))
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("residual");
        let unit = golden.load(bottleneck().with_se(gate(8)).init(&device()));

        golden.assert_close("output", unit.forward(golden.tensor("input")));
    }

    #[test]
    fn a_zero_branch_leaves_the_activation_of_the_input_bit_for_bit() {
        let x = noise([2, 4, 6, 5], 1, &device());
        let expected = Activation::Relu.forward(x.clone()).to_data();

        for config in [basic(4, 4, 1), basic(4, 4, 1).with_se(gate(4))] {
            let unit = zeroed(config.init(&device()));
            unit.forward(x.clone()).to_data().assert_eq(&expected, true);
        }
        let fresh = basic(4, 4, 1).with_zero_init(true).init(&device());
        fresh.forward(x).to_data().assert_eq(&expected, true);
    }

    #[test]
    fn option_a_takes_every_other_pixel_and_pads_both_sides_of_the_channels() {
        let unit = zeroed(basic(2, 4, 2).with_shortcut(Shortcut::Padding).init(&device()));
        let x = noise([1, 2, 6, 5], 2, &device()) + 1.0;

        let y = unit.forward(x.clone());

        assert_eq!(y.dims(), [1, 4, 3, 3]);
        assert_close(y.clone().slice(s![.., 1..3]), x.slice(s![.., .., ..;2, ..;2]));
        for channel in [0, 3] {
            assert_close(y.clone().narrow(1, channel, 1), Tensor::zeros([1, 1, 3, 3], &device()));
        }
    }

    #[test]
    fn only_a_shape_that_changes_is_projected() {
        let projects = |config: ResidualConfig| config.init(&device()).shortcut.is_some();

        assert!(projects(basic(4, 8, 1)) && projects(basic(4, 4, 2)) && projects(bottleneck()));
        assert!(!projects(basic(4, 4, 1)));
        assert!(!projects(basic(4, 8, 2).with_shortcut(Shortcut::Padding)));
        let wide = |stride| basic(4, 8, stride).with_shortcut(Shortcut::WideProjection);
        let side =
            |config: ResidualConfig| config.init(&device()).shortcut.unwrap().conv.weight.dims()[3];
        assert_eq!([side(wide(1)), side(wide(2))], [1, 3]);
    }

    #[test]
    fn without_a_shortcut_the_branch_is_all() {
        let unit = basic(4, 4, 1).with_shortcut(Shortcut::None).init(&device());
        let x = noise([1, 4, 5, 5], 3, &device());

        let y = unit.branch[1].forward(unit.branch[0].forward(x.clone()));

        unit.forward(x).to_data().assert_eq(&y.to_data(), true);
    }

    #[test]
    fn in_inference_a_path_that_may_drop_changes_nothing() {
        let x = noise([2, 4, 6, 6], 4, &device());
        let golden = Golden::open("residual");
        let with = |chance| {
            golden.load(bottleneck().with_se(gate(8)).with_drop_path(chance).init(&device()))
        };

        assert_close(with(0.5).forward(x.clone()), with(0.0).forward(x.clone()));
    }

    #[test]
    fn in_training_a_dropped_path_leaves_the_shortcut() {
        let device = device().autodiff();
        let unit = basic(4, 4, 1).with_drop_path(0.5).init(&device);
        let x = noise([64, 4, 3, 3], 5, &device);
        let around = Activation::Relu.forward(x.clone());

        let difference = (unit.forward(x) - around).abs().max_dim(1).max_dim(2).max_dim(3);

        let dropped = difference.to_data().iter::<f32>().filter(|&d| d == 0.0).count();
        assert!((10..54).contains(&dropped), "{dropped} of 64");
    }

    #[test]
    fn counts_as_deep_as_its_branch() {
        for config in [bottleneck(), bottleneck().with_se(gate(8))] {
            let unit = config.init(&device());
            let x = noise([1, 4, 4, 4], 1, &device());
            let (_, layers) = trace::record(false, || unit.forward(x));

            assert_eq!(layers.iter().map(|layer| layer.depth).max(), Some(3));
        }
    }

    const SHORTCUTS: [Shortcut; 4] =
        [Shortcut::Projection, Shortcut::WideProjection, Shortcut::Padding, Shortcut::None];

    /// A unit without kinks, whose branch ends with `last`.
    fn smooth(from: usize, to: usize, stride: usize, last: Activation) -> ResidualConfig {
        let tanh = |conv: ConvBlockConfig| conv.with_activation(Activation::Tanh);
        let first = tanh(conv(from, to, 3).with_stride(stride));
        let branch = vec![first, conv(to, to, 3).with_activation(last)];
        ResidualConfig::new(branch).with_activation(Activation::Tanh)
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        for last in [Activation::Tanh, Activation::Identity] {
            for shortcut in SHORTCUTS {
                let [changing, same] = [smooth(2, 4, 2, last), smooth(2, 2, 1, last)]
                    .map(|config| config.with_shortcut(shortcut).init(&device));
                // As in published networks, the last convolution sums and activates.
                assert_eq!(changing.fused, last == Activation::Identity);
                assert!(same.shortcut.is_none());

                for unit in [changing, same] {
                    assert_gradients(&unit, noise([2, 2, 4, 5], 6, &device), Residual::forward);
                }
            }
        }
    }

    #[test]
    fn gradients_through_a_gate_and_a_path_that_drops_agree_with_finite_differences() {
        let device = device().autodiff();
        device.seed(1);
        for (gate, chance) in [(gate(4), 0.0), (None, 0.5), (gate(4), 0.5)] {
            for shortcut in SHORTCUTS {
                for (from, stride) in [(2, 2), (4, 1)] {
                    let mut unit = smooth(from, 4, stride, Activation::Identity)
                        .with_shortcut(shortcut)
                        .with_se(gate.clone())
                        .with_drop_path(chance)
                        .init(&device);
                    unit.se = unit.se.map(|gate| gate.map(&mut Lift));
                    let x = noise([6, from, 4, 5], 6, &device);
                    let _ = unit.forward(x.clone()); // draws the parameters, before the seed is set

                    assert_gradients(&unit, x, |unit, x| {
                        // The same images are dropped each time.
                        device.seed(7);
                        unit.forward(x)
                    });
                }
            }
        }
    }

    /// Raises a gate's biases, so that differences don't see the kink of its rectifier.
    struct Lift;

    impl ModuleMapper for Lift {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D == 1 { param.map(|bias| Tensor::from_inner(bias.inner() + 2.0)) } else { param }
        }
    }
}
