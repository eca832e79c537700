//! YOLOv3: boxes on three maps, each of which has seen the coarser one.
//!
//! Redmon, Farhadi. *YOLOv3: An Incremental Improvement.* 2018, §2.1 to 2.3. <https://arxiv.org/abs/1804.02767>
//!
//! `yolov3-spp` and `yolov3-tiny` are those of the authors' program, <https://pjreddie.com/darknet/yolo/>; the pyramid of
//! the first is from He et al. *Spatial Pyramid Pooling in Deep Convolutional Networks.* ECCV 2014, §2.
//! <https://arxiv.org/abs/1406.4729>
//!
//! Departures from the paper: none in the layers, of which the authors' program has more than the paper says: the lengths
//! of the necks and the 1×1 convolutions before the upsampling are from there.

use burn::module::ModuleDisplay;
use burn::prelude::*;
use kiln_kernels as kernels;
use kiln_layers::{Activation, ConvBlock, ConvBlockConfig, Norm};

use crate::darknet_cfg::{noted, pool_around, upsample};
use crate::yolo::{Head, Scores, Units};
use crate::{Classifier, Detector, Error, Feature, FeatureInfo, bounds, error};

/// Pixels of the image per pixel of the coarsest map.
const COARSEST: usize = 32;
/// Sides of the pyramid's windows, in the order in which their maps lie before the map itself.
const PYRAMID: [usize; 3] = [13, 9, 5];
/// Convolutions of the coarsest neck before the pyramid.
const BEFORE_PYRAMID: usize = 3;

/// Configuration of a [`YoloV3`].
#[derive(Config, Debug)]
pub struct YoloV3Config {
    /// Classes to tell apart.
    #[config(default = 80)]
    pub num_classes: usize,
    /// Width and height, in pixels of the image, of the boxes where the network says nothing: the smallest first, as many
    /// for each map, of which the finest has the first ones.
    pub anchors: Vec<[f32; 2]>,
    /// Channels of the 1×1 convolutions on the coarsest map. Those of 3×3 have twice as many, and each finer map half.
    #[config(default = 512)]
    pub width: usize,
    /// Convolutions on each map before what the next one sees, 1×1 and 3×3 in turn, from the coarsest map on.
    pub necks: Vec<usize>,
    /// Channels of a 3×3 convolution on the backbone's last map, after a max pool over 2×2 pixels, one apart; 0 for none.
    #[config(default = 0)]
    pub deepened: usize,
    /// Whether the largest of the 5×5, 9×9 and 13×13 pixels around each are laid beside the coarsest map.
    #[config(default = false)]
    pub spp: bool,
}

/// A detector with maps of boxes of the strides 32, 16, 8 and so on, on any backbone with such maps.
///
/// Built by [`YoloV3Config`].
#[derive(Module, Debug)]
pub struct YoloV3<N: Module> {
    backbone: N,
    deepened: Option<ConvBlock>,
    /// From the coarsest on.
    scales: Vec<Scale>,
    /// Which of the backbone's maps each scale sees.
    #[module(skip)]
    maps: Vec<usize>,
    /// Anchors in pixels, for images of a size that is not known yet.
    #[module(skip)]
    heads: Vec<Head>,
    #[module(skip)]
    spp: bool,
    #[module(skip)]
    in_channels: usize,
}

/// What makes boxes of one map.
#[derive(Module, Debug)]
struct Scale {
    /// Narrows the neck of the coarser map before it is upsampled; the coarsest map has none.
    lateral: Option<ConvBlock>,
    neck: Vec<ConvBlock>,
    branch: ConvBlock,
    output: ConvBlock,
}

impl YoloV3Config {
    /// On Darknet-53: 61,949,149 parameters for COCO's 80 classes.
    pub fn yolov3() -> Self {
        Self::new(COCO.to_vec(), vec![5; 3])
    }

    /// On Darknet-53 with a pyramid of pools: 62,998,749 parameters for COCO's 80 classes.
    pub fn spp() -> Self {
        Self::yolov3().with_spp(true)
    }

    /// On the tiny networks' backbone ([`TINY`](crate::yolov2::TINY)): 8,852,366 parameters for COCO's 80 classes.
    pub fn tiny() -> Self {
        Self::new(COCO_TINY.to_vec(), vec![1, 0]).with_width(256).with_deepened(1024)
    }

    /// Initializes the network on `device` around `backbone`, which offers the maps `offered` and takes images of
    /// `in_channels`. The scores of the backbone, if it has any, are taken away.
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
    ) -> Result<YoloV3<N>, Error> {
        self.check()?;
        let strides: Vec<usize> = (0..self.necks.len()).map(|scale| COARSEST >> scale).collect();
        let maps = FeatureInfo::find(offered, &strides, "yolov3")?;
        let mut seen: Vec<usize> = maps.iter().map(|&at| offered[at].channels).collect();
        let deepened = (self.deepened > 0).then(|| leaky(&mut seen[0], self.deepened, 3, device));
        let heads = self.heads();
        let mut coarser = None;
        let scales = seen.into_iter().zip(&heads).enumerate().map(|(at, (channels, head))| {
            let scale = self.scale(at, channels, coarser, head.channels(), device);
            coarser = Some(scale.1);
            scale.0
        });
        Ok(YoloV3 {
            scales: scales.collect(),
            backbone: backbone.into_backbone().ok_or_else(error::headless)?,
            deepened,
            maps,
            heads,
            spp: self.spp,
            in_channels,
        })
    }

    /// Whether such a head is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd, or the anchors can't be shared out.
    pub fn check(&self) -> Result<(), Error> {
        let scales = self.necks.len();
        if !(1..=COARSEST.ilog2() as usize + 1).contains(&scales) {
            let reason = format!("necks must name 1 to 6 maps, found {scales}");
            return Err(Error::Options { reason });
        }
        error::anchors(&self.anchors, scales)?;
        bounds::widths(&[("num_classes", &[self.num_classes]), ("width", &[self.width])])?;
        bounds::depths("necks", &self.necks, 0)?;
        bounds::depths("deepened", &[self.deepened], 0)?;
        if !self.width.is_multiple_of(1 << (scales - 1)) {
            let reason = format!("width {} can't be halved for each of {scales} maps", self.width);
            return Err(Error::Options { reason });
        }
        if self.spp && self.necks[0] < BEFORE_PYRAMID {
            let reason = format!("spp needs a first neck of at least {BEFORE_PYRAMID} layers");
            return Err(Error::Options { reason });
        }
        let necks = self.necks.iter().map(|&length| [9 * length + 9, self.width, self.width]);
        bounds::affordable(necks)
    }

    /// The anchors shared out: the largest to the coarsest map.
    fn heads(&self) -> Vec<Head> {
        let each = self.anchors.len() / self.necks.len();
        let head = |anchors: &[[f32; 2]]| Head {
            anchors: anchors.to_vec(),
            units: Units::Pixels,
            classes: self.num_classes,
            scores: Scores::Logistic,
            scale_xy: 1.0,
            input: [0, 0],
        };
        self.anchors.rchunks(each).map(head).collect()
    }

    /// Scale number `at`, which sees a map of so many `channels` and, unless it is the coarsest, a neck of `coarser`; and
    /// the channels of its own neck.
    fn scale(
        &self,
        at: usize,
        channels: usize,
        coarser: Option<usize>,
        outputs: usize,
        device: &Device,
    ) -> (Scale, usize) {
        let narrow = self.width >> at;
        let mut channels = channels;
        let lateral = coarser.map(|mut coarser| {
            let lateral = leaky(&mut coarser, narrow, 1, device);
            channels += coarser;
            lateral
        });
        let pyramid = if self.spp && at == 0 { Some(BEFORE_PYRAMID) } else { None };
        let mut neck = Vec::new();
        for layer in 0..self.necks[at] {
            if pyramid == Some(layer) {
                channels *= PYRAMID.len() + 1;
                neck.push(leaky(&mut channels, narrow, 1, device));
            }
            let [to, kernel] = if layer % 2 == 0 { [narrow, 1] } else { [2 * narrow, 3] };
            neck.push(leaky(&mut channels, to, kernel, device));
        }
        let mut wide = channels;
        let branch = leaky(&mut wide, 2 * narrow, 3, device);
        let output = ConvBlockConfig::new([wide, outputs], 1)
            .with_norm(Norm::None)
            .with_activation(Activation::Identity)
            .init(device);
        (Scale { lateral, neck, branch, output }, channels)
    }
}

/// A convolution with batch norm and a leaky rectifier, after which there are `to` channels.
fn leaky(channels: &mut usize, to: usize, kernel: usize, device: &Device) -> ConvBlock {
    let channels = [std::mem::replace(channels, to), to];
    ConvBlockConfig::new(channels, kernel).with_activation(Activation::LeakyRelu).init(device)
}

impl<N: Classifier + ModuleDisplay> Detector for YoloV3<N> {
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`, sides in multiples of 32
    /// - output: from the coarsest map on, `[batch, boxes · (5 + classes), height / stride, width / stride]`
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps: Vec<Option<Feature>> =
            self.backbone.features(images).into_iter().map(Some).collect();
        let mut seen: Vec<Tensor<4>> = self
            .maps
            .iter()
            .map(|&at| maps[at].take().expect("each scale sees a map of its own").map)
            .collect();
        drop(maps);
        if let Some(deepened) = &self.deepened {
            let pooled = noted("max_pool", pool_around(seen[0].clone(), 2));
            seen[0] = deepened.forward(pooled);
        }
        let mut coarser: Option<Tensor<4>> = None;
        let scales = self.scales.iter().zip(seen).enumerate();
        scales
            .map(|(at, (scale, map))| {
                let neck = scale.neck(map, coarser.take(), self.spp && at == 0);
                coarser = Some(neck.clone());
                scale.output.forward(scale.branch.forward(neck))
            })
            .collect()
    }

    fn heads(&self, image: [usize; 2]) -> Vec<Head> {
        self.heads.iter().map(|head| Head { input: image, ..head.clone() }).collect()
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        error::multiples(self.in_channels, COARSEST, image)
    }
}

impl Scale {
    /// What the branch and the next finer map see.
    fn neck(&self, map: Tensor<4>, coarser: Option<Tensor<4>>, spp: bool) -> Tensor<4> {
        let mut x = match (&self.lateral, coarser) {
            (Some(lateral), Some(coarser)) => {
                let coarser = noted("upsample", upsample(lateral.forward(coarser), 2));
                noted("concat", kernels::concat_channels(vec![coarser, map]))
            }
            _ => map,
        };
        for (layer, conv) in self.neck.iter().enumerate() {
            if spp && layer == BEFORE_PYRAMID {
                x = pyramid(x);
            }
            x = conv.forward(x);
        }
        x
    }
}

/// The largest values around each pixel, near and far, before the map itself.
fn pyramid(x: Tensor<4>) -> Tensor<4> {
    let pooled = PYRAMID.map(|side| noted("max_pool", pool_around(x.clone(), side)));
    noted("concat", kernels::concat_channels(pooled.into_iter().chain([x]).collect()))
}

/// The authors' anchors for COCO, in pixels of an image of 416×416 (§2.3).
const COCO: [[f32; 2]; 9] = [
    [10.0, 13.0],
    [16.0, 30.0],
    [33.0, 23.0],
    [30.0, 61.0],
    [62.0, 45.0],
    [59.0, 119.0],
    [116.0, 90.0],
    [156.0, 198.0],
    [373.0, 326.0],
];

/// Those of the tiny network.
const COCO_TINY: [[f32; 2]; 6] =
    [[10.0, 14.0], [23.0, 27.0], [37.0, 58.0], [81.0, 82.0], [135.0, 169.0], [344.0, 319.0]];
