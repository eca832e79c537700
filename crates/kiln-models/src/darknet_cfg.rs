//! Networks that a `.cfg` of darknet describes, layer by layer.
//!
//! Redmon. *Darknet: Open Source Neural Networks in C.* 2013–2016. <https://pjreddie.com/darknet/>, with the additions of
//! its later versions, <https://github.com/AlexeyAB/darknet>, that published networks need: groups, dilation, `mish` and
//! `swish`, `padding` of a pool.
//!
//! Departures from darknet:
//! - batch norm adds 1e-5 to the variance before the root, as the later versions do; the first added 1e-6 to the root;
//! - `yolo` and `region` give the map that they see, and [`Head::candidates`] makes boxes of it;
//! - a shortcut between maps of different shapes is refused, where darknet adds the part that both have;
//! - options that only training uses are passed over, layers that are not listed at [`DarknetCfg`] are refused.

mod layers;
mod parse;
mod plan;

use std::fs;
use std::path::Path;

use burn::nn::DropoutConfig;
use burn::prelude::*;
use burn::tensor::activation::{mish, silu, softmax};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use kiln_kernels as kernels;
use kiln_layers::{ConvBlock, ConvBlockConfig, trace};

use crate::yolo::Head;
use crate::{Detector, Error, error};
use parse::Fault;
use plan::{Act, Plan, Pool, Step};

/// Files of more bytes than this are no description of a network.
const LONGEST: u64 = 1 << 24;
/// Added to the variance by the normalization.
const EPSILON: f64 = 1e-5;

/// A network as a `.cfg` describes it, checked but not built.
///
/// Layers: `convolutional`, `connected`, `maxpool`, `avgpool`, `route`, `shortcut`, `upsample`, `reorg`, `dropout`,
/// `softmax`, `cost`, `region` and `yolo`.
#[derive(Clone, Debug)]
pub struct DarknetCfg {
    plan: Plan,
}

/// A network that a `.cfg` describes.
///
/// Built by [`DarknetCfg`].
#[derive(Module, Debug)]
pub struct CfgNetwork {
    /// What has weights, in the order of the file: convolutions, and connected layers as convolutions of one pixel.
    convs: Vec<ConvBlock>,
    #[module(skip)]
    plan: Plan,
}

impl DarknetCfg {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// Names the file that can't be read, and the line that can't be right.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { file: path.to_owned(), source };
        let wrong = |reason: String| Error::Format { file: path.to_owned(), tensor: None, reason };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > LONGEST {
            return Err(wrong(format!("{length} bytes; a .cfg has at most {LONGEST}")));
        }
        let bytes = fs::read(path).map_err(failed)?;
        // Names in comments may be in any encoding.
        Self::parse(&String::from_utf8_lossy(&bytes), path)
    }

    /// Reads `text`; `name` stands for it in messages.
    ///
    /// # Errors
    ///
    /// Names the line that can't be right.
    pub fn parse(text: &str, name: &Path) -> Result<Self, Error> {
        let plan = parse::sections(text).and_then(|sections| Plan::new(&sections));
        plan.map(|plan| Self { plan }).map_err(|Fault { line, reason }| Error::Format {
            file: name.to_owned(),
            tensor: None,
            reason: format!("line {line}: {reason}"),
        })
    }

    /// Channels, height and width of the images.
    pub fn input(&self) -> [usize; 3] {
        self.plan.input
    }

    /// Channels, height and width of each layer's map for images of that size.
    pub fn shapes(&self) -> impl Iterator<Item = [usize; 3]> {
        self.plan.layers.iter().map(|layer| layer.shape)
    }

    /// Its heads in order.
    pub fn heads(&self) -> &[Head] {
        &self.plan.heads
    }

    /// Numbers in its file of weights, running statistics included.
    pub fn floats(&self) -> usize {
        self.plan.weights.iter().map(plan::Weights::floats).sum()
    }

    /// Initializes the network on `device`.
    pub fn init(&self, device: &Device) -> CfgNetwork {
        let convs = self.plan.weights.iter().map(|weights| {
            ConvBlockConfig::new(weights.channels, weights.kernel)
                .with_stride(weights.stride)
                .with_padding(Some(weights.padding))
                .with_dilation(weights.dilation)
                .with_groups(weights.groups)
                .with_norm(weights.norm)
                .with_epsilon(EPSILON)
                .with_activation(weights.activation)
                .init(device)
        });
        CfgNetwork { convs: convs.collect(), plan: self.plan.clone() }
    }
}

impl CfgNetwork {
    /// The maps of its heads in order; of a network without one, the last layer's.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, boxes · (5 + classes), height / stride, width / stride]` each
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let layers = &self.plan.layers;
        let fuses = !images.device().is_autodiff();
        let mut maps: Vec<Option<Tensor<4>>> = vec![None; layers.len()];
        let mut heads = Vec::new();
        let mut x = images;
        let mut done = 0; // layers that were computed together with an earlier one
        for (at, layer) in layers.iter().enumerate() {
            if at >= done {
                x = match (layer.sum.filter(|_| fuses), &layer.step) {
                    (Some(sum), &Step::Conv { conv, .. }) => {
                        done = sum + 1;
                        let around = layers[sum].sources().map(|from| of(&maps, from)).next();
                        let around = around.expect("a shortcut has a source");
                        let act = layers[sum].act();
                        act.forward(self.convs[conv].forward_residual(x, around))
                    }
                    (_, step) => self.step(step, x, &maps),
                };
            }
            if matches!(layer.step, Step::Head) {
                heads.push(x.clone());
            }
            if layer.kept_until > at {
                maps[at] = Some(x.clone());
            }
            for &over in &layer.frees {
                maps[over] = None;
            }
        }
        if heads.is_empty() { vec![x] } else { heads }
    }

    /// Its heads in the order of the maps that [`forward`](Self::forward) gives.
    pub fn heads(&self) -> &[Head] {
        &self.plan.heads
    }

    /// Channels, height and width of its images.
    pub fn input(&self) -> [usize; 3] {
        self.plan.input
    }

    /// Which of its layers with weights are connected ones.
    pub(crate) fn dense(&self) -> Vec<bool> {
        self.plan.weights.iter().map(|weights| weights.dense).collect()
    }

    fn step(&self, step: &Step, x: Tensor<4>, maps: &[Option<Tensor<4>>]) -> Tensor<4> {
        match step {
            Step::Conv { conv, act } => act.forward(self.convs[*conv].forward(x)),
            Step::Connected { conv, act } => {
                let [batch, channels, height, width] = x.dims();
                let x = x.reshape([batch, channels * height * width, 1, 1]);
                act.forward(self.convs[*conv].forward(x))
            }
            Step::MaxPool(pool) => noted("max_pool", max_pool(x, *pool)),
            Step::AvgPool => noted("global_avg_pool", kernels::global_avg_pool(x)),
            Step::Route { from, groups, group } => {
                let part = |at: &usize| {
                    let map = of(maps, *at);
                    let channels = map.dims()[1] / groups;
                    if *groups == 1 { map } else { map.narrow(1, group * channels, channels) }
                };
                match &from[..] {
                    [one] => part(one),
                    from => {
                        noted("concat", kernels::concat_channels(from.iter().map(part).collect()))
                    }
                }
            }
            Step::Shortcut { from, act } => {
                let add = |x, at: &usize| {
                    noted("add", kernels::add(x, of(maps, *at), kernels::Activation::Identity))
                };
                act.forward(from.iter().fold(x, add))
            }
            Step::Upsample(factor) => noted("upsample", upsample(x, *factor)),
            Step::Reorg { stride, reverse: false } => noted("reorg", reorg(x, *stride)),
            Step::Reorg { stride, reverse: true } => noted("reorg", spread(x, *stride)),
            Step::Dropout(chance) => DropoutConfig::new(*chance).init().forward(x),
            Step::Softmax { groups, temperature } => {
                let shape @ [batch, ..] = x.dims();
                let each = shape[1..].iter().product::<usize>() / groups;
                softmax(x.reshape([batch, *groups, each]) / *temperature, 2).reshape(shape)
            }
            Step::Head | Step::Nothing => x,
        }
    }
}

impl Detector for CfgNetwork {
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.forward(images)
    }

    fn heads(&self, image: [usize; 2]) -> Vec<Head> {
        self.plan.heads.iter().map(|head| Head { input: image, ..head.clone() }).collect()
    }

    /// Its own size only: layers were planned for that.
    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        error::exactly(self.plan.input, image)
    }
}

impl Act {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Done => x,
            Self::Known(activation) => activation.forward(x),
            Self::Silu => silu(x),
            Self::Mish => mish(x),
        }
    }
}

/// The map of an earlier layer, which the plan keeps as long as anybody asks for it.
fn of(maps: &[Option<Tensor<4>>], at: usize) -> Tensor<4> {
    maps[at].clone().expect("the plan keeps what a later layer needs")
}

/// `y`, which an operation of this kind gave, for whoever listens.
pub(crate) fn noted(kind: &'static str, y: Tensor<4>) -> Tensor<4> {
    trace::note(|| trace::Layer::new(kind, &y));
    y
}

/// Windows that begin `before` pixels outside of the map; what is outside is never the largest.
fn max_pool(x: Tensor<4>, pool: Pool) -> Tensor<4> {
    let Pool { size, stride, before, after } = pool;
    let options = MaxPoolOptions::new([size; 2]).with_stride([stride; 2]);
    if before == after {
        return kernels::max_pool2d(x, options.with_padding([before; 2]));
    }
    if stride == 2 && after == before + 1 {
        // A last window that reaches one pixel beyond the border is the one that rounding up adds.
        let options = options.with_padding([before; 2]).with_ceil_mode(true);
        return kernels::max_pool2d(x, options);
    }
    kernels::max_pool2d(x.pad((before, after, before, after), f32::NEG_INFINITY), options)
}

/// The largest of the `side`×`side` pixels around each; of an even number of them, more lie to the right and below.
pub(crate) fn pool_around(x: Tensor<4>, side: usize) -> Tensor<4> {
    let before = (side - 1) / 2;
    max_pool(x, Pool { size: side, stride: 1, before, after: side - 1 - before })
}

/// Each pixel `factor`×`factor` times.
pub(crate) fn upsample(x: Tensor<4>, factor: usize) -> Tensor<4> {
    let [.., height, width] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest)
        .with_output_size([height * factor, width * factor]);
    kernels::interpolate(x, options)
}

/// Every `stride`-th pixel of every `stride`-th row into channels of their own, in darknet's order: it takes the map for one
/// of fewer channels and a larger side, so that neighbours in the result were none in the image.
pub(crate) fn reorg(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let few = channels / (stride * stride);
    x.reshape([batch, few, height, stride, width, stride]).permute([0, 3, 5, 1, 2, 4]).reshape([
        batch,
        channels * stride * stride,
        height / stride,
        width / stride,
    ])
}

/// The way back from channels to pixels, in darknet's order.
fn spread(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let few = channels / (stride * stride);
    x.reshape([batch, stride, stride, few, height, width]).permute([0, 3, 4, 1, 5, 2]).reshape([
        batch,
        few,
        height * stride,
        width * stride,
    ])
}

#[cfg(test)]
mod tests;
