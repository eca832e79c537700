//! YOLOv2: boxes at every cell of one map, with the finer map before it laid beside.
//!
//! Redmon, Farhadi. *YOLO9000: Better, Faster, Stronger.* CVPR 2017, §2. <https://arxiv.org/abs/1612.08242>
//!
//! `yolov2-tiny` is that of the authors' program, <https://pjreddie.com/darknet/yolov2/>.
//!
//! Departures from the paper, all of them the authors' own in that program:
//! - the finer map goes through a 1×1 convolution of 64 channels before it is laid beside;
//! - it is taken apart in darknet's order ([`reorg`](crate::darknet_cfg)), not pixel by pixel as §2 describes;
//! - anchors are the sides of boxes in cells, and not logarithms or fractions of the image.

use burn::module::ModuleDisplay;
use burn::prelude::*;
use kiln_kernels as kernels;
use kiln_layers::{Activation, ConvBlock, ConvBlockConfig, Norm};

use crate::darknet_cfg::{noted, pool_around, reorg};
use crate::yolo::{Head, Scores, Units};
use crate::{Classifier, Detector, Error, FeatureInfo, bounds, error};

/// Pixels of the image per cell.
const STRIDE: usize = 32;
/// Pixels of the image per pixel of the finer map.
const FINER: usize = 16;

/// Configuration of a [`YoloV2`].
#[derive(Config, Debug)]
pub struct YoloV2Config {
    /// Classes to tell apart.
    #[config(default = 80)]
    pub num_classes: usize,
    /// Width and height, in cells, of each of a cell's boxes where the network says nothing.
    pub anchors: Vec<[f32; 2]>,
    /// Channels of the 3×3 convolutions on the last map of the backbone.
    pub neck: Vec<usize>,
    /// Whether a max pool over 2×2 pixels, one apart, comes before those.
    #[config(default = false)]
    pub pool: bool,
    /// Channels of the 1×1 convolution on the finer map, in fours; 0 leaves that map alone.
    #[config(default = 64)]
    pub passthrough: usize,
    /// Channels of the 3×3 convolution on both maps; 0 for none.
    #[config(default = 1024)]
    pub joined: usize,
}

/// A detector with one map of boxes, on any backbone with maps of the strides 16 and 32.
///
/// Built by [`YoloV2Config`].
#[derive(Module, Debug)]
pub struct YoloV2<N: Module> {
    backbone: N,
    neck: Vec<ConvBlock>,
    passthrough: Option<ConvBlock>,
    joined: Option<ConvBlock>,
    output: ConvBlock,
    /// Which of the backbone's maps are the last and the finer one.
    #[module(skip)]
    maps: [usize; 2],
    #[module(skip)]
    pool: bool,
    #[module(skip)]
    head: Head,
    #[module(skip)]
    in_channels: usize,
}

impl YoloV2Config {
    /// On Darknet-19: 50,962,889 parameters for COCO's 80 classes.
    pub fn yolov2() -> Self {
        Self::new(COCO.to_vec(), vec![1024, 1024])
    }

    /// On [`TINY`]: 11,232,057 parameters for COCO's 80 classes.
    pub fn tiny() -> Self {
        Self::new(COCO.to_vec(), vec![1024, 512]).with_pool(true).with_passthrough(0).with_joined(0)
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
    ) -> Result<YoloV2<N>, Error> {
        self.check()?;
        let wanted = if self.passthrough > 0 { vec![STRIDE, FINER] } else { vec![STRIDE] };
        let maps = FeatureInfo::find(offered, &wanted, "yolov2")?;
        let conv = |from: &mut usize, to, kernel| {
            let channels = [std::mem::replace(from, to), to];
            let conv = ConvBlockConfig::new(channels, kernel);
            conv.with_activation(Activation::LeakyRelu).init(device)
        };
        let mut channels = offered[maps[0]].channels;
        let neck = self.neck.iter().map(|&to| conv(&mut channels, to, 3)).collect();
        let passthrough = maps.get(1).map(|&at| {
            let mut finer = offered[at].channels;
            let block = conv(&mut finer, self.passthrough, 1);
            channels += finer * (STRIDE / FINER).pow(2);
            block
        });
        let joined = (self.joined > 0).then(|| conv(&mut channels, self.joined, 3));
        let head = Head {
            anchors: self.anchors.clone(),
            units: Units::Cells,
            classes: self.num_classes,
            scores: Scores::Softmax,
            scale_xy: 1.0,
            input: [0, 0], // of no use to anchors in cells
        };
        Ok(YoloV2 {
            backbone: backbone.into_backbone().ok_or_else(error::headless)?,
            neck,
            passthrough,
            joined,
            output: ConvBlockConfig::new([channels, head.channels()], 1)
                .with_norm(Norm::None)
                .with_activation(Activation::Identity)
                .init(device),
            maps: [maps[0], *maps.last().unwrap_or(&maps[0])],
            pool: self.pool,
            head,
            in_channels,
        })
    }

    /// Whether such a head is possible.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a number is zero or absurd.
    pub fn check(&self) -> Result<(), Error> {
        error::anchors(&self.anchors, 1)?;
        bounds::widths(&[("num_classes", &[self.num_classes]), ("neck", &self.neck)])?;
        bounds::depths("passthrough", &[self.passthrough], 0)?;
        bounds::depths("joined", &[self.joined], 0)?;
        let four = (STRIDE / FINER).pow(2);
        if !self.passthrough.is_multiple_of(four) {
            // Darknet's order takes the map for one of a quarter of its channels.
            let reason =
                format!("passthrough must be a multiple of {four}, found {}", self.passthrough);
            return Err(Error::Options { reason });
        }
        bounds::affordable(self.neck.windows(2).map(|pair| [9, pair[0], pair[1]]))
    }
}

impl<N: Classifier + ModuleDisplay> Detector for YoloV2<N> {
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`, sides in multiples of 32
    /// - output: one map, `[batch, anchors · (5 + classes), height / 32, width / 32]`
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = self.backbone.features(images);
        let [last, finer] = self.maps.map(|at| maps[at].map.clone());
        maps.clear();
        let x = if self.pool { noted("max_pool", pool_around(last, 2)) } else { last };
        let mut x = self.neck.iter().fold(x, |x, conv| conv.forward(x));
        if let Some(passthrough) = &self.passthrough {
            let finer = noted("reorg", reorg(passthrough.forward(finer), STRIDE / FINER));
            x = noted("concat", kernels::concat_channels(vec![finer, x]));
        }
        if let Some(joined) = &self.joined {
            x = joined.forward(x);
        }
        vec![self.output.forward(x)]
    }

    fn heads(&self, image: [usize; 2]) -> Vec<Head> {
        vec![Head { input: image, ..self.head.clone() }]
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        error::multiples(self.in_channels, STRIDE, image)
    }
}

/// Channels of the convolutions of the tiny networks' backbone, by stage: a [`Darknet`](crate::darknet::Darknet) without 1×1
/// convolutions. Both papers' tiny networks have it.
pub const TINY: [[usize; 1]; 6] = [[16], [32], [64], [128], [256], [512]];

/// The authors' anchors for COCO, in cells (k-means with 1 − IoU, §2).
const COCO: [[f32; 2]; 5] = [
    [0.57273, 0.677385],
    [1.87446, 2.06253],
    [3.33843, 5.47434],
    [7.88282, 3.52778],
    [9.77052, 9.16828],
];
