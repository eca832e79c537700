//! The inception module: four views of the same map, side by side in its channels.
//!
//! Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich. *Going Deeper with
//! Convolutions.* CVPR 2015, §4 and fig. 2(b). <https://arxiv.org/abs/1409.4842>

use burn::prelude::*;
use kiln_kernels as kernels;

use crate::{
    ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Norm, SqueezeExcite, SqueezeExciteConfig,
    trace,
};

/// Configuration of an [`Inception`] module.
#[derive(Config, Debug)]
pub struct InceptionConfig {
    /// Channels in.
    pub channels: usize,
    /// Channels of the 1×1, the 3×3's reduction, the 3×3, the 5×5's reduction, the 5×5 and the
    /// pool's projection, as in table 1.
    pub widths: [usize; 6],
    /// Side of the largest kernel, in pixels.
    #[config(default = 5)]
    pub kernel: usize,
    /// Normalization after every convolution; the paper has none.
    #[config(default = "Norm::None")]
    pub norm: Norm,
    /// Added to the variance by the normalization.
    #[config(default = 1e-3)]
    pub epsilon: f64,
    /// Width ratio of a squeeze-and-excitation gate that follows (SE-Inception), if one does.
    pub se_reduction: Option<usize>,
}

/// 1×1, 1×1 → 3×3, 1×1 → 5×5 and pool → 1×1, concatenated along the channels.
///
/// Built by [`InceptionConfig`].
#[derive(Module, Debug)]
pub struct Inception {
    one: ConvBlock,
    /// Reduction and 3×3.
    three: [ConvBlock; 2],
    /// Reduction and 5×5.
    five: [ConvBlock; 2],
    pool: MaxPool,
    projection: ConvBlock,
    se: Option<SqueezeExcite>,
}

impl InceptionConfig {
    /// Channels out.
    pub fn channels_out(&self) -> usize {
        let [one, _, three, _, five, projection] = self.widths;
        one + three + five + projection
    }

    /// Initializes the module on `device`.
    ///
    /// # Panics
    ///
    /// Panics if the kernel is zero or even.
    pub fn init(&self, device: &Device) -> Inception {
        assert!(!self.kernel.is_multiple_of(2), "the largest kernel must be odd in {self}");
        let [one, three_reduce, three, five_reduce, five, projection] = self.widths;
        let conv = |from, to, kernel| {
            ConvBlockConfig::new([from, to], kernel)
                .with_norm(self.norm)
                .with_epsilon(self.epsilon)
                .init(device)
        };

        let gate = SqueezeExciteConfig::new(self.channels_out());

        Inception {
            one: conv(self.channels, one, 1),
            three: [conv(self.channels, three_reduce, 1), conv(three_reduce, three, 3)],
            five: [conv(self.channels, five_reduce, 1), conv(five_reduce, five, self.kernel)],
            pool: MaxPoolConfig::new(3, 1).with_padding(1).init(),
            projection: conv(self.channels, projection, 1),
            se: self.se_reduction.map(|reduction| gate.with_reduction(reduction).init(device)),
        }
    }
}

impl Inception {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = if x.device().is_autodiff() || trace::recording() {
            self.views(x)
        } else {
            self.side_by_side(x)
        };
        trace::note(|| trace::Layer::new("concat", &y));
        match &self.se {
            Some(gate) => gate.forward(y),
            None => y,
        }
    }

    /// Each view by itself, as gradients and the trace need them, then all concatenated.
    fn views(&self, x: Tensor<4>) -> Tensor<4> {
        let run = |[reduce, conv]: &[ConvBlock; 2], x| conv.forward(reduce.forward(x));
        let fork = trace::fork();
        let views = vec![
            fork.branch(|| self.one.forward(x.clone())),
            fork.branch(|| run(&self.three, x.clone())),
            fork.branch(|| run(&self.five, x.clone())),
            fork.branch(|| self.projection.forward(self.pool.forward(x))),
        ];
        kernels::concat_channels(views)
    }

    /// The same, each view computed where it lies in the output.
    fn side_by_side(&self, x: Tensor<4>) -> Tensor<4> {
        let device = x.device();
        let run =
            |[reduce, conv]: &[ConvBlock; 2], x| (reduce.forward(x), conv.convolution(&device));
        kernels::conv2d_branches(vec![
            (x.clone(), self.one.convolution(&device)),
            run(&self.three, x.clone()),
            run(&self.five, x.clone()),
            (self.pool.forward(x), self.projection.convolution(&device)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    fn small() -> InceptionConfig {
        InceptionConfig::new(3, [2, 2, 4, 1, 3, 2])
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("inception");
        let module = golden.load(small().with_norm(Norm::Batch).init(&device()));

        golden.assert_close("output", module.forward(golden.tensor("input")));
    }

    #[test]
    fn each_view_has_its_channels_and_the_size_of_the_map_stays() {
        let module = small().init(&device());
        let x = noise([2, 3, 7, 5], 1, &device());

        let y = module.forward(x.clone());

        assert_eq!(y.dims(), [2, small().channels_out(), 7, 5]);
        assert_close(y.clone().narrow(1, 0, 2), module.one.forward(x.clone()));
        let pooled = module.pool.forward(x);
        assert_close(y.narrow(1, 9, 2), module.projection.forward(pooled));
    }

    #[test]
    fn views_side_by_side_are_the_views_concatenated() {
        let golden = Golden::open("inception");
        for norm in [Norm::Batch, Norm::None] {
            let mut module = small().with_norm(norm).init(&device());
            if norm == Norm::Batch {
                module = golden.load(module);
            }
            let x = noise([2, 3, 9, 11], 2, &device());

            let together = module.side_by_side(x.clone());

            together.to_data().assert_eq(&module.views(x).to_data(), true); // bit for bit
        }
    }

    #[test]
    fn counts_as_two_layers_and_its_views_as_one_of_them() {
        let module = small().with_se_reduction(Some(4)).init(&device());

        let (_, layers) =
            trace::record(false, || module.forward(noise([1, 3, 4, 4], 1, &device())));

        assert_eq!(layers.iter().map(|layer| layer.depth).max(), Some(2));
        assert_eq!(layers.last().map(|layer| (layer.kind, layer.depth)), Some(("scale", 2)));
    }

    #[test]
    fn the_reductions_save_the_multiply_adds_that_the_paper_computes_them_for() {
        // Module 3a: 192 maps of 28×28; 5×5 convolutions to 32 maps, by way of 16.
        let macs = |run: &dyn Fn(Tensor<4>) -> Tensor<4>| -> u64 {
            let x = Tensor::zeros([1, 192, 28, 28], &device());
            trace::record(false, || run(x)).1.iter().map(|layer| layer.macs).sum()
        };
        let module = InceptionConfig::new(192, [64, 96, 128, 16, 32, 32]).init(&device());
        let direct = ConvBlockConfig::new([192, 32], 5).init(&device());

        let [reduce, conv] = &module.five;
        let (with, without) =
            (macs(&|x| conv.forward(reduce.forward(x))), macs(&|x| direct.forward(x)));

        assert_eq!(with, 28 * 28 * (192 * 16 + 16 * 32 * 25));
        assert_eq!(without, 28 * 28 * 192 * 32 * 25);
        assert_eq!(without / with, 9);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let conv = |from, to, kernel| {
            ConvBlockConfig::new([from, to], kernel).with_activation(Activation::Tanh).init(&device)
        };
        let module = Inception {
            one: conv(3, 2, 1),
            three: [conv(3, 2, 1), conv(2, 4, 3)],
            five: [conv(3, 1, 1), conv(1, 3, 5)],
            pool: MaxPoolConfig::new(3, 1).with_padding(1).init(),
            projection: conv(3, 2, 1),
            se: None,
        };
        // Values so far apart that no step changes a maximum.
        let values: Vec<f32> = (0..120).map(|i| (i * 37 % 120) as f32 / 30.0 - 2.0).collect();
        let x = Tensor::from_data(TensorData::new(values, [2, 3, 4, 5]), &device);

        assert_gradients(&module, x, Inception::forward);
    }
}
