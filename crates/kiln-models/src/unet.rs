//! U-Net: a way down that sees far, a way up that knows where.
//!
//! Ronneberger, Fischer, Brox. *U-Net: Convolutional Networks for Biomedical Image Segmentation.* MICCAI 2015.
//! <https://arxiv.org/abs/1505.04597>
//!
//! Departures from the paper:
//! - convolutions pad their maps, so that the scores are as large as the image and nothing is cropped; in the paper an
//!   image of 572×572 has scores for 388×388 pixels;
//! - images of any size: an odd map keeps its last row and column when it is halved;
//! - batch normalization as an option, as most programs have it.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use kiln_kernels as kernels;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Norm, TransposedConv,
    TransposedConvConfig, trace,
};

use crate::segmenter::cut;
use crate::{Error, Segmenter, bounds};

/// Configuration of a [`UNet`].
#[derive(Config, Debug)]
pub struct UNetConfig {
    /// Classes to tell apart.
    #[config(default = 2)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 1)]
    pub in_channels: usize,
    /// Channels of the first level; each next one doubles them.
    #[config(default = 64)]
    pub width: usize,
    /// How often the map is halved.
    #[config(default = 4)]
    pub depth: usize,
    /// Normalization after each 3×3 convolution; the paper has none.
    #[config(default = "Norm::None")]
    pub norm: Norm,
    /// Probability that a value at the end of the way down is dropped in training.
    #[config(default = 0.5)]
    pub dropout: f64,
}

/// Levels of two convolutions each on the way down, and on the way up beside the map of the same size (fig. 1).
///
/// Built by [`UNetConfig`]: 31,030,658 parameters for grey images and two classes.
#[derive(Module, Debug)]
pub struct UNet {
    /// From the image on.
    down: Vec<Vec<ConvBlock>>,
    pool: MaxPool,
    dropout: Dropout,
    /// From the coarsest map on.
    up: Vec<Step>,
    head: ConvBlock,
    in_channels: usize,
}

/// A step up: a map twice as large, beside that of the way down.
#[derive(Module, Debug)]
struct Step {
    upsample: TransposedConv,
    convs: Vec<ConvBlock>,
}

impl UNetConfig {
    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> UNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let pair = |from: usize, to: usize| -> Vec<ConvBlock> {
            let convs = [from, to].into_iter();
            convs
                .map(|from| ConvBlockConfig::new([from, to], 3).with_norm(self.norm).init(device))
                .collect()
        };
        let width = |level: usize| self.width << level;
        let down = (0..=self.depth).map(|level| {
            pair(if level == 0 { self.in_channels } else { width(level - 1) }, width(level))
        });
        let up = (0..self.depth).rev().map(|level| Step {
            upsample: TransposedConvConfig::new([width(level + 1), width(level)], 2, 2)
                .init(device),
            convs: pair(2 * width(level), width(level)),
        });
        UNet {
            down: down.collect(),
            pool: MaxPoolConfig::new(2, 2).with_ceil(true).init(),
            dropout: DropoutConfig::new(self.dropout).init(),
            up: up.collect(),
            head: ConvBlockConfig::new([self.width, self.num_classes], 1)
                .with_norm(Norm::None)
                .with_activation(Activation::Identity)
                .init(device),
            in_channels: self.in_channels,
        }
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
        ])?;
        if !(1..=10).contains(&self.depth) {
            let reason = format!("depth must be from 1 to 10, found {}", self.depth);
            return Err(Error::Options { reason });
        }
        bounds::dropped("dropout", self.dropout)?;
        let coarsest = self.width << self.depth;
        bounds::affordable([[24, coarsest, coarsest]])
    }
}

impl Segmenter for UNet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes, height, width]`
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut beside = Vec::with_capacity(self.down.len());
        let mut x = images;
        for (level, convs) in self.down.iter().enumerate() {
            if level > 0 {
                beside.push(x.clone());
                x = self.pool.forward(x);
            }
            x = convs.iter().fold(x, |x, conv| conv.forward(x));
        }
        x = self.dropout.forward(x);
        for (step, beside) in self.up.iter().zip(beside.into_iter().rev()) {
            x = step.forward(x, beside);
        }
        self.head.forward(x)
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        if image[0] == self.in_channels && !image.contains(&0) {
            return Ok(());
        }
        Err(Error::Small { smallest: [self.in_channels, 1, 1], found: image })
    }
}

impl Step {
    fn forward(&self, x: Tensor<4>, beside: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = beside.dims();
        let x = cut(self.upsample.forward(x), 0, [height, width]);
        let both = kernels::concat_channels(vec![beside, x]);
        trace::note(|| trace::Layer::new("concat", &both));
        self.convs.iter().fold(both, |x, conv| conv.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise, zeroed};

    fn tiny() -> UNetConfig {
        UNetConfig::new().with_width(2).with_depth(3).with_num_classes(3)
    }

    #[test]
    fn has_as_many_parameters_as_figure_1_and_with_norms_as_most_programs() {
        // The two of each convolution that a norm has more than a bias.
        for (norm, expected) in [(Norm::None, 31_030_658), (Norm::Batch, 31_036_546)] {
            assert_eq!(trainable(&UNetConfig::new().with_norm(norm).init(&device())), expected);
        }
        let photos = UNetConfig::new().with_in_channels(3).with_norm(Norm::Batch);
        assert_eq!(trainable(&photos.init(&device())), 31_037_698);
    }

    #[test]
    fn matches_pytorch_with_and_without_norms() {
        for (name, norm) in [("unet", Norm::None), ("unet_bn", Norm::Batch)] {
            let golden = Golden::open(name);
            let config = tiny().with_norm(norm);

            let (model, report) =
                weights::load(config.init(&device()), &golden.path(), &[]).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn images_of_any_size_have_scores_at_every_pixel() {
        let model = tiny().init(&device());

        for [height, width] in [[1, 1], [8, 16], [13, 21], [33, 10]] {
            let images = noise([2, 1, height, width], 1, &device());
            assert_eq!(model.forward(images).dims(), [2, 3, height, width]);
        }
        assert!(model.check_input([3, 8, 8]).is_err() && model.check_input([1, 8, 8]).is_ok());
    }

    #[test]
    fn without_its_way_down_a_map_still_knows_where_its_pixels_are() {
        let model = tiny().init(&device());
        // Nothing comes up from below, and only what lies beside it is left.
        let mut flat = model.clone();
        flat.up[2].upsample = zeroed(flat.up[2].upsample.clone());
        let image = noise([1, 1, 32, 32], 2, &device());
        let moved = |image: Tensor<4>| image.roll(&[2, 3], &[2, 3]);

        // Four 3×3 convolutions see four pixels around each.
        let inner = |map: Tensor<4>| map.slice(s![.., .., 8..24, 8..24]);
        let here = moved(flat.forward(image.clone()));
        assert_close(inner(flat.forward(moved(image.clone()))), inner(here));
        let with = model.forward(image.clone()) - flat.forward(image);
        assert!(with.abs().max().into_scalar::<f32>() > 1e-4);
    }
}
