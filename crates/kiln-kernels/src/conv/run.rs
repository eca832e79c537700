//! Runs a convolution on flex tensors with the chosen algorithm.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use super::{Algorithm, Branch, Geometry, depthwise, indirect, winograd};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::cache::{self, Form};
use crate::dispatch::{Path, exact};
use crate::extension::{flex as primitive, flex_maybe};
use crate::layout::{self, Map};
use crate::pack::{PANEL, Packed};
use crate::parallel::Shared;

/// What is added to the sums and done to them.
pub(crate) struct Epilogue {
    /// Zeros where there is none, padded to whole panels.
    pub(crate) bias: Buffer,
    pub(crate) residual: Option<Map>,
    pub(crate) activation: Activation,
}

/// Where a convolution's pixels go: `step` floats apart, which is more than its channels where it writes some of a wider
/// map's.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) pointer: Shared<f32>,
    pub(crate) step: usize,
}

/// A bias as the kernels read it.
pub(crate) fn padded_bias(bias: Option<&FlexTensor>, columns: usize) -> Buffer {
    let mut out = Buffer::zeros(columns.next_multiple_of(PANEL) + PANEL);
    if let Some(bias) = bias {
        let bias = crate::extension::contiguous(bias);
        out[..columns].copy_from_slice(crate::extension::floats(&bias));
    }
    out
}

pub(super) fn flex(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>> {
    let (x, weight, bias, residual) =
        (primitive(x)?, primitive(weight)?, flex_maybe(bias)?, flex_maybe(residual)?);
    let g = Geometry::new(layout::dims(&x), layout::dims(&weight), options)?;
    let shape = [g.batch, g.out_channels, g.output[0], g.output[1]];
    if let Some(bias) = &bias {
        assert_eq!(
            bias.layout().shape().to_vec(),
            [g.out_channels],
            "the bias must have one value per output channel"
        );
    }
    if let Some(residual) = &residual {
        assert_eq!(
            layout::dims(residual),
            shape,
            "the residual must have the convolution's output shape"
        );
    }
    let out = forward(Path::best(), &g, x, &weight, bias.as_ref(), activation, residual);
    Some(Tensor::from_primitive::<Flex>(out))
}

/// The convolution by the algorithm its sizes call for.
pub(crate) fn forward(
    path: Path,
    g: &Geometry,
    x: FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    activation: Activation,
    residual: Option<FlexTensor>,
) -> FlexTensor {
    let mut out = Buffer::new(g.pixels() * g.out_channels);
    let destination = Destination { pointer: Shared::new(out.pointer()), step: g.out_channels };
    let algorithm = Algorithm::choose(g, exact());
    // SAFETY: the buffer holds the output.
    unsafe { convolve(path, algorithm, g, x, weight, bias, activation, residual, destination) };
    let layout = layout::layout([g.batch, g.out_channels, g.output[0], g.output[1]]);
    FlexTensor::new(out.into_bytes(), layout, DType::F32)
}

/// Several convolutions into one map, side by side in its channels.
pub(super) fn branches(branches: &[Branch]) -> Option<Tensor<4>> {
    let mut parts = Vec::new();
    for b in branches {
        let (x, weight, bias) =
            (primitive(&b.x)?, primitive(&b.weight)?, flex_maybe(b.bias.as_ref())?);
        let g = Geometry::new(layout::dims(&x), layout::dims(&weight), &b.options)?;
        parts.push((x, weight, bias, g, b.activation));
    }
    let first = parts.first()?.3;
    let total: usize = parts.iter().map(|p| p.3.out_channels).sum();
    let mut out = Buffer::new(first.pixels() * total);
    let mut channel = 0;
    for (x, weight, bias, g, activation) in parts {
        assert_eq!(
            (g.batch, g.output),
            (first.batch, first.output),
            "the branches' outputs must have the same batch, height and width"
        );
        if let Some(bias) = &bias {
            assert_eq!(
                bias.layout().shape().to_vec(),
                [g.out_channels],
                "the bias must have one value per output channel"
            );
        }
        // SAFETY: `channel` is less than the pixel's floats.
        let pointer = Shared::new(unsafe { out.pointer().add(channel) });
        let destination = Destination { pointer, step: total };
        // SAFETY: the buffer holds every pixel's channels of every branch.
        unsafe {
            convolve(
                Path::best(),
                Algorithm::choose(&g, exact()),
                &g,
                x,
                &weight,
                bias.as_ref(),
                activation,
                None,
                destination,
            );
        };
        channel += g.out_channels;
    }
    Some(crate::extension::tensor(
        out,
        layout::layout([first.batch, total, first.output[0], first.output[1]]),
    ))
}

/// Reads a weight of any strides: [out, in, y, x].
pub(super) fn reader(weight: &FlexTensor) -> impl Fn(usize, usize, usize, usize) -> f32 + Sync {
    let strides: [isize; 4] =
        weight.layout().strides().try_into().expect("weights have four dimensions");
    let start = weight.layout().start_offset() as isize;
    let storage = weight.storage::<f32>();
    move |k, c, y, x| {
        storage[(start
            + k as isize * strides[0]
            + c as isize * strides[1]
            + y as isize * strides[2]
            + x as isize * strides[3]) as usize]
    }
}

/// Weights as panels, depth ordered kernel row, kernel column, channel.
fn panels(weight: &FlexTensor, g: &Geometry) -> Arc<Packed> {
    cache::packed(weight, Form::Panels { groups: g.groups }, || {
        let (channels, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let strides: [isize; 4] =
            weight.layout().strides().try_into().expect("weights have four dimensions");
        let start = weight.layout().start_offset() as isize;
        let from = weight.storage::<f32>();
        let taps: Vec<isize> = (0..g.taps())
            .map(|tap| {
                (tap / g.kernel[1]) as isize * strides[2]
                    + (tap % g.kernel[1]) as isize * strides[3]
            })
            .collect();
        Packed::by_panels(g.groups, g.taps() * channels, outputs, |group, first, width, out| {
            let count = (outputs - first).min(width);
            if count < width {
                out.fill(0.0);
            }
            // Output by output, so that each filter is read in its own order.
            for j in 0..count {
                let filter = start + (group * outputs + first + j) as isize * strides[0];
                for c in 0..channels {
                    let filter = filter + c as isize * strides[1];
                    for (tap, offset) in taps.iter().enumerate() {
                        out[(tap * channels + c) * width + j] = from[(filter + offset) as usize];
                    }
                }
            }
        })
    })
}

/// Computes into `out`.
///
/// # Safety
/// All pixels of the output must be writable there.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn convolve(
    path: Path,
    algorithm: Algorithm,
    g: &Geometry,
    x: FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    activation: Activation,
    residual: Option<FlexTensor>,
    out: Destination,
) {
    let epilogue = Epilogue {
        bias: padded_bias(bias, g.out_channels),
        residual: residual.map(Map::of),
        activation,
    };
    match algorithm {
        Algorithm::Indirect => {
            indirect::run(path, g, &Map::of(x), &panels(weight, g), &epilogue, out);
        }
        Algorithm::Rows => indirect::run_rows(path, g, x, &panels(weight, g), &epilogue, out),
        Algorithm::Winograd => {
            let weights =
                cache::packed(weight, Form::Winograd, || winograd::transform(path, weight, g));
            winograd::run(path, g, &Map::of(x), &weights, &epilogue, out);
        }
        Algorithm::Depthwise => {
            let weights = cache::packed(weight, Form::Depthwise, || depthwise::pack(weight, g));
            depthwise::run(path, g, &Map::of(x), &weights, &epilogue, out);
        }
    }
}

/// The gradient by a depthwise convolution's input, into `out`.
pub(crate) fn depthwise_data_gradient(
    path: Path,
    g: &Geometry,
    grad: &Map,
    weight: &FlexTensor,
    out: &mut Buffer,
) {
    let weights = cache::packed(weight, Form::Depthwise, || depthwise::pack(weight, g));
    let epilogue = Epilogue {
        bias: padded_bias(None, g.in_channels),
        residual: None,
        activation: Activation::Identity,
    };
    assert_eq!(out.len(), g.batch * g.input[0] * g.input[1] * g.in_channels);
    let destination = Destination { pointer: Shared::new(out.pointer()), step: g.in_channels };
    depthwise::gradient(path, g, grad, &weights, &epilogue, destination);
}

#[cfg(test)]
mod tests;
