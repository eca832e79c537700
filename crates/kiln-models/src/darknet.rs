//! Darknet-19 and its tiny sister: plain stacks of 3×3 convolutions with 1×1 bottlenecks between.
//!
//! Redmon, Farhadi. *YOLO9000: Better, Faster, Stronger.* CVPR 2017, §3 and table 6.
//! <https://arxiv.org/abs/1612.08242>
//!
//! `darknet-tiny` is the `tiny` classifier of the authors' program, <https://pjreddie.com/darknet/>.
//!
//! Departures from the paper: none in the layers. Batch norm adds 1e-3 to the variance, as the
//! PyTorch conversions of the published weights do; the authors' program adds 1e-6 to the
//! deviation. Pools round up as theirs do, so that images of any size go through.

use burn::module::Initializer;
use burn::prelude::*;
use kiln_layers::{
    Activation, AvgPoolConfig, ConvBlock, ConvBlockConfig, MaxPool, MaxPoolConfig, Norm,
    global_avg_pool,
};

use crate::classifier::whole;
use crate::weights::Keys;
use crate::weights::keys::kept;
use crate::{Classifier, ConvolutionalHead, Error, Feature, FeatureInfo, bounds, error};

/// Names of the parameters in a PyTorch module that counts its convolutions from 1 and calls the last one `head`.
pub const KEYS: &Keys =
    &[("conv{n+1}", "convs.{n}.conv"), ("bn{n+1}", "convs.{n}.norm"), ("head", "head.conv")];

/// Configuration of a [`Darknet`].
#[derive(Config, Debug)]
pub struct DarknetConfig {
    /// Channels of each convolution, by stage; the map is halved between stages. A convolution that
    /// narrows is 1×1, the others are 3×3.
    pub stages: Vec<Vec<usize>>,
    /// Classes to predict.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Added to the variance by the normalization.
    #[config(default = 1e-3)]
    pub epsilon: f64,
}

/// A plain stack of convolutions with a 1×1 convolution and a global average as its head.
///
/// Built by [`DarknetConfig`].
#[derive(Module, Debug)]
pub struct Darknet {
    convs: Vec<ConvBlock>,
    /// The convolutions that a max pool comes before.
    #[module(skip)]
    pooled: Vec<usize>,
    pool: MaxPool,
    head: Option<ConvBlock>,
}

impl DarknetConfig {
    /// The tiny classifier: 1,042,104 parameters.
    pub fn tiny() -> Self {
        Self::new(vec![
            vec![16],
            vec![32],
            vec![16, 128, 16, 128],
            vec![32, 256, 32, 256],
            vec![64, 512, 64, 512, 128],
        ])
    }

    /// Darknet-19 (table 6): 20,842,376 parameters.
    pub fn darknet19() -> Self {
        Self::new(vec![
            vec![32],
            vec![64],
            vec![128, 64, 128],
            vec![256, 128, 256],
            vec![512, 256, 512, 256, 512],
            vec![1024, 512, 1024, 512, 1024],
        ])
    }

    /// How a PyTorch module names the parameters that counts its convolutions from 1. The last one, which has the scores,
    /// has the next number or is called `head`.
    pub fn keys(&self) -> &'static Keys {
        let last = self.stages.iter().map(Vec::len).sum::<usize>() + 1;
        let last = format!("conv{last}");
        let rows = [(&*last, "head.conv")].into_iter().chain(KEYS.iter().copied());
        kept(rows.map(|(there, here)| (there.to_owned(), here.to_owned())).collect())
    }

    /// Initializes the network on `device`.
    ///
    /// # Panics
    ///
    /// Panics where [`check`](Self::check) refuses.
    pub fn init(&self, device: &Device) -> Darknet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let mut convs: Vec<ConvBlock> = Vec::new();
        let mut pooled = Vec::new();
        let mut channels = self.in_channels;
        for (stage, widths) in self.stages.iter().enumerate() {
            if stage > 0 {
                pooled.push(convs.len());
            }
            for &width in widths {
                let narrows = width < channels && !convs.is_empty();
                let conv = ConvBlockConfig::new([channels, width], if narrows { 1 } else { 3 })
                    .with_epsilon(self.epsilon)
                    .with_activation(Activation::LeakyRelu);
                convs.push(conv.init(device));
                channels = width;
            }
        }

        Darknet {
            convs,
            pooled,
            pool: MaxPoolConfig::new(2, 2).with_ceil(true).init(),
            head: Some(
                ConvBlockConfig::new([channels, self.num_classes], 1)
                    .with_norm(Norm::None)
                    .with_activation(Activation::Identity)
                    .with_initializer(Initializer::KaimingUniform {
                        gain: 1.0,
                        fan_out_only: false,
                    })
                    .init(device),
            ),
        }
    }

    /// The maps that the network offers to detection and segmentation heads, in order.
    pub fn features(&self) -> Vec<FeatureInfo> {
        let last = self.stages.iter().filter_map(|stage| stage.last().copied());
        FeatureInfo::halved(1, &last.collect::<Vec<_>>())
    }

    /// Whether such a network is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or a stage is empty.
    pub fn check(&self) -> Result<(), Error> {
        if self.stages.is_empty() || self.stages.iter().any(Vec::is_empty) {
            return Err(Error::Options { reason: "every stage needs a convolution".to_owned() });
        }
        let widths = self.stages.concat();
        bounds::widths(&[
            ("num_classes", &[self.num_classes]),
            ("in_channels", &[self.in_channels]),
            ("stages", &widths),
        ])?;
        bounds::positive("epsilon", self.epsilon, 1.0)?;
        bounds::affordable(widths.windows(2).map(|pair| [1, pair[0], pair[1]]))
    }
}

impl Darknet {
    /// The last map. `tap` sees each stage's map and its stride.
    fn maps(&self, images: Tensor<4>, mut tap: impl FnMut(usize, &Tensor<4>)) -> Tensor<4> {
        let mut x = images;
        let mut stride = 1;
        for (i, conv) in self.convs.iter().enumerate() {
            if self.pooled.contains(&i) {
                tap(stride, &x);
                x = self.pool.forward(x);
                stride *= 2;
            }
            x = conv.forward(x);
        }
        tap(stride, &x);
        x
    }
}

impl Classifier for Darknet {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.maps(images, |_, _| {});

        global_avg_pool(whole(&self.head).forward(x))
    }

    /// The maps of the stages, of strides 1, 2, 4, …
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        Feature::shown(|show| {
            self.maps(images, show);
        })
    }

    fn into_backbone(self) -> Option<Self> {
        Some(Self { head: None, ..self })
    }

    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        let pool = AvgPoolConfig::new(seen, 1).init();
        Some(ConvolutionalHead { pool: Some(pool), layers: vec![self.head.clone()?] })
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let in_channels = self.convs[0].in_channels();
        error::at_least([in_channels, 1, 1], image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{trainable, weights};
    use kiln_testkit::{Golden, assert_close, device, noise};

    fn small() -> DarknetConfig {
        DarknetConfig::new(vec![vec![4], vec![6, 3, 6], vec![8]]).with_num_classes(5)
    }

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("darknet");
        let model = small().init(&device());

        let (model, report) = weights::load(model, &golden.path(), small().keys()).unwrap();

        assert!(report.missing.is_empty() && report.misshapen.is_empty(), "{report}");
        assert_eq!(report.unexpected, ["input", "output"]);
        golden.assert_close("output", model.forward(golden.tensor("input")));
    }

    #[test]
    fn has_the_published_number_of_parameters() {
        for (config, expected) in
            [(DarknetConfig::tiny(), 1_042_104), (DarknetConfig::darknet19(), 20_842_376)]
        {
            assert_eq!(trainable(&config.init(&device())), expected);
        }
    }

    #[test]
    fn darknet19_has_nineteen_convolutions_and_five_pools() {
        let model = DarknetConfig::darknet19().init(&device());

        assert_eq!((model.convs.len() + 1, model.pooled.len()), (19, 5));
        let kernels: Vec<usize> =
            model.convs.iter().map(|conv| conv.conv.weight.lazy_shape().dims::<4>()[2]).collect();
        assert_eq!(kernels, [3, 3, 3, 1, 3, 3, 1, 3, 3, 1, 3, 1, 3, 3, 1, 3, 1, 3]);
    }

    #[test]
    fn features_are_halved_from_stage_to_stage_and_odd_sizes_round_up() {
        let model = small().init(&device());

        let features = model.features(noise([2, 3, 13, 9], 1, &device()));

        let shapes: Vec<_> = features.iter().map(|f| (f.stride, f.map.dims())).collect();
        assert_eq!(shapes, [(1, [2, 4, 13, 9]), (2, [2, 6, 7, 5]), (4, [2, 8, 4, 3])]);
    }

    #[test]
    fn an_image_of_one_pixel_goes_through() {
        let model = small().init(&device());

        assert!(model.check_input([3, 1, 1]).is_ok() && model.check_input([3, 0, 1]).is_err());
        assert_eq!(model.forward(noise([1, 3, 1, 1], 1, &device())).dims(), [1, 5]);
    }

    #[test]
    fn a_larger_image_gives_the_mean_of_a_map_of_scores() {
        let model = small().init(&device());
        let x = noise([1, 3, 16, 24], 2, &device());

        let map = whole(&model.head).forward(model.maps(x.clone(), |_, _| {}));

        assert_eq!(map.dims(), [1, 5, 4, 6]);
        assert_close(model.forward(x), map.mean_dims(&[2, 3]).flatten(1, 3));
    }
}
