//! FCN: a class for every pixel, from a classifier's maps and learned upsampling.
//!
//! Long, Shelhamer, Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015.
//! <https://arxiv.org/abs/1411.4038>
//!
//! Shelhamer, Long, Darrell. The same, IEEE TPAMI 39(4), 2017 (all at once, heavy momentum).
//! <https://arxiv.org/abs/1605.06211>
//!
//! Departures from the papers:
//! - images have no border of 100 pixels, which the authors' program gave them and cut off again: the 7×7 convolution pads
//!   its map instead; `border` is for weights that were trained with it;
//! - the last upsampling learns, which was held fixed there;
//! - any backbone with the strides will do. On VGG the skips see the maps behind the pools, as in the paper; elsewhere
//!   those that the backbone offers. A backbone without dense layers is scored as it is.

use burn::module::{Initializer, ModuleDisplay};
use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use kiln_kernels as kernels;
use kiln_layers::{
    Activation, ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Norm, TransposedConv,
    TransposedConvConfig, trace,
};

use crate::segmenter::cut;
use crate::weights::Keys;
use crate::weights::keys::kept;
use crate::{Classifier, Error, FeatureInfo, Segmenter, bounds};

/// Pixels of the image per pixel of the map that is scored first.
const COARSEST: usize = 32;
/// Side of the first hidden convolution, in pixels: what VGG's first dense layer sees.
const SEEN: usize = 7;
/// Zeros around the image with [`border`](FcnConfig::border), beside the one that VGG's first convolution has itself.
const BORDER: usize = 99;
/// Where, with a border, the skips' scores begin that belong to the first pixel of the coarser map, from the coarser
/// skip on (the authors' `crop` layers).
const SKIPPED: [usize; 2] = [5, 9];
/// What the skips' maps are multiplied by where all are trained at once (TPAMI, §4.2).
const AT_ONCE: [f64; 2] = [1e-2, 1e-4];

/// Configuration of an [`Fcn`].
#[derive(Config, Debug)]
pub struct FcnConfig {
    /// Pixels of the image per pixel of the finest map that is scored: 32, 16 or 8.
    pub stride: usize,
    /// Classes to tell apart.
    #[config(default = 21)]
    pub num_classes: usize,
    /// Channels of the convolutions that VGG's two hidden dense layers have become; 0 for none.
    #[config(default = 4096)]
    pub hidden: usize,
    /// Probability that a value of theirs is dropped in training.
    #[config(default = 0.5)]
    pub dropout: f64,
    /// Whether the skips see maps of half their stride after a max pool, as the paper's do on VGG.
    #[config(default = true)]
    pub pooled: bool,
    /// Whether the image gets 100 zeros on each side, and what they bring is cut off.
    #[config(default = false)]
    pub border: bool,
    /// Whether the skips see small values, as where all is trained in one stage.
    #[config(default = false)]
    pub at_once: bool,
}

/// A backbone, hidden convolutions, and scores of one to three of its maps, added and upsampled.
///
/// Built by [`FcnConfig`].
#[derive(Module, Debug)]
pub struct Fcn<N: Module> {
    backbone: N,
    hidden: Vec<ConvBlock>,
    dropout: Dropout,
    score: ConvBlock,
    /// From the coarser on.
    skips: Vec<Skip>,
    /// Makes the scores of a map twice as large, for the next skip.
    doubles: Vec<TransposedConv>,
    upsample: TransposedConv,
    pool: Option<MaxPool>,
    /// Which of the backbone's maps is scored first.
    last: usize,
    /// The first pixel of the result, where there is a border.
    first: Option<usize>,
    in_channels: usize,
}

/// The scores of a finer map.
#[derive(Module, Debug)]
struct Skip {
    conv: ConvBlock,
    /// Which of the backbone's maps it sees, and what that is multiplied by.
    map: usize,
    scale: f64,
}

impl FcnConfig {
    /// FCN-32s on VGG-16: 136,152,917 parameters for 21 classes.
    pub fn fcn32s() -> Self {
        Self::new(32)
    }

    /// FCN-16s on VGG-16: 134,815,994 parameters for 21 classes.
    pub fn fcn16s() -> Self {
        Self::new(16)
    }

    /// FCN-8s on VGG-16: 134,489,759 parameters for 21 classes.
    pub fn fcn8s() -> Self {
        Self::new(8)
    }

    /// Initializes the network on `device` around `backbone`, which offers the maps `offered` and takes images of
    /// `in_channels`. The scores of the backbone are taken away.
    ///
    /// # Errors
    ///
    /// [`Error::Strides`] names the maps that the backbone doesn't offer, [`Error::Options`] what is impossible.
    pub fn init<N: Classifier>(
        &self,
        backbone: N,
        offered: &[FeatureInfo],
        in_channels: usize,
        device: &Device,
    ) -> Result<Fcn<N>, Error> {
        self.check()?;
        let head = format!("fcn{}s", self.stride);
        let skips = self.skips();
        let behind_pool = if self.pooled { 2 } else { 1 };
        let strides = skips.iter().map(|stride| stride / behind_pool);
        let strides: Vec<usize> = std::iter::once(COARSEST).chain(strides).collect();
        let maps = FeatureInfo::find(offered, &strides, &head)?;
        let Some(backbone) = backbone.into_backbone() else {
            let reason = format!("{head} needs a network that can be taken without its own head");
            return Err(Error::Options { reason });
        };

        let mut channels = offered[maps[0]].channels;
        let sides = if self.hidden > 0 { vec![SEEN, 1] } else { Vec::new() };
        let hidden = sides.into_iter().map(|side| {
            let from = std::mem::replace(&mut channels, self.hidden);
            ConvBlockConfig::new([from, self.hidden], side)
                .with_norm(Norm::None)
                .with_padding(self.border.then_some(0))
                .init(device)
        });
        let hidden: Vec<ConvBlock> = hidden.collect();
        let skip = |(&map, scale): (&usize, f64)| Skip {
            conv: self.score(offered[map].channels, device),
            map,
            scale: if self.at_once { scale } else { 1.0 },
        };
        // The authors' `crop` of the result, in the middle of what the border adds.
        let first = match self.stride {
            32 => 19,
            16 => 27,
            _ => 31,
        };
        Ok(Fcn {
            backbone,
            hidden,
            dropout: DropoutConfig::new(self.dropout).init(),
            score: self.score(channels, device),
            skips: maps[1..].iter().zip(AT_ONCE).map(skip).collect(),
            doubles: skips.iter().map(|_| self.upsampling(2).init(device)).collect(),
            upsample: self.upsampling(self.stride).init(device),
            pool: self.pooled.then(|| MaxPoolConfig::new(2, 2).with_ceil(true).init()),
            last: maps[0],
            first: self.border.then_some(first),
            in_channels,
        })
    }

    /// Whether such a head is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if there is no such stride, a number is zero or absurd, or everything is dropped.
    pub fn check(&self) -> Result<(), Error> {
        if ![8, 16, 32].contains(&self.stride) {
            let reason = format!("stride must be 8, 16 or 32, found {}", self.stride);
            return Err(Error::Options { reason });
        }
        bounds::widths(&[("num_classes", &[self.num_classes])])?;
        bounds::widths(&[("hidden", &[self.hidden.max(1)])])?;
        bounds::dropped("dropout", self.dropout)?;
        let upsampling = 2 * self.stride;
        bounds::affordable([
            [SEEN * SEEN, self.hidden, self.hidden],
            [upsampling * upsampling, self.num_classes, self.num_classes],
        ])
    }

    /// Names of the head's parameters in the authors' program, and in those that follow it, behind those of the backbone.
    /// Each call leaves a table of a few hundred bytes in memory for good.
    pub fn keys(&self, backbone: &Keys) -> &'static Keys {
        let layer = |there: &str, here: &str| (there.to_owned(), here.to_owned());
        let below = |&(there, here): &(&str, &str)| {
            layer(&vgg_name(there, here), &format!("backbone.{here}"))
        };
        let mut rows: Vec<_> = backbone.iter().map(below).collect();
        rows.extend([
            layer("fc6", "hidden.0.conv"),
            layer("fc7", "hidden.1.conv"),
            layer("score_fr", "score.conv"),
            layer("score_pool4", "skips.0.conv.conv"),
            layer("score_pool3", "skips.1.conv.conv"),
            layer("upscore2", "doubles.0"),
            layer("upscore_pool4", "doubles.1"),
        ]);
        let upsample = match self.stride {
            32 => "upscore".to_owned(),
            stride => format!("upscore{stride}"),
        };
        rows.push((upsample, "upsample".to_owned()));
        kept(rows)
    }

    /// Strides of the maps that are scored after the first.
    fn skips(&self) -> Vec<usize> {
        [16, 8].into_iter().filter(|&stride| stride >= self.stride).collect()
    }

    /// Scores of each pixel of a map. They begin at zero: a skip that is added to a trained network changes nothing yet.
    fn score(&self, channels: usize, device: &Device) -> ConvBlock {
        ConvBlockConfig::new([channels, self.num_classes], 1)
            .with_norm(Norm::None)
            .with_activation(Activation::Identity)
            .with_initializer(Initializer::Zeros)
            .init(device)
    }

    fn upsampling(&self, factor: usize) -> TransposedConvConfig {
        let config = TransposedConvConfig::upsampling(self.num_classes, factor);
        if self.border { config.with_padding(0) } else { config }
    }
}

/// The name of a layer of the backbone: VGG's convolutions are `conv1_1` and on, others keep their own names behind
/// `backbone`.
fn vgg_name(there: &str, here: &str) -> String {
    let place = there.strip_prefix("features.").and_then(|_| {
        let (stage, block) =
            here.strip_prefix("stages.")?.strip_suffix(".conv")?.split_once('.')?;
        Some((stage.parse::<usize>().ok()?, block.parse::<usize>().ok()?))
    });
    match place {
        Some((stage, block)) => format!("conv{}_{}", stage + 1, block + 1),
        None => format!("backbone.{there}"),
    }
}

impl<N: Classifier + ModuleDisplay> Segmenter for Fcn<N> {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes, height, width]`
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = images.dims();
        let images = match self.first {
            Some(_) => images.pad((BORDER, BORDER, BORDER, BORDER), 0.0),
            None => images,
        };
        let mut maps: Vec<_> = self.backbone.features(images).into_iter().map(Some).collect();
        let mut take = |at: usize| {
            let feature = maps[at].take().expect("every score sees a map of its own");
            feature.map
        };
        let last = take(self.last);
        let finer: Vec<_> = self.skips.iter().map(|skip| take(skip.map)).collect();
        drop(maps);

        let x = self.hidden.iter().fold(last, |x, conv| self.dropout.forward(conv.forward(x)));
        let mut scores = self.score.forward(x);
        let skips = self.skips.iter().zip(&self.doubles).zip(finer).enumerate();
        for (at, ((skip, double), map)) in skips {
            let map = match &self.pool {
                Some(pool) => pool.forward(map),
                None => map,
            };
            let fine = skip.forward(map);
            let coarse = double.forward(scores);
            let [fine, coarse] = match self.first {
                Some(_) => {
                    let [_, _, rows, columns] = coarse.dims();
                    [cut(fine, SKIPPED[at], [rows, columns]), coarse]
                }
                None => {
                    let [_, _, rows, columns] = fine.dims();
                    [fine, cut(coarse, 0, [rows, columns])]
                }
            };
            scores = kernels::add(fine, coarse, kernels::Activation::Identity);
            trace::note(|| trace::Layer::new("add", &scores));
        }
        cut(self.upsample.forward(scores), self.first.unwrap_or(0), [height, width])
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["hidden", "dropout", "score", "skips", "doubles", "upsample"]
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let [channels, height, width] = image;
        if channels != self.in_channels || height == 0 || width == 0 {
            return Err(Error::Small { smallest: [self.in_channels, 1, 1], found: image });
        }
        let around = if self.first.is_some() { 2 * BORDER } else { 0 };
        self.backbone.check_input([channels, height + around, width + around])
    }
}

impl Skip {
    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        self.conv.forward(if self.scale == 1.0 { map } else { map * self.scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::{Vgg, VggConfig};
    use crate::{trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn on(config: &FcnConfig, vgg: &VggConfig) -> Fcn<Vgg> {
        let vgg = vgg.clone().with_ceil(true);
        config.init(vgg.init(&device()), &vgg.features(), vgg.in_channels, &device()).unwrap()
    }

    fn tiny() -> VggConfig {
        VggConfig::vgg11().with_width(1)
    }

    fn small(stride: usize) -> FcnConfig {
        FcnConfig::new(stride).with_hidden(4).with_num_classes(3)
    }

    #[test]
    fn has_the_number_of_parameters_of_the_published_networks() {
        for (config, expected) in [
            (FcnConfig::fcn32s(), 136_152_917),
            (FcnConfig::fcn16s(), 134_815_994),
            (FcnConfig::fcn8s(), 134_489_759),
        ] {
            assert_eq!(trainable(&on(&config, &VggConfig::vgg16())), expected);
        }
    }

    #[test]
    fn matches_the_authors_network_with_its_border_of_100_pixels() {
        for (stride, classes) in [(32, 1), (16, 2), (8, 3)] {
            let golden = Golden::open(&format!("fcn{stride}s"));
            let config = small(stride).with_border(true).with_num_classes(classes);
            let vgg = VggConfig::new([1, 1, 2, 1, 1]).with_width(1);

            let keys = config.keys(vgg.keys());
            let (model, report) = weights::load(on(&config, &vgg), &golden.path(), keys).unwrap();

            assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
            assert_eq!(report.unexpected, ["input", "output"]);
            golden.assert_close("output", model.forward(golden.tensor("input")));
        }
    }

    #[test]
    fn every_pixel_has_scores_whatever_the_size_with_a_border_or_without() {
        for stride in [32, 16, 8] {
            for border in [false, true] {
                let model = on(&small(stride).with_border(border), &tiny());
                for [height, width] in [[32, 32], [33, 47], [64, 50]] {
                    let images = noise([2, 3, height, width], 1, &device());
                    assert_eq!(model.forward(images).dims(), [2, 3, height, width]);
                }
                assert!(model.check_input([1, 64, 64]).is_err());
                assert_eq!(model.check_input([3, 20, 20]).is_ok(), border);
            }
        }
    }

    /// Weights that count, in every score too.
    fn stirred(mut model: Fcn<Vgg>) -> Fcn<Vgg> {
        let scores = model.skips.iter_mut().map(|skip| &mut skip.conv);
        for (seed, conv) in scores.chain([&mut model.score]).enumerate() {
            let weight = &mut conv.conv.weight;
            *weight = weight.clone().map(|w| noise(w.dims(), seed as u64, &w.device()));
        }
        model
    }

    #[test]
    fn a_skip_that_is_added_changes_the_scores_by_its_own_alone() {
        let coarse = stirred(on(&small(16), &tiny()));
        let fine = on(&small(8), &tiny());
        let images = noise([1, 3, 64, 64], 2, &device());

        // FCN-8s with what FCN-16s has learned, as its training begins.
        let staged = Fcn {
            skips: vec![coarse.skips[0].clone(), fine.skips[1].clone()],
            doubles: vec![coarse.doubles[0].clone(), fine.doubles[1].clone()],
            backbone: coarse.backbone.clone(),
            hidden: coarse.hidden.clone(),
            score: coarse.score.clone(),
            ..fine
        };
        let without = Fcn {
            skips: vec![coarse.skips[0].clone(), Skip { scale: 0.0, ..staged.skips[1].clone() }],
            ..staged.clone()
        };

        // Its scores are zero yet, wherever it looks.
        assert_close(staged.forward(images.clone()), without.forward(images.clone()));
        let learned = stirred(staged.clone());
        let changed = learned.forward(images.clone()) - staged.forward(images);
        assert!(changed.abs().max().into_scalar::<f32>() > 1e-3);
    }

    #[test]
    fn all_at_once_the_skips_see_a_hundredth_and_a_ten_thousandth() {
        let plain = stirred(on(&small(8), &tiny()));
        let mut scaled = plain.clone();
        for (skip, scale) in scaled.skips.iter_mut().zip([0.01, 0.0001]) {
            skip.conv.conv.weight = skip.conv.conv.weight.clone().map(|weight| weight / scale);
            skip.scale = scale;
        }
        let at_once = on(&small(8).with_at_once(true), &tiny());
        assert_eq!(at_once.skips.iter().map(|s| s.scale).collect::<Vec<_>>(), [0.01, 0.0001]);
        let images = noise([1, 3, 64, 64], 2, &device());

        assert_close(scaled.forward(images.clone()), plain.forward(images));
    }

    #[test]
    fn what_is_impossible_is_refused_with_the_reason() {
        let vgg = tiny();
        let refused = |config: FcnConfig, offered: &[FeatureInfo]| {
            config.init(vgg.init(&device()), offered, 3, &device()).unwrap_err().to_string()
        };

        let coarse = FeatureInfo::halved(8, &[4, 4, 4]);
        assert!(refused(small(8), &coarse).contains("fcn8s needs a map of the stride 4"));
        assert!(refused(small(4), &coarse).contains("stride must be 8, 16 or 32, found 4"));
        assert!(refused(small(8).with_dropout(1.0), &coarse).contains("dropout"));
        assert!(refused(small(8).with_hidden(1 << 30), &coarse).contains("hidden"));
        assert!(refused(small(8).with_num_classes(0), &coarse).contains("num_classes"));
    }
}
