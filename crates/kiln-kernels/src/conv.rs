//! Convolution with bias, residual and activation in one call: geometry, choice of algorithm, and the public function.

mod choice;
#[cfg(feature = "flex")]
mod depthwise;
#[cfg(feature = "flex")]
pub(crate) mod fold;
#[cfg(feature = "flex")]
pub(crate) mod indirect;
#[cfg(feature = "flex")]
pub(crate) mod run;
#[cfg(feature = "flex")]
mod separable;
pub(crate) mod transpose;
#[cfg(feature = "flex")]
mod winograd;

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

use crate::activation::Activation;
use crate::norm::Norm;

pub use choice::Algorithm;
pub use transpose::conv_transpose2d;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Height and width in.
    pub input: [usize; 2],
    /// Height and width out.
    pub output: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub stride: [usize; 2],
    /// Zeros above and left of the input.
    pub before: [usize; 2],
    /// Zeros below and right of the input.
    pub after: [usize; 2],
    /// Distance between taps, down and right.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Geometry {
    /// The sizes of `conv2d` for an input [batch, channels, height, width] and a weight
    /// [out channels, channels / groups, height, width]; nothing if they do not fit together or an extent is zero.
    #[must_use]
    pub fn new(input: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> Option<Self> {
        let [batch, in_channels, height, width] = input;
        let [out_channels, per_group, kernel_height, kernel_width] = weight;
        let groups = options.groups;
        let kernel = [kernel_height, kernel_width];
        let size = [height, width];
        let positive = [groups, per_group, kernel_height, kernel_width]
            .iter()
            .chain(&options.stride)
            .chain(&options.dilation)
            .all(|&x| x > 0)
            && input.iter().all(|&x| x > 0)
            && out_channels > 0;
        if !positive || per_group * groups != in_channels || out_channels % groups != 0 {
            return None;
        }
        let mut output = [0; 2];
        for i in 0..2 {
            let extent = options.dilation[i] * (kernel[i] - 1) + 1;
            let room =
                (size[i] + options.padding[i].0 + options.padding[i].1).checked_sub(extent)?;
            output[i] = room / options.stride[i] + 1;
        }
        Some(Self {
            batch,
            in_channels,
            out_channels,
            input: size,
            output,
            kernel,
            stride: options.stride,
            before: [options.padding[0].0, options.padding[1].0],
            after: [options.padding[0].1, options.padding[1].1],
            dilation: options.dilation,
            groups,
        })
    }

    /// Positions in the kernel.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Output positions of the whole batch.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// Multiply-adds of the whole batch, as counted by definition.
    #[must_use]
    pub fn multiply_adds(&self) -> usize {
        self.pixels() * self.out_channels * self.taps() * (self.in_channels / self.groups)
    }
}

/// Convolution, then bias, then `residual` added, then `activation`.
///
/// On the flex device in f32 it is one pass of our kernels and the result's memory is channels-last;
/// elsewhere it is burn's operations. A 3×3 convolution of stride 1 may run as Winograd's F(4×4, 3×3), see
/// [`set_exact`](crate::set_exact); there a NaN or an infinity in the input reaches its whole tile of 4×4 outputs as NaN.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - weight: `[out channels, channels / groups, kernel height, kernel width]`
/// - bias: `[out channels]`
/// - residual and output: `[batch, out channels, out height, out width]`
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
    activation: Activation,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) =
        run::flex(&x, &weight, bias.as_ref(), None, &options, activation, residual.as_ref())
    {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) =
        crate::grad::conv2d(&x, &weight, bias.as_ref(), &options, activation, residual.as_ref())
    {
        return out;
    }
    let sum = module::conv2d(x, weight, bias, options);
    activation.burn(match residual {
        Some(residual) => sum + residual,
        None => sum,
    })
}

/// Convolution, then bias, then a batch normalization with fixed statistics, then `residual` added, then `activation`.
///
/// On the flex device in f32 the normalization costs nothing: it is folded into weight and bias when they are packed,
/// and again whenever one of them or a statistic has changed. Where gradients are recorded there, it is folded before
/// the convolution, so that they reach its scale and shift as well; elsewhere it is burn's operation.
///
/// # Shapes
/// As for [`conv2d`]; each vector of the norm is `[out channels]`.
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn conv2d_norm(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    norm: Norm,
    options: ConvOptions<2>,
    activation: Activation,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    {
        let (bias, residual) = (bias.as_ref(), residual.as_ref());
        let out = run::flex(&x, &weight, bias, Some(&norm), &options, activation, residual)
            .or_else(|| {
                crate::grad::frozen(&x, &weight, bias, &norm, &options, activation, residual)
            });
        if let Some(out) = out {
            return out;
        }
    }
    #[cfg(feature = "flex")]
    if crate::grad::serves(&x) {
        let (weight, bias) = norm.fold(weight, bias);
        return conv2d(x, weight, Some(bias), options, activation, residual);
    }
    let sum = norm.apply(conv2d(x, weight, bias, options, Activation::Identity, None));
    activation.burn(match residual {
        Some(residual) => sum + residual,
        None => sum,
    })
}

/// A convolution's parameters, and what follows it.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Weight: [out channels, channels / groups, kernel height, kernel width].
    pub weight: Tensor<4>,
    /// Bias: [out channels].
    pub bias: Option<Tensor<1>>,
    /// Normalization of the outputs, each vector [out channels].
    pub norm: Option<Norm>,
    /// Stride, padding, dilation, groups.
    pub options: ConvOptions<2>,
    /// Applied to the outputs.
    pub activation: Activation,
}

impl Convolution {
    /// Of one map, with `residual` added before the activation: [`conv2d`] or [`conv2d_norm`].
    ///
    /// # Panics
    /// If the shapes do not fit together.
    #[must_use]
    pub fn of(self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let Self { weight, bias, norm, options, activation } = self;
        match norm {
            Some(norm) => conv2d_norm(x, weight, bias, norm, options, activation, residual),
            None => conv2d(x, weight, bias, options, activation, residual),
        }
    }
}

/// One convolution after the other, with `residual` added before the second one's activation.
///
/// Where the first is depthwise and the second 1×1, on a large map on the flex device, the map between them is never
/// whole in memory: the second one reads some rows as soon as they are computed.
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn conv2d_pair(
    x: Tensor<4>,
    first: Convolution,
    second: Convolution,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = run::pair(&x, &first, &second, residual.as_ref()) {
        return out;
    }
    second.of(first.of(x, None), residual)
}

/// Convolutions side by side in one output, as an inception module ends: each of its own map, the same as
/// [`Convolution::of`] and a concatenation of the channels, but every one writes its part of one buffer.
///
/// # Panics
/// If there is none or the shapes do not fit together.
#[must_use]
pub fn conv2d_branches(branches: Vec<(Tensor<4>, Convolution)>) -> Tensor<4> {
    assert!(!branches.is_empty(), "at least one branch is needed");
    #[cfg(feature = "flex")]
    if let Some(out) = run::branches(&branches) {
        return out;
    }
    let maps = branches.into_iter().map(|(x, convolution)| convolution.of(x, None)).collect();
    crate::concat::concat_channels(maps)
}
