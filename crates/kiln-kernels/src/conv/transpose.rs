//! Transposed convolution, without inserted zeros: the outputs of each phase of the stride are a small convolution of
//! their own, over those taps that meet an input pixel there.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::ConvTransposeOptions;

use crate::activation::Activation;

/// Transposed convolution, then bias, then `activation`.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - weight: `[channels, out channels / groups, kernel height, kernel width]`
/// - bias: `[out channels]`
/// - output: `[batch, out channels, (height − 1) · stride + dilation · (kernel height − 1) + 1 + padding out − 2 · padding, …]`
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<2>,
    activation: Activation,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, &weight, bias.as_ref(), &options, activation) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) =
        crate::grad::conv_transpose2d(&x, &weight, bias.as_ref(), &options, activation)
    {
        return out;
    }
    activation.burn(module::conv_transpose2d(x, weight, bias, options))
}

#[cfg(feature = "flex")]
pub(crate) mod kernel {
    use super::{Activation, ConvTransposeOptions, Tensor};
    use burn::backend::flex::FlexTensor;

    use super::super::fold::padded_bias;
    use super::super::run::reader;
    use crate::buffer::Buffer;
    use crate::cache::{self, Form};
    use crate::conv::Geometry;
    use crate::dispatch::Path;
    use crate::extension::{flex as primitive, flex_maybe};
    use crate::gemm::{self, Block, Rows, Target};
    use crate::layout::{self, Map};
    use crate::pack::{PANEL, Packed, panels};
    use crate::parallel::{Shared, for_each, part, threads};

    pub(super) fn flex(
        x: &Tensor<4>,
        weight: &Tensor<4>,
        bias: Option<&Tensor<1>>,
        options: &ConvTransposeOptions<2>,
        activation: Activation,
    ) -> Option<Tensor<4>> {
        let (x, weight, bias) = (primitive(x)?, primitive(weight)?, flex_maybe(bias)?);
        let sizes = Sizes::new(layout::dims(&x), layout::dims(&weight), options)?;
        if let Some(bias) = &bias {
            let sizes = [sizes.channels()];
            assert_eq!(
                bias.layout().shape().to_vec(),
                sizes,
                "the bias must have one value per output channel"
            );
        }
        let out = convolve(Path::best(), &sizes, x, &weight, bias.as_ref(), activation);
        let shape = [sizes.batch, sizes.channels(), sizes.output[0], sizes.output[1]];
        Some(crate::extension::tensor(out, layout::layout(shape)))
    }

    /// The output, channels-last.
    pub(crate) fn convolve(
        path: Path,
        s: &Sizes,
        x: FlexTensor,
        weight: &FlexTensor,
        bias: Option<&FlexTensor>,
        activation: Activation,
    ) -> Buffer {
        let form =
            Form::Transposed { options: [s.stride, s.padding, s.dilation], groups: s.groups };
        let phases = cache::packed(weight, form, || pack(weight, s));
        let bias = padded_bias(bias, s.channels());
        let mut out = Buffer::new(s.batch * s.output[0] * s.output[1] * s.channels());
        run(path, s, &Map::of(x), &phases, &bias, activation, &mut out);
        out
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Sizes {
        pub(crate) batch: usize,
        /// Channels in and out, per group.
        depth: usize,
        pub(crate) columns: usize,
        pub(crate) groups: usize,
        input: [usize; 2],
        pub(crate) output: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
    }

    impl Sizes {
        pub(crate) fn new(
            x: [usize; 4],
            weight: [usize; 4],
            o: &ConvTransposeOptions<2>,
        ) -> Option<Self> {
            let positive =
                x.iter().chain(&weight).chain(&o.stride).chain(&o.dilation).all(|&v| v > 0)
                    && o.groups > 0;
            if !positive || weight[0] != x[1] || !x[1].is_multiple_of(o.groups) {
                return None;
            }
            let mut output = [0; 2];
            for i in 0..2 {
                let full = (x[2 + i] - 1) * o.stride[i]
                    + o.dilation[i] * (weight[2 + i] - 1)
                    + 1
                    + o.padding_out[i];
                output[i] = full.checked_sub(2 * o.padding[i]).filter(|&size| size > 0)?;
            }
            Some(Self {
                batch: x[0],
                depth: x[1] / o.groups,
                columns: weight[1],
                groups: o.groups,
                input: [x[2], x[3]],
                output,
                kernel: [weight[2], weight[3]],
                stride: o.stride,
                padding: o.padding,
                dilation: o.dilation,
            })
        }

        /// Channels out.
        pub(crate) fn channels(&self) -> usize {
            self.columns * self.groups
        }

        /// The convolution that this one transposes.
        pub(crate) fn convolution(&self) -> Geometry {
            Geometry {
                batch: self.batch,
                in_channels: self.channels(),
                out_channels: self.depth * self.groups,
                input: self.output,
                output: self.input,
                kernel: self.kernel,
                stride: self.stride,
                before: self.padding,
                after: self.padding,
                dilation: self.dilation,
                groups: self.groups,
            }
        }

        /// Those that take a convolution's gradient back to its input; the weight is the convolution's own.
        pub(crate) fn gradient_of(g: &Geometry) -> Self {
            Self {
                batch: g.batch,
                depth: g.out_channels / g.groups,
                columns: g.in_channels / g.groups,
                groups: g.groups,
                input: g.output,
                output: g.input,
                kernel: g.kernel,
                stride: g.stride,
                padding: g.before,
                dilation: g.dilation,
            }
        }

        /// Taps along one axis that meet an input pixel at outputs of this phase.
        fn taps(&self, axis: usize, phase: usize) -> Vec<usize> {
            let (stride, padding) = (self.stride[axis], self.padding[axis]);
            (0..self.kernel[axis])
                .filter(|k| {
                    (phase + padding + k * self.dilation[axis].wrapping_mul(stride - 1))
                        .is_multiple_of(stride)
                })
                .collect()
        }

        /// The input coordinate that `tap` meets at output coordinate `at`, if it lies inside.
        fn meets(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
            let input = (at + self.padding[axis]).checked_sub(tap * self.dilation[axis])?
                / self.stride[axis];
            (input < self.input[axis]).then_some(input)
        }
    }

    /// The packed weights of each phase, or nothing where no tap meets a pixel.
    pub(crate) fn pack(weight: &FlexTensor, s: &Sizes) -> Vec<Option<Packed>> {
        let read = reader(weight);
        (0..s.stride[0] * s.stride[1])
            .map(|phase| {
                let (down, right) =
                    (s.taps(0, phase / s.stride[1]), s.taps(1, phase % s.stride[1]));
                let taps = down.len() * right.len();
                (taps > 0).then(|| {
                    Packed::new(s.groups, taps * s.depth, s.columns, |group, k, j| {
                        let (tap, c) = (k / s.depth, k % s.depth);
                        read(
                            group * s.depth + c,
                            j,
                            down[tap / right.len()],
                            right[tap % right.len()],
                        )
                    })
                })
            })
            .collect()
    }

    pub(crate) fn run(
        path: Path,
        s: &Sizes,
        x: &Map,
        phases: &[Option<Packed>],
        bias: &Buffer,
        activation: Activation,
        out: &mut Buffer,
    ) {
        let channels = s.columns * s.groups;
        let outside = Buffer::zeros(s.depth * s.groups);
        let (source, zeros, target) =
            (Shared::of(x.pointer()), Shared::of(outside.as_ptr()), Shared::new(out.pointer()));
        let lines = s.batch * s.output[0] * s.stride[1];
        // A large kernel's weights go to all columns of lines in turn; few lines are cut by outputs as well.
        let by_columns =
            if lines < threads() * 4 { panels(s.columns).min(threads() * 4) } else { 1 };
        let work = lines * s.output[1].div_ceil(s.stride[1]) * s.depth * channels;
        for_each(lines * by_columns, work, |task| {
            let (line, columns) =
                (task / by_columns, part(panels(s.columns), by_columns, task % by_columns));
            // Phases outermost, so that one phase's weights serve many lines.
            let (phase_x, row) = (line / (s.batch * s.output[0]), line % (s.batch * s.output[0]));
            let (image, oy) = (row / s.output[0], row % s.output[0]);
            let count = s.output[1].saturating_sub(phase_x).div_ceil(s.stride[1]);
            if count == 0 {
                return;
            }
            let phase_y = oy % s.stride[0];
            let (down, right) = (s.taps(0, phase_y), s.taps(1, phase_x));
            let Some(packed) = &phases[phase_y * s.stride[1] + phase_x] else {
                // No tap meets a pixel here: nothing but the bias.
                let columns = columns.start * PANEL * s.groups
                    ..(columns.end * PANEL * s.groups).min(channels);
                for pixel in (phase_x..s.output[1]).step_by(s.stride[1]) {
                    // SAFETY: the pixel's columns lie within the output and are this task's alone.
                    unsafe {
                        let to = target
                            .get()
                            .add((row * s.output[1] + pixel) * channels + columns.start);
                        std::ptr::copy_nonoverlapping(
                            bias[columns.clone()].as_ptr(),
                            to,
                            columns.len(),
                        );
                        crate::activation::in_place(path, activation, to, columns.len());
                    }
                }
                return;
            };
            let taps = down.len() * right.len();
            let mut table = vec![zeros.get().cast_const(); taps * count];
            for (i, &ky) in down.iter().enumerate() {
                let Some(y) = s.meets(0, oy, ky) else { continue };
                for (j, &kx) in right.iter().enumerate() {
                    for p in 0..count {
                        if let Some(at) = s.meets(1, phase_x + p * s.stride[1], kx) {
                            let pixel = (image * s.input[0] + y) * s.input[1] + at;
                            // SAFETY: the pixel lies within the map.
                            table[(i * right.len() + j) * count + p] =
                                unsafe { source.get().cast_const().add(pixel * x.step) };
                        }
                    }
                }
            }
            for group in 0..s.groups {
                let first = group * s.columns;
                let block = Block {
                    rows: Rows::Table(table.as_ptr(), group * s.depth),
                    count,
                    taps,
                    depth: s.depth,
                    weights: packed.group(group),
                    columns: s.columns,
                    panels: (columns.start, columns.end),
                    target: Target {
                        // SAFETY: the line's first pixel lies within the output.
                        out: unsafe {
                            target.get().add((row * s.output[1] + phase_x) * channels + first)
                        },
                        step: s.stride[1] * channels,
                        bias: bias[first..].as_ptr(),
                        residual: std::ptr::null(),
                        residual_step: 0,
                        activation,
                    },
                };
                // SAFETY: the table leads to `depth` floats per tap; tasks write disjoint pixels or columns.
                unsafe { gemm::run(path, &block) };
            }
        });
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::{assert_close, floats};
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;
    use kernel::{Sizes, pack, run};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn transposed_convolution_scatters_every_input_pixel(
            batch in 1usize..3, depth in 1usize..10, outputs in 1usize..20, groups in 1usize..3, size in [1usize..7, 1usize..7],
            kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4], padding in [0usize..3, 0usize..3],
            extra in [0usize..3, 0usize..3], dilation in [1usize..3, 1usize..3], seed in 0u64..1_000_000,
        ) {
            let options = ConvTransposeOptions::new(stride, padding, extra, dilation, groups);
            let (x_shape, w_shape) = ([batch, depth * groups, size[0], size[1]], [depth * groups, outputs, kernel[0], kernel[1]]);
            if let Some(sizes) = Sizes::new(x_shape, w_shape, &options) {
                let x = floats(x_shape.iter().product(), seed);
                let w = floats(w_shape.iter().product(), seed + 1);
                let channels = outputs * groups;
                let b = floats(channels, seed + 2);
                let [height, width] = sizes.output;
                let mut expected: Vec<f32> = (0..batch * height * width).flat_map(|_| b.clone()).collect();
                for n in 0..batch {
                    for c in 0..depth * groups {
                        for (y, at) in (0..size[0]).flat_map(|y| (0..size[1]).map(move |at| (y, at))) {
                            for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx))) {
                                let oy = (y * stride[0] + ky * dilation[0]).wrapping_sub(padding[0]);
                                let ox = (at * stride[1] + kx * dilation[1]).wrapping_sub(padding[1]);
                                if oy >= height || ox >= width {
                                    continue;
                                }
                                for j in 0..outputs {
                                    let value = x[((n * depth * groups + c) * size[0] + y) * size[1] + at];
                                    let weight = w[((c * outputs + j) * kernel[0] + ky) * kernel[1] + kx];
                                    expected[((n * height + oy) * width + ox) * channels + c / depth * outputs + j] += value * weight;
                                }
                            }
                        }
                    }
                }
                let flex = |values: &[f32], shape: [usize; 4]| FlexTensor::from_data(TensorData::new(values.to_vec(), shape));
                let phases = pack(&flex(&w, w_shape), &sizes);
                let bias = FlexTensor::from_data(TensorData::new(b, [channels]));
                let bias = super::super::fold::padded_bias(Some(&bias), channels);
                for path in crate::dispatch::Path::available() {
                    let mut out = crate::buffer::Buffer::new(expected.len());
                    out.fill(f32::NAN);
                    let map = crate::layout::Map::of(flex(&x, x_shape));
                    run(path, &sizes, &map, &phases, &bias, Activation::Identity, &mut out);
                    assert_close(&out, &expected, 1e-5);
                }
            }
        }
    }
}
