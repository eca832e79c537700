//! LeNet in the two forms that published weights are trained in.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.*
//! Proceedings of the IEEE 86(11), 1998, §II.B and fig. 2.
//! <http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf>
//!
//! Departures from the paper, common to both: C3 sees all maps of S2, pooling has no parameters,
//! and a softmax loss follows a dense output layer. `lenet5-tanh` has the paper's sizes and plain
//! tanh. `lenet-caffe` is the example network of Caffe, <https://caffe.berkeleyvision.org>: wider,
//! with max pooling, images of 28×28 pixels without padding, and one rectifier.

use burn::prelude::*;
use kiln_layers::{
    Activation, AvgPool, AvgPoolConfig, ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Mlp,
    MlpConfig, Norm,
};

use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in a widespread PyTorch script for `lenet5-tanh`.
pub const TANH_KEYS: &Keys = &[
    ("convLayer{n+1}", "convs.{n}.conv"),
    ("fcNLayer1", "head.layers.0.linear"),
    ("fcNlayer{n+1}", "head.layers.{n}.linear"),
];

/// Names of the parameters in Caffe's `lenet`.
pub const CAFFE_KEYS: &Keys =
    &[("conv{n+1}", "convs.{n}.conv"), ("ip{n+1}", "head.layers.{n}.linear")];

/// Side of the kernels, in pixels.
const KERNEL: usize = 5;

/// Configuration of a [`LeNet`].
#[derive(Config, Debug)]
pub struct LeNetConfig {
    /// Side of the images, in pixels.
    pub side: usize,
    /// Maps of the two convolutions.
    pub maps: [usize; 2],
    /// Units of the hidden dense layers.
    pub hidden: Vec<usize>,
    /// What follows each convolution.
    pub pooling: Pooling,
    /// Activation of the convolutions.
    pub conv_activation: Activation,
    /// Activation of the hidden dense layers.
    pub hidden_activation: Activation,
    /// Classes to predict.
    #[config(default = 10)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 1)]
    pub in_channels: usize,
}

/// What becomes of four neighbouring pixels.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Average,
    /// The largest of them.
    Max,
}

/// Two convolutions, each with a pool, and dense layers.
///
/// Built by [`LeNetConfig`].
#[derive(Module, Debug)]
pub struct LeNet {
    convs: Vec<ConvBlock>,
    pool: Pool,
    head: Mlp,
    side: usize,
}

#[derive(Module, Debug)]
enum Pool {
    Average(AvgPool),
    Max(MaxPool),
}

impl LeNetConfig {
    /// `lenet5-tanh`, for images of 32×32 pixels: 61,706 parameters.
    pub fn tanh() -> Self {
        let hidden = vec![120, 84];
        Self::new(32, [6, 16], hidden, Pooling::Average, Activation::Tanh, Activation::Tanh)
    }

    /// `lenet-caffe`, for images of 28×28 pixels: 431,080 parameters.
    pub fn caffe() -> Self {
        let hidden = vec![500];
        Self::new(28, [20, 50], hidden, Pooling::Max, Activation::Identity, Activation::Relu)
    }

    /// How the published weights of this form name the parameters.
    pub fn keys(&self) -> &'static Keys {
        match self.pooling {
            Pooling::Average => TANH_KEYS,
            Pooling::Max => CAFFE_KEYS,
        }
    }

    /// Initializes the network on `device`, with weights of variance `1 / fan in`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> LeNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let [first, second] = self.maps;
        let conv = |from, to| {
            ConvBlockConfig::new([from, to], KERNEL)
                .with_padding(Some(0))
                .with_norm(Norm::None)
                .with_activation(self.conv_activation)
                .with_initializer(burn::module::Initializer::KaimingUniform {
                    gain: 1.0,
                    fan_out_only: false,
                })
                .init(device)
        };
        let seen = second * last_side(self.side).pow(2);
        let features = [&[seen], &self.hidden[..], &[self.num_classes]].concat();

        LeNet {
            convs: vec![conv(self.in_channels, first), conv(first, second)],
            pool: match self.pooling {
                Pooling::Average => Pool::Average(AvgPoolConfig::new(2, 2).init()),
                Pooling::Max => Pool::Max(MaxPoolConfig::new(2, 2).init()),
            },
            head: MlpConfig::new(features).with_activation(self.hidden_activation).init(device),
            side: self.side,
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        FeatureInfo::halved(2, &self.maps)
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or nothing is left of the image.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("side", &[self.side]),
            ("maps", &self.maps),
            ("hidden", &self.hidden),
        ])?;
        if last_side(self.side) == 0 {
            let reason =
                format!("nothing is left of images of {0}x{0} pixels; they need 16x16", self.side);
            return Err(Error::Options { reason });
        }
        Ok(())
    }
}

/// Side of the last map for images of `side`.
fn last_side(side: usize) -> usize {
    let shrunk = |side: usize| (side + 1).saturating_sub(KERNEL) / 2;
    shrunk(shrunk(side))
}

impl LeNet {
    fn pool(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.pool {
            Pool::Average(pool) => pool.forward(x),
            Pool::Max(pool) => pool.forward(x),
        }
    }
}

impl Classifier for LeNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, side, side]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        assert_shape!(images, [_, _, self.side, self.side]);

        let maps = self.convs.iter().fold(images, |x, conv| self.pool(conv.forward(x)));
        self.head.forward(maps.flatten(1, 3))
    }

    /// The pooled maps, of strides 2 and 4.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let first = self.pool(self.convs[0].forward(images));
        let second = self.pool(self.convs[1].forward(first.clone()));
        vec![Feature::new(2, first), Feature::new(4, second)]
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        let layers = self.head.to_convolutions(seen, seen);
        Some(ConvolutionalHead { pool: None, layers })
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.convs[0].in_channels();
        let expected = [in_channels, self.side, self.side];
        if image != expected {
            return Err(Error::Input { expected, found: image });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Convolutional, trainable, weights};
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    fn tiny(config: LeNetConfig, hidden: &[usize]) -> LeNetConfig {
        let config = config.with_num_classes(4);
        LeNetConfig { maps: [2, 3], hidden: hidden.to_vec(), ..config }
    }

    #[test]
    fn both_forms_match_pytorch() {
        for (name, config) in [
            ("lenet_tanh", tiny(LeNetConfig::tanh(), &[6, 5])),
            ("lenet_caffe", tiny(LeNetConfig::caffe(), &[6])),
        ] {
            let golden = Golden::open(name);

            let (model, report) =
                weights::load(config.init(&device()), &golden.path(), config.keys()).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn they_have_the_published_numbers_of_parameters() {
        assert_eq!(trainable(&LeNetConfig::tanh().init(&device())), 61_706);
        assert_eq!(trainable(&LeNetConfig::caffe().init(&device())), 431_080);
    }

    #[test]
    fn one_pass_over_a_larger_image_gives_the_scores_of_every_crop() {
        let model = LeNetConfig::tanh().init(&device());
        let sliding = Convolutional::new(model.clone(), [1, 32, 32]).unwrap();
        let image = noise([1, 1, 40, 36], 1, &device());

        let scores = sliding.forward(image.clone());

        assert_eq!(scores.dims(), [1, 10, 3, 2]);
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            let (top, left) = (4 * row, 4 * column);
            let crop = image.clone().slice(s![.., .., top..top + 32, left..left + 32]);
            let here = scores.clone().slice(s![.., .., row, column]).flatten::<2>(1, 3);
            let difference = (here - model.forward(crop)).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-5, "{row}, {column}: {difference}");
        }
    }

    #[test]
    fn the_last_map_is_the_one_that_the_head_sees() {
        let model = LeNetConfig::caffe().init(&device());
        let images = noise([2, 1, 28, 28], 2, &device());

        let features = model.features(images.clone());

        let shapes: Vec<_> = features.iter().map(|map| (map.stride, map.map.dims())).collect();
        assert_eq!(shapes, [(2, [2, 20, 12, 12]), (4, [2, 50, 4, 4])]);
        let last = features[1].map.clone().flatten(1, 3);
        assert_close(model.head.forward(last), model.forward(images));
    }

    #[test]
    fn an_image_of_which_nothing_is_left_is_refused() {
        let check = |side| LeNetConfig { side, ..LeNetConfig::caffe() }.check();

        assert!(check(16).is_ok());
        let error = check(15).unwrap_err().to_string();
        assert!(error.contains("nothing is left of images of 15x15"), "{error}");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let model = tiny(LeNetConfig::tanh(), &[5]).init(&device);

        assert_gradients(&model, noise([2, 1, 32, 32], 1, &device), LeNet::forward);
    }
}
