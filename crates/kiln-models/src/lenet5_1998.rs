//! LeNet-5 as it was in 1998: partial connections, scaled tanh, and drawings of the digits.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.*
//! Proceedings of the IEEE 86(11), 1998, §II.B and §II.C.
//! <http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf>
//!
//! Images are 32×32 pixels whose background is −0.1 and whose ink is 1.175, so that a digit has
//! mean 0 and variance 1; in a recipe that is `mean = [0.0784314]` and `std = [0.784314]` for
//! values in 0…1. Images of 28×28 pixels get a border of background.
//!
//! Departures from the paper:
//! - the digits are our own drawings in the style of fig. 3, which shows but doesn't list them; a
//!   class beyond the tenth has a code at random, as far from the others as chance has it;
//! - weights start with variance `1 / fan in`, as the authors recommend in *Efficient BackProp*
//!   (1998, §4.6), where the paper has a range of ±2.4 / fan in;
//! - the paper leaves the constant `j` of its loss open; here it is an option;
//! - training is by any optimizer, where the paper estimates a rate per weight.

use burn::module::Initializer;
use burn::prelude::*;
use burn::tensor::ops::PadMode;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, Dense, DenseConfig, Norm, Objective, TableConv,
    TableConvConfig, Targets, TrainableSubsample, TrainableSubsampleConfig, trace,
};

use crate::weights::Keys;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds};

/// Names of the parameters in a PyTorch module with the paper's layer names, C3's kernels in the
/// order of table I.
pub const KEYS: &Keys = &[("c1", "c1.conv"), ("c5", "c5.conv"), ("f6", "f6.linear")];

/// Side of the images, in pixels.
const SIDE: usize = 32;
/// Side of the images that get a border, in pixels.
const INNER: usize = 28;
/// The value of a pixel without ink.
const BACKGROUND: f32 = -0.1;

/// The maps of S2 that each map of C3 sees (table I).
const TABLE: [&[usize]; 16] = [
    &[0, 1, 2],
    &[1, 2, 3],
    &[2, 3, 4],
    &[3, 4, 5],
    &[0, 4, 5],
    &[0, 1, 5],
    &[0, 1, 2, 3],
    &[1, 2, 3, 4],
    &[2, 3, 4, 5],
    &[0, 3, 4, 5],
    &[0, 1, 4, 5],
    &[0, 1, 2, 5],
    &[0, 1, 3, 4],
    &[1, 2, 4, 5],
    &[0, 2, 3, 5],
    &[0, 1, 2, 3, 4, 5],
];

/// Maps of C1.
const C1: usize = 6;
/// Units of F6: the pixels of a drawing of 7×12.
const CODE: usize = 84;

/// The ten digits, two rows of drawings; `#` is +1 and `.` is −1.
#[rustfmt::skip]
const DIGITS: [[&str; 12]; 2] = [
    [
        "..###.. ...##.. .#####. .#####. ....##.",
        ".##.##. ..###.. ##...## ##...## ...###.",
        "##...## .####.. ##...## .....## ...###.",
        "##...## ...##.. .....## .....## ..####.",
        "##...## ...##.. .....## ....##. ..#.##.",
        "##...## ...##.. ....##. ..####. .##.##.",
        "##...## ...##.. ...##.. ....##. .#..##.",
        "##...## ...##.. ..##... .....## ##..##.",
        "##...## ...##.. .##.... .....## #######",
        "##...## ...##.. ##..... ##...## #######",
        ".##.##. ...##.. ##..... ##...## ....##.",
        "..###.. .###### ####### .#####. ....##.",
    ],
    [
        "####### ..####. ####### .#####. .#####.",
        "##..... .##..## ##...## ##...## ##...##",
        "##..... ##..... .....## ##...## ##...##",
        "##..... ##..... ....##. ##...## ##...##",
        "##..... ##..... ....##. .##.##. ##...##",
        "######. ##.###. ...##.. ..###.. .######",
        ".....## ###..## ...##.. .##.##. .....##",
        ".....## ##...## ...##.. ##...## .....##",
        ".....## ##...## ..##... ##...## .....##",
        ".....## ##...## ..##... ##...## .....##",
        "##...## .##..## ..##... ##...## ##..##.",
        ".#####. ..####. ..##... .#####. .####..",
    ],
];

/// Configuration of a [`LeNet5Of1998`].
#[derive(Config, Debug)]
pub struct LeNet5Of1998Config {
    /// Classes to predict.
    #[config(default = 10)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 1)]
    pub in_channels: usize,
    /// Maps of C5.
    #[config(default = 120)]
    pub c5: usize,
    /// Distance of the rubbish class that competes with the others, the constant `j` of eq. 9:
    /// the loss doesn't push away a class that is farther than that.
    #[config(default = 10.0)]
    pub rubbish: f64,
}

/// LeNet-5 (fig. 2 and table I): 60,000 parameters.
///
/// Built by [`LeNet5Of1998Config`].
#[derive(Module, Debug)]
pub struct LeNet5Of1998 {
    c1: ConvBlock,
    s2: TrainableSubsample,
    c3: TableConv,
    s4: TrainableSubsample,
    c5: ConvBlock,
    f6: Dense,
    num_classes: usize,
    rubbish: f64,
}

impl LeNet5Of1998Config {
    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> LeNet5Of1998 {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let activation = Activation::ScaledTanh;
        let conv = |from, to| {
            ConvBlockConfig::new([from, to], 5)
                .with_padding(Some(0))
                .with_norm(Norm::None)
                .with_activation(activation)
                .with_initializer(Initializer::KaimingUniform { gain: 1.0, fan_out_only: false })
                .init(device)
        };
        let subsample =
            |maps| TrainableSubsampleConfig::new(maps).with_activation(activation).init(device);
        let table = TABLE.map(<[usize]>::to_vec).to_vec();

        LeNet5Of1998 {
            c1: conv(self.in_channels, C1),
            s2: subsample(C1),
            c3: TableConvConfig::new(C1, table, 5).with_activation(activation).init(device),
            s4: subsample(TABLE.len()),
            c5: conv(TABLE.len(), self.c5),
            f6: DenseConfig::new([self.c5, CODE]).with_activation(activation).init(device),
            num_classes: self.num_classes,
            rubbish: self.rubbish,
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        FeatureInfo::halved(2, &[C1, TABLE.len()])
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, negative or absurd.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("c5", &[self.c5]),
        ])?;
        // Beyond it exp(-rubbish) is nothing anyway.
        bounds::positive("rubbish", self.rubbish, 10_000.0)
    }
}

impl LeNet5Of1998 {
    /// What F6 says: a drawing of the digit, where the network is sure.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, 32, 32]`, or 28×28 pixels
    /// - output: `[batch, 84]`, rows of 7 pixels
    pub fn drawing(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, s4] = self.maps(images); // [batch, 16, 5, 5]
        let x = self.c5.forward(s4).flatten(1, 3); // [batch, 120]

        self.f6.forward(x)
    }

    /// The maps of S2 and S4.
    fn maps(&self, images: Tensor<4>) -> [Tensor<4>; 2] {
        let [.., height, width] = images.dims();
        let images = if [height, width] == [INNER; 2] {
            let border = (SIDE - INNER) / 2;
            images.pad([(border, border); 2], PadMode::Constant(BACKGROUND))
        } else {
            images
        };
        let s2 = self.s2.forward(self.c1.forward(images));
        let s4 = self.s4.forward(self.c3.forward(s2.clone()));
        [s2, s4]
    }

    /// The negative squared distances of `drawings`, `[batch, 84]`, to the codes of the classes (eq. 7).
    fn scores(&self, drawings: Tensor<2>) -> Tensor<2> {
        let codes = TensorData::new(codes(self.num_classes), [self.num_classes, CODE]);
        let codes = Tensor::<2>::from_data(codes, &drawings.device());
        // |x - w|² = |x|² - 2 x w + |w|², and every pixel of a drawing is 1 or -1.
        let square = drawings.clone().powi_scalar(2).sum_dim(1) + CODE as f64;
        let y = drawings.matmul(codes.transpose()) * 2.0 - square;

        trace::note(|| trace::Layer::new("rbf", &y));
        y
    }
}

impl Classifier for LeNet5Of1998 {
    /// The negative squared distances to the drawings (eq. 7): the smallest distance wins.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, 32, 32]`, or 28×28 pixels
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.scores(self.drawing(images))
    }

    /// The scores and the paper's loss (eq. 9), in which a rubbish class competes:
    /// `distance + log(exp(-j) + Σ exp(-distance))`. Smoothing counts the rubbish class too.
    fn loss(
        &self,
        images: Tensor<4>,
        targets: Targets,
        objective: &Objective,
    ) -> (Tensor<2>, Tensor<1>) {
        let scores = self.forward(images);
        let rubbish = scores.clone().narrow(1, 0, 1).full_like(-self.rubbish);
        let rivals = Tensor::cat(vec![scores.clone(), rubbish], 1); // [batch, num_classes + 1]
        (scores, objective.among(1).of(rivals, targets.among(1)))
    }

    /// The maps of S2 and S4, of strides 2 and 4.
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let [s2, s4] = self.maps(images);
        vec![Feature::new(2, s2), Feature::new(4, s4)]
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["c5", "f6"]
    }

    /// Of windows of 32×32 pixels only: a smaller one would get its border inside a larger image.
    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        let layers = vec![self.c5.clone(), self.f6.to_convolution(1, 1)];
        let [.., kernel] = self.c5.conv.weight.lazy_shape().dims::<4>();
        (seen == kernel).then_some(ConvolutionalHead { pool: None, layers })
    }

    fn score_map(&self, map: Tensor<4>) -> Tensor<4> {
        let [batch, code, height, width] = map.dims();
        let drawings = map.permute([0, 2, 3, 1]).reshape([batch * height * width, code]);
        let scores = self.scores(drawings);
        scores.reshape([batch, height, width, self.num_classes]).permute([0, 3, 1, 2])
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.c1.in_channels();
        let expected = [in_channels, SIDE, SIDE];
        if image != expected && image != [in_channels, INNER, INNER] {
            return Err(Error::Input { expected, found: image });
        }
        Ok(())
    }
}

/// The codes of `classes` classes, one after the other: the digits, then noise.
fn codes(classes: usize) -> Vec<f32> {
    let digit = |class: usize| {
        let (row, place) = (class / 5, class % 5 * 8);
        DIGITS[row].iter().flat_map(move |line| {
            line[place..place + 7].bytes().map(|pixel| if pixel == b'#' { 1.0 } else { -1.0 })
        })
    };
    let noise = |class: usize| {
        (0..CODE as u64).map(move |pixel| {
            // SplitMix64 (Steele, Lea, Flood. OOPSLA 2014), as a hash of class and pixel.
            let mut bits = ((class as u64) << 32 | pixel).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            if bits >> 63 == 1 { 1.0 } else { -1.0 }
        })
    };
    let digits = (0..classes.min(10)).flat_map(digit);
    digits.chain((10..classes.max(10)).flat_map(noise)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Convolutional, summarize, trainable, weights};
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise};

    fn tiny() -> LeNet5Of1998Config {
        LeNet5Of1998Config::new().with_c5(4)
    }

    #[test]
    fn matches_pytorch_down_to_the_loss() {
        let golden = Golden::open("lenet5_1998");

        let (model, report) = weights::load(tiny().init(&device()), &golden.path(), KEYS).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["codes", "input", "loss", "output", "targets"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
        let targets = Targets::Classes(Tensor::from_ints([7, 2], &device()));
        let (_, loss) = model.loss(golden.tensor("input"), targets, &Objective::default());
        golden.assert_close("loss", loss);
        let codes = Tensor::<1>::from_floats(&codes(10)[..], &device()).reshape([10, CODE]);
        golden.assert_close("codes", codes);
    }

    #[test]
    fn has_the_papers_parameters_and_connections() {
        let model = LeNet5Of1998Config::new().init(&device());
        assert_eq!(trainable(&model), 60_000);

        let summary = summarize(&model, [1, 32, 32], &device()).unwrap();

        let rows: Vec<_> = summary.layers.iter().map(|row| (row.parameters, row.macs)).collect();
        assert_eq!(
            rows,
            [
                (156, 117_600),
                (12, 0),
                (1_516, 150_000),
                (32, 0),
                (48_120, 48_000),
                (10_164, 10_080),
                (0, 0),
            ]
        );
    }

    #[test]
    fn an_image_that_draws_a_digit_is_predicted_as_it() {
        // With zero weights F6 says what its biases say.
        let model = kiln_testkit::zeroed(LeNet5Of1998Config::new().init(&device()));
        for class in 0..10 {
            let code = &codes(10)[class * CODE..(class + 1) * CODE];
            let mut model = model.clone();
            // The activation maps ±1 to ±1.
            model.f6.linear.bias =
                Some(burn::module::Param::from_tensor(Tensor::from_floats(code, &device())));

            let scores = model.forward(Tensor::zeros([1, 1, 32, 32], &device())).to_data();

            let scores: Vec<f32> = scores.iter().collect();
            assert!(scores[class].abs() < 1e-2, "{class}: {scores:?}");
            assert!(scores.iter().filter(|score| **score > -24.0).count() == 1, "{scores:?}");
        }
    }

    #[test]
    fn classes_beyond_the_digits_have_codes_of_their_own() {
        let codes = codes(40);
        assert_eq!(codes.len(), 40 * CODE);

        for (i, a) in codes.chunks(CODE).enumerate() {
            for b in codes.chunks(CODE).skip(i + 1) {
                let different = a.iter().zip(b).filter(|(a, b)| a != b).count();
                assert!(different >= 6, "class {i} differs in {different} pixels only");
            }
        }
    }

    #[test]
    fn one_pass_over_a_larger_image_gives_the_scores_of_every_crop() {
        let model = tiny().init(&device());
        let sliding = Convolutional::new(model.clone(), [1, 32, 32]).unwrap();
        let image = noise([1, 1, 40, 36], 1, &device());

        let scores = sliding.forward(image.clone());

        assert_eq!(scores.dims(), [1, 10, 3, 2]);
        let crop = image.slice(s![.., .., 8..40, 4..36]);
        assert_close(scores.slice(s![.., .., 2, 1]).flatten(1, 3), model.forward(crop));
    }

    #[test]
    fn a_small_image_gets_a_border_of_background() {
        let model = tiny().init(&device());
        let image = noise([2, 1, 28, 28], 1, &device());
        let bordered = Tensor::full([2, 1, 32, 32], BACKGROUND, &device())
            .slice_assign(s![.., .., 2..30, 2..30], image.clone());

        assert!(model.check_input([1, 28, 28]).is_ok() && model.check_input([1, 30, 30]).is_err());
        assert_close(model.forward(image), model.forward(bordered));
    }

    #[test]
    fn a_class_beyond_the_rubbish_is_not_pushed_away() {
        // With zero weights F6 draws its activated biases, here nothing: 84 from every digit.
        let device = device().autodiff();
        let gradient = |rubbish| {
            let config = LeNet5Of1998Config::new().with_rubbish(rubbish);
            let mut model = kiln_testkit::zeroed(config.init(&device));
            let bias = Tensor::<1>::zeros([CODE], &device).require_grad();
            model.f6.linear.bias = Some(burn::module::Param::from_tensor(bias.clone()));
            let (images, targets) =
                (Tensor::zeros([1, 1, 32, 32], &device), Tensor::<1, Int>::from_ints([3], &device));

            let loss = model.loss(images, targets.into(), &Objective::default()).1;

            let bias = model.f6.linear.bias.unwrap().val();
            bias.grad(&loss.backward()).unwrap()
        };
        let codes = Tensor::<1>::from_floats(&codes(10)[..], &device.clone().inner());
        let codes = codes.reshape([10, CODE]);
        // Slope of the activation at 0, twice the distance to a drawing.
        let slope = 2.0 * 1.7159 * 2.0 / 3.0;
        let pull = codes.clone().narrow(0, 3, 1).reshape([CODE]) * -slope;
        let push = codes.mean_dim(0).reshape([CODE]) * slope;

        assert_close(gradient(10.0), pull.clone()); // beyond: drawn to its digit alone
        assert_close(gradient(1000.0), pull + push); // within: away from the others too
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let model = tiny().init(&device);

        assert_gradients(&model, noise([1, 1, 28, 28], 1, &device), |model, images| {
            let targets = Tensor::<1, Int>::from_ints([3], &device);
            let objective = Objective { smoothing: 0.1, ..Objective::default() };
            model.loss(images, targets.into(), &objective).1 * 0.01
        });
    }
}
