//! Runs a convolution on flex tensors with the chosen algorithm.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use super::fold::{Parameters, padded_bias};
use super::{Algorithm, Convolution, Geometry, depthwise, indirect, separable, winograd};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::cache::{self, Form};
use crate::dispatch::{Path, exact};
use crate::extension::{flex as primitive, flex_maybe};
use crate::layout::{self, Map};
use crate::norm::Norm;
use crate::pack::Packed;
use crate::parallel::Shared;
use crate::ran::{Ran, ran};

/// What is added to the sums and done to them.
pub(crate) struct Epilogue {
    /// Zeros where there is none, padded to whole panels.
    pub(crate) bias: Arc<Buffer>,
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

pub(super) fn flex(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    norm: Option<&Norm>,
    options: &ConvOptions<2>,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>> {
    let (x, residual) = (primitive(x)?, flex_maybe(residual)?);
    let parameters = Parameters::of(weight, bias, norm)?;
    let g = Geometry::new(layout::dims(&x), layout::dims(&parameters.weight), options)?;
    parameters.check(&g);
    if let Some(residual) = &residual {
        assert_eq!(
            layout::dims(residual),
            [g.batch, g.out_channels, g.output[0], g.output[1]],
            "the residual must have the convolution's output shape"
        );
    }
    let out = forward(Path::best(), &g, x, &parameters, activation, residual);
    Some(Tensor::from_primitive::<Flex>(out))
}

/// The convolution by the algorithm its sizes call for.
pub(crate) fn forward(
    path: Path,
    g: &Geometry,
    x: FlexTensor,
    parameters: &Parameters,
    activation: Activation,
    residual: Option<FlexTensor>,
) -> FlexTensor {
    let mut out = Buffer::new(g.pixels() * g.out_channels);
    let destination = Destination { pointer: Shared::new(out.pointer()), step: g.out_channels };
    let algorithm = Algorithm::choose(g, exact());
    // SAFETY: the buffer holds the output.
    unsafe { convolve(path, algorithm, g, x, parameters, activation, residual, destination) };
    let layout = layout::layout([g.batch, g.out_channels, g.output[0], g.output[1]]);
    FlexTensor::new(out.into_bytes(), layout, DType::F32)
}

/// Several convolutions into one map, side by side in its channels.
pub(super) fn branches(branches: &[(Tensor<4>, Convolution)]) -> Option<Tensor<4>> {
    let mut parts = Vec::new();
    for (x, b) in branches {
        let x = primitive(x)?;
        let parameters = Parameters::of(&b.weight, b.bias.as_ref(), b.norm.as_ref())?;
        let g = Geometry::new(layout::dims(&x), layout::dims(&parameters.weight), &b.options)?;
        parameters.check(&g);
        parts.push((x, parameters, g, b.activation));
    }
    let first = parts.first()?.2;
    let total: usize = parts.iter().map(|p| p.2.out_channels).sum();
    let mut out = Buffer::new(first.pixels() * total);
    let mut channel = 0;
    for (x, parameters, g, activation) in parts {
        assert_eq!(
            (g.batch, g.output),
            (first.batch, first.output),
            "the branches' outputs must have the same batch, height and width"
        );
        // SAFETY: `channel` is less than the pixel's floats.
        let pointer = Shared::new(unsafe { out.pointer().add(channel) });
        let destination = Destination { pointer, step: total };
        let algorithm = Algorithm::choose(&g, exact());
        // SAFETY: the buffer holds every pixel's channels of every branch.
        unsafe {
            convolve(Path::best(), algorithm, &g, x, &parameters, activation, None, destination);
        };
        channel += g.out_channels;
    }
    Some(crate::extension::tensor(
        out,
        layout::layout([first.batch, total, first.output[0], first.output[1]]),
    ))
}

/// A depthwise convolution and the 1×1 convolution behind it, where they are computed together.
pub(super) fn pair(
    x: &Tensor<4>,
    first: &Convolution,
    second: &Convolution,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>> {
    let (x, residual) = (primitive(x)?, flex_maybe(residual)?);
    let of = |c: &Convolution| Parameters::of(&c.weight, c.bias.as_ref(), c.norm.as_ref());
    let (filters, mixing) = (of(first)?, of(second)?);
    let g = Geometry::new(layout::dims(&x), layout::dims(&filters.weight), &first.options)?;
    let between = [g.batch, g.out_channels, g.output[0], g.output[1]];
    let h = Geometry::new(between, layout::dims(&mixing.weight), &second.options)?;
    if !separable::worth(&g, &h) {
        return None;
    }
    filters.check(&g);
    mixing.check(&h);
    let shape = [h.batch, h.out_channels, h.output[0], h.output[1]];
    if let Some(residual) = &residual {
        assert_eq!(
            layout::dims(residual),
            shape,
            "the residual must have the convolution's output shape"
        );
    }
    let (form, weight) = (Form::Panels { groups: 1 }, &mixing.weight);
    let ready = mixing.ready(&h, form, |factors| panels(weight, &h, factors));
    let weight = &filters.weight;
    let inner = filters.ready(&g, Form::Depthwise, |factors| depthwise::pack(weight, &g, factors));
    let epilogue = |bias: &Arc<Buffer>, residual: Option<FlexTensor>, activation| Epilogue {
        bias: Arc::clone(bias),
        residual: residual.map(Map::of),
        activation,
    };
    let between = epilogue(&inner.bias, None, first.activation);
    let last = epilogue(&ready.bias, residual, second.activation);
    let mut out = Buffer::new(h.pixels() * h.out_channels);
    let to = Destination { pointer: Shared::new(out.pointer()), step: h.out_channels };
    let (path, x) = (Path::best(), Map::of(x));
    separable::run(path, &g, &x, &inner.weights, &between, &h, &ready.weights, &last, to);
    Some(crate::extension::tensor(out, layout::layout(shape)))
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

/// Weights as panels, depth ordered kernel row, kernel column, channel; each output's times its factor.
fn panels(weight: &FlexTensor, g: &Geometry, factors: &[f32]) -> Packed {
    let (channels, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let strides: [isize; 4] =
        weight.layout().strides().try_into().expect("weights have four dimensions");
    let start = weight.layout().start_offset() as isize;
    let from = weight.storage::<f32>();
    let taps: Vec<isize> = (0..g.taps())
        .map(|tap| {
            (tap / g.kernel[1]) as isize * strides[2] + (tap % g.kernel[1]) as isize * strides[3]
        })
        .collect();
    Packed::by_panels(g.groups, g.taps() * channels, outputs, |group, first, width, out| {
        let count = (outputs - first).min(width);
        if count < width {
            out.fill(0.0);
        }
        // Output by output, so that each filter is read in its own order.
        for j in 0..count {
            let output = group * outputs + first + j;
            let filter = start + output as isize * strides[0];
            for c in 0..channels {
                let filter = filter + c as isize * strides[1];
                for (tap, offset) in taps.iter().enumerate() {
                    out[(tap * channels + c) * width + j] =
                        from[(filter + offset) as usize] * factors[output];
                }
            }
        }
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
    parameters: &Parameters,
    activation: Activation,
    residual: Option<FlexTensor>,
    out: Destination,
) {
    ran(Ran::Convolution(algorithm));
    let weight = &parameters.weight;
    let epilogue = |bias: &Arc<Buffer>| Epilogue {
        bias: Arc::clone(bias),
        residual: residual.map(Map::of),
        activation,
    };
    match algorithm {
        Algorithm::Indirect | Algorithm::Rows => {
            let form = Form::Panels { groups: g.groups };
            let ready = parameters.ready(g, form, |factors| panels(weight, g, factors));
            let epilogue = epilogue(&ready.bias);
            if algorithm == Algorithm::Rows {
                indirect::run_rows(path, g, x, &ready.weights, &epilogue, out);
            } else {
                indirect::run(path, g, &Map::of(x), &ready.weights, &epilogue, out);
            }
        }
        Algorithm::Winograd => {
            let pack = |factors: &[f32]| winograd::transform(path, weight, g, factors);
            let ready = parameters.ready(g, Form::Winograd, pack);
            winograd::run(path, g, &Map::of(x), &ready.weights, &epilogue(&ready.bias), out);
        }
        Algorithm::Depthwise => {
            let pack = |factors: &[f32]| depthwise::pack(weight, g, factors);
            let ready = parameters.ready(g, Form::Depthwise, pack);
            depthwise::run(path, g, &Map::of(x), &ready.weights, &epilogue(&ready.bias), out);
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
    let ones = vec![1.0; g.in_channels];
    let weights = cache::packed(weight, Form::Depthwise, || depthwise::pack(weight, g, &ones));
    let epilogue = Epilogue {
        bias: Arc::new(padded_bias(None, g.in_channels)),
        residual: None,
        activation: Activation::Identity,
    };
    assert_eq!(out.len(), g.batch * g.input[0] * g.input[1] * g.in_channels);
    let destination = Destination { pointer: Shared::new(out.pointer()), step: g.in_channels };
    depthwise::gradient(path, g, grad, &weights, &epilogue, destination);
}

#[cfg(test)]
mod tests;
