//! FCN on a dilated backbone, as torchvision has it: scores of one map that was never made coarse.
//!
//! Long, Shelhamer, Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015.
//! <https://arxiv.org/abs/1411.4038>
//!
//! Yu, Koltun. *Multi-Scale Context Aggregation by Dilated Convolutions.* ICLR 2016. <https://arxiv.org/abs/1511.07122>
//!
//! Zhao, Shi, Qi, Wang, Jia. *Pyramid Scene Parsing Network.* CVPR 2017, §3.3 (the auxiliary loss).
//! <https://arxiv.org/abs/1612.01105>
//!
//! Departures from the papers: the head is torchvision's, a 3×3 convolution, batch norm and dropout before the scores,
//! which are upsampled by interpolation and not learned.

use burn::module::ModuleDisplay;
use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use kiln_kernels as kernels;
use kiln_layers::{Activation, ConvBlock, ConvBlockConfig, Norm, trace};

use crate::weights::Keys;
use crate::weights::keys::kept;
use crate::{Classifier, Error, FeatureInfo, Segmenter, bounds};

/// Configuration of a [`DilatedFcn`].
#[derive(Config, Debug)]
pub struct DilatedFcnConfig {
    /// Classes to tell apart.
    #[config(default = 21)]
    pub num_classes: usize,
    /// Whether there is an auxiliary head on the map before the last, which only training looks at.
    #[config(default = true)]
    pub aux: bool,
    /// How many times fewer channels than the map a head has.
    #[config(default = 4)]
    pub narrowing: usize,
    /// Probability that a channel's value is dropped before the scores, in training.
    #[config(default = 0.1)]
    pub dropout: f64,
}

/// A backbone, and a head on its last map.
///
/// Built by [`DilatedFcnConfig`]. On ResNet-50 with an output stride of 8: 35,322,218 parameters for 21 classes with the
/// auxiliary head; on ResNet-101: 54,314,346.
#[derive(Module, Debug)]
pub struct DilatedFcn<N: Module> {
    backbone: N,
    head: Head,
    aux: Option<Head>,
    in_channels: usize,
}

/// A 3×3 convolution, and scores of what it gives.
#[derive(Module, Debug)]
struct Head {
    conv: ConvBlock,
    dropout: Dropout,
    score: ConvBlock,
}

impl DilatedFcnConfig {
    /// Initializes the network on `device` around `backbone`, which offers the maps `offered` and takes images of
    /// `in_channels`. The scores of the backbone are taken away.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] for what is impossible, and for a backbone without maps.
    pub fn init<N: Classifier>(
        &self,
        backbone: N,
        offered: &[FeatureInfo],
        in_channels: usize,
        device: &Device,
    ) -> Result<DilatedFcn<N>, Error> {
        self.check()?;
        let refused = |reason: &str| Error::Options { reason: reason.to_owned() };
        let [.., before, last] = offered else {
            return Err(refused("fcn needs a network that offers two maps at least"));
        };
        let backbone = backbone
            .into_backbone()
            .ok_or_else(|| refused("fcn needs a network that can be taken without its own head"))?;
        Ok(DilatedFcn {
            backbone,
            head: self.head(last.channels, device),
            aux: self.aux.then(|| self.head(before.channels, device)),
            in_channels,
        })
    }

    /// Whether such a head is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or everything is dropped.
    pub fn check(&self) -> Result<(), Error> {
        bounds::widths(&[("num_classes", &[self.num_classes]), ("narrowing", &[self.narrowing])])?;
        bounds::dropped("dropout", self.dropout)
    }

    /// Names of the parameters in torchvision's networks. Each call leaves a table of a few hundred bytes in memory for
    /// good.
    pub fn keys(&self, backbone: &Keys) -> &'static Keys {
        let heads = [("classifier", "head"), ("aux_classifier", "aux")];
        let layers = [("0", "conv.conv"), ("1", "conv.norm"), ("4", "score.conv")];
        let heads = heads.into_iter().flat_map(|(theirs, ours)| {
            layers.map(|(there, here)| (format!("{theirs}.{there}"), format!("{ours}.{here}")))
        });
        let below = backbone
            .iter()
            .map(|(there, here)| (format!("backbone.{there}"), format!("backbone.{here}")));
        kept(below.chain(heads).collect())
    }

    fn head(&self, channels: usize, device: &Device) -> Head {
        let narrow = (channels / self.narrowing).max(1);
        Head {
            conv: ConvBlockConfig::new([channels, narrow], 3).init(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            score: ConvBlockConfig::new([narrow, self.num_classes], 1)
                .with_norm(Norm::None)
                .with_activation(Activation::Identity)
                .init(device),
        }
    }
}

impl<N: Classifier + ModuleDisplay> Segmenter for DilatedFcn<N> {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes, height, width]`
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = images.dims();
        let maps = self.backbone.features(images);
        let last = maps.into_iter().next_back().expect("`init` demands two maps");
        self.head.forward(last.map, [height, width])
    }

    fn forward_all(&self, images: Tensor<4>) -> (Tensor<4>, Vec<Tensor<4>>) {
        let Some(aux) = &self.aux else { return (self.forward(images), Vec::new()) };
        let [_, _, height, width] = images.dims();
        let mut maps = self.backbone.features(images).into_iter();
        let (Some(last), Some(before)) = (maps.next_back(), maps.next_back()) else {
            unreachable!("`init` demands two maps");
        };
        let fork = trace::fork();
        let scores = fork.branch(|| self.head.forward(last.map, [height, width]));
        (scores, vec![fork.branch(|| aux.forward(before.map, [height, width]))])
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["head", "aux"]
    }

    fn training_paths(&self) -> &'static [&'static str] {
        &["aux"]
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        if image[0] != self.in_channels || image.contains(&0) {
            return Err(Error::Small { smallest: [self.in_channels, 1, 1], found: image });
        }
        self.backbone.check_input(image)
    }
}

impl Head {
    fn forward(&self, map: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
        let x = self.dropout.forward(self.conv.forward(map));
        let options = InterpolateOptions::new(InterpolateMode::Bilinear)
            .with_align_corners(false)
            .with_output_size(size);
        let y = kernels::interpolate(self.score.forward(x), options);
        trace::note(|| trace::Layer::new("upsample", &y));
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resnet::{self, Branch, ResNet, ResNetConfig};
    use crate::{trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn on(config: &DilatedFcnConfig, resnet: ResNetConfig) -> DilatedFcn<ResNet> {
        let resnet = resnet.with_output_stride(8);
        config
            .init(resnet.init(&device()), &resnet.features(), resnet.in_channels, &device())
            .unwrap()
    }

    fn tiny() -> ResNetConfig {
        ResNetConfig::new(Branch::Bottleneck, [1, 1, 1, 2]).with_width(1)
    }

    #[test]
    fn has_the_number_of_parameters_of_torchvisions_networks() {
        let config = DilatedFcnConfig::new();
        for (resnet, expected) in
            [(ResNetConfig::resnet50(), 35_322_218), (ResNetConfig::resnet101(), 54_314_346)]
        {
            assert_eq!(trainable(&on(&config, resnet.clone())), expected);
            let plain = trainable(&on(&config.clone().with_aux(false), resnet));
            assert_eq!(expected - plain, 1024 * 256 * 9 + 2 * 256 + 257 * 21);
        }
    }

    #[test]
    fn matches_torchvision_with_its_auxiliary_head() {
        let golden = Golden::open("fcn_dilated");
        let config = DilatedFcnConfig::new().with_num_classes(3);
        let keys = config.keys(resnet::KEYS);

        let (model, report) = weights::load(on(&config, tiny()), &golden.path(), keys).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["aux", "input", "output"]);
        let (scores, aux) = model.forward_all(golden.tensor("input"));
        golden.assert_close("output", scores);
        golden.assert_close("aux", aux.into_iter().next().unwrap());
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn the_auxiliary_head_changes_no_score_and_files_may_have_it_in_vain() {
        let config = DilatedFcnConfig::new().with_num_classes(3);
        let (with, without) = (on(&config, tiny()), on(&config.clone().with_aux(false), tiny()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pth");
        let keys = config.keys(resnet::KEYS);
        weights::export(&with, &file, keys).unwrap();

        let (without, report) = weights::load_segmenter(without, &file, keys).unwrap();

        assert!(report.unexpected.is_empty() && report.missing.is_empty(), "{report}");
        assert!(report.left_out.iter().all(|name| name.starts_with("aux_classifier.")));
        assert!(!report.left_out.is_empty());
        let images = noise([1, 3, 24, 40], 1, &device());
        assert_close(without.forward(images.clone()), with.forward(images.clone()));
        assert!(without.forward_all(images).1.is_empty());
    }

    #[test]
    fn images_of_any_size_have_scores_at_every_pixel() {
        let model = on(&DilatedFcnConfig::new().with_num_classes(2), tiny());

        for [height, width] in [[1, 1], [17, 40], [64, 33]] {
            let images = noise([2, 3, height, width], 1, &device());
            assert_eq!(model.forward(images).dims(), [2, 2, height, width]);
        }
        assert!(model.check_input([1, 8, 8]).is_err() && model.check_input([3, 8, 8]).is_ok());
    }
}
