//! Every algorithm against the definition, on random odd shapes, with every instruction set.

use super::super::fold::Vectors;
use super::*;
use crate::testing::{assert_close, assert_within, floats, scale};
use burn::tensor::TensorData;
use proptest::prelude::*;

fn flex(values: &[f32], shape: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values.to_vec(), shape))
}

fn vector(values: &[f32]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values.to_vec(), [values.len()]))
}

const EPSILON: f64 = 1e-3;

/// Scale, shift, mean and variance of a norm.
fn norm(channels: usize, seed: u64) -> [Vec<f32>; 4] {
    let mut vectors = [0, 1, 2, 3].map(|i| floats(channels, seed + 10 + i));
    vectors[3].iter_mut().for_each(|variance| *variance = variance.abs() + 0.1);
    vectors
}

/// The definition; the output in channels-last order.
fn naive(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    norm: Option<&[Vec<f32>; 4]>,
    residual: Option<&[f32]>,
    activation: Activation,
) -> Vec<f32> {
    let (per_group, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let mut out = Vec::new();
    for n in 0..g.batch {
        for oy in 0..g.output[0] {
            for ox in 0..g.output[1] {
                for k in 0..g.out_channels {
                    let mut sum = f64::from(bias[k]);
                    for ky in 0..g.kernel[0] {
                        for kx in 0..g.kernel[1] {
                            let y = (oy * g.stride[0] + ky * g.dilation[0]) as isize
                                - g.before[0] as isize;
                            let at = (ox * g.stride[1] + kx * g.dilation[1]) as isize
                                - g.before[1] as isize;
                            if y < 0
                                || at < 0
                                || y as usize >= g.input[0]
                                || at as usize >= g.input[1]
                            {
                                continue;
                            }
                            for c in 0..per_group {
                                let channel = k / outputs * per_group + c;
                                let value = x[((n * g.in_channels + channel) * g.input[0]
                                    + y as usize)
                                    * g.input[1]
                                    + at as usize];
                                let weight =
                                    w[((k * per_group + c) * g.kernel[0] + ky) * g.kernel[1] + kx];
                                sum += f64::from(value) * f64::from(weight);
                            }
                        }
                    }
                    if let Some(norm) = norm {
                        let [gamma, beta, mean, variance] =
                            [0, 1, 2, 3].map(|i| f64::from(norm[i][k]));
                        sum = (sum - mean) / (variance + EPSILON).sqrt() * gamma + beta;
                    }
                    if let Some(residual) = residual {
                        sum += f64::from(
                            residual
                                [((n * g.out_channels + k) * g.output[0] + oy) * g.output[1] + ox],
                        );
                    }
                    out.push(match activation {
                        Activation::Relu if sum <= 0.0 => 0.0,
                        Activation::LeakyRelu(slope) if sum < 0.0 => f64::from(slope) * sum,
                        Activation::Tanh => sum.tanh(),
                        _ => sum,
                    } as f32);
                }
            }
        }
    }
    out
}

fn parameters(w: FlexTensor, b: &[f32], norm: Option<&[Vec<f32>; 4]>) -> Parameters {
    let norm = norm.map(|vectors| {
        let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(|i| vector(&vectors[i]));
        Vectors { gamma, beta, mean, variance, epsilon: EPSILON }
    });
    Parameters { weight: w, bias: Some(vector(b)), norm }
}

fn compute(
    path: Path,
    algorithm: Algorithm,
    g: &Geometry,
    x: FlexTensor,
    parameters: &Parameters,
    a: Activation,
    r: Option<FlexTensor>,
) -> Vec<f32> {
    let mut out = Buffer::new(g.pixels() * g.out_channels);
    let destination = Destination { pointer: Shared::new(out.pointer()), step: g.out_channels };
    // SAFETY: the buffer holds the output.
    unsafe { convolve(path, algorithm, g, x, parameters, a, r, destination) };
    out.to_vec()
}

#[derive(Clone, Debug)]
struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    stride: [usize; 2],
    padding: [(usize, usize); 2],
    dilation: [usize; 2],
    groups: usize,
    activation: Activation,
    norm: bool,
    residual: bool,
    seed: u64,
}

impl Case {
    fn geometry(&self) -> Option<Geometry> {
        let mut options = ConvOptions::new(self.stride, [0, 0], self.dilation, self.groups);
        options.padding = self.padding;
        Geometry::new(self.input, self.weight, &options)
    }

    /// Compares those of `algorithms` that serve this case, and returns how many did.
    fn check(&self, algorithms: &[Algorithm], tolerance: f32) -> usize {
        let Some(g) = self.geometry() else { return 0 };
        let x = floats(self.input.iter().product(), self.seed);
        let w = floats(self.weight.iter().product(), self.seed + 1);
        let b = floats(g.out_channels, self.seed + 2);
        let out_shape = [g.batch, g.out_channels, g.output[0], g.output[1]];
        let r = floats(out_shape.iter().product(), self.seed + 3);
        let residual = self.residual.then_some(&r[..]);
        let norm = self.norm.then(|| norm(g.out_channels, self.seed));
        let definition = |activation| naive(&g, &x, &w, &b, norm.as_ref(), residual, activation);
        // A saturating activation hides the sums' scale, which is what rounding errors go by.
        let bound = tolerance * scale(&definition(Activation::Identity));
        let expected = definition(self.activation);
        let parameters = parameters(flex(&w, self.weight), &b, norm.as_ref());
        let possible: Vec<_> = algorithms.iter().filter(|a| a.possible(&g)).collect();
        for &&algorithm in &possible {
            for path in Path::available() {
                let residual = self.residual.then(|| flex(&r, out_shape));
                let out = compute(
                    path,
                    algorithm,
                    &g,
                    flex(&x, self.input),
                    &parameters,
                    self.activation,
                    residual,
                );
                assert_within(&out, &expected, bound);
            }
        }
        possible.len()
    }
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::LeakyRelu(0.1)),
        Just(Activation::Tanh)
    ]
}

prop_compose! {
    fn any_case()(
        batch in 1usize..3, per_group in 1usize..12, outputs in 1usize..36, groups in 1usize..4, height in 1usize..11, width in 1usize..11,
        kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4], padding in [(0usize..4, 0usize..4), (0usize..4, 0usize..4)],
        dilation in [1usize..3, 1usize..3], activation in activation(), norm: bool, residual: bool, seed in 0u64..1_000_000,
    ) -> Case {
        Case {
            input: [batch, per_group * groups, height, width],
            weight: [outputs * groups, per_group, kernel[0], kernel[1]],
            stride, padding, dilation, groups, activation, norm, residual, seed,
        }
    }
}

prop_compose! {
    fn depthwise_case()(
        batch in 1usize..3, channels in 1usize..40, height in 1usize..12, width in 1usize..12, kernel in [1usize..6, 1usize..6],
        stride in [1usize..4, 1usize..4], padding in [(0usize..3, 0usize..3), (0usize..3, 0usize..3)], dilation in [1usize..3, 1usize..3],
        activation in activation(), norm: bool, residual: bool, seed in 0u64..1_000_000,
    ) -> Case {
        Case {
            input: [batch, channels, height, width],
            weight: [channels, 1, kernel[0], kernel[1]],
            stride, padding, dilation, groups: channels, activation, norm, residual, seed,
        }
    }
}

prop_compose! {
    fn winograd_case()(
        batch in 1usize..4, channels in 1usize..5, outputs in 1usize..12, height in 1usize..14, width in 1usize..14,
        padding in [(0usize..3, 0usize..3), (0usize..3, 0usize..3)], activation in activation(), norm: bool, residual: bool, seed in 0u64..1_000_000,
    ) -> Case {
        Case {
            input: [batch, channels * 8, height, width],
            weight: [outputs * 8, channels * 8, 3, 3],
            stride: [1, 1], padding, dilation: [1, 1], groups: 1, activation, norm, residual, seed,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn the_indirect_product_matches_the_definition(case in any_case()) {
        case.check(&[Algorithm::Indirect, Algorithm::Rows], 1e-5);
    }

    #[test]
    fn depthwise_matches_the_definition(case in depthwise_case()) {
        case.check(&[Algorithm::Depthwise, Algorithm::Indirect], 1e-5);
    }

    #[test]
    fn winograd_matches_the_definition(case in winograd_case()) {
        case.check(&[Algorithm::Winograd, Algorithm::Indirect], 1e-4);
    }
}

#[test]
fn both_ways_of_winograd_agree_with_the_definition() {
    // Small map, many channels: by outputs. Large map: by tiles, with more than one block and more than four panels.
    for (input, outputs) in [([1, 64, 9, 10], 72), ([2, 16, 50, 47], 88)] {
        let case = Case {
            input,
            weight: [outputs, input[1], 3, 3],
            stride: [1, 1],
            padding: [(1, 1), (1, 1)],
            dilation: [1, 1],
            groups: 1,
            activation: Activation::Relu,
            norm: true,
            residual: true,
            seed: 7,
        };
        assert_eq!(case.check(&[Algorithm::Winograd, Algorithm::Indirect], 1e-4), 2);
    }
}

#[test]
fn a_long_depth_is_cut_without_changing_the_sum() {
    let case = Case {
        input: [1, 700, 5, 5],
        weight: [24, 700, 3, 3],
        stride: [1, 1],
        padding: [(1, 1), (1, 1)],
        dilation: [1, 1],
        groups: 1,
        activation: Activation::Relu,
        norm: false,
        residual: true,
        seed: 3,
    };
    assert_eq!(case.check(&[Algorithm::Indirect], 1e-5), 1);
}

#[test]
fn nan_and_infinity_reach_exactly_the_outputs_that_see_them() {
    let case = Case {
        input: [1, 9, 6, 7],
        weight: [19, 9, 3, 3],
        stride: [1, 1],
        padding: [(1, 1), (1, 1)],
        dilation: [1, 1],
        groups: 1,
        activation: Activation::Relu,
        norm: false,
        residual: false,
        seed: 5,
    };
    let g = case.geometry().unwrap();
    let mut x = floats(case.input.iter().product(), 1);
    x[8] = f32::NAN;
    x[200] = f32::INFINITY;
    let w = floats(case.weight.iter().product(), 2);
    let b = floats(19, 3);
    let expected = naive(&g, &x, &w, &b, None, None, case.activation);
    let parameters = parameters(flex(&w, case.weight), &b, None);
    for path in Path::available() {
        for algorithm in [Algorithm::Indirect, Algorithm::Rows] {
            let out = compute(
                path,
                algorithm,
                &g,
                flex(&x, case.input),
                &parameters,
                case.activation,
                None,
            );
            assert_close(&out, &expected, 1e-5);
        }
    }
}

#[test]
fn the_result_is_the_same_to_the_bit_for_any_number_of_threads() {
    for (input, weight, algorithm) in [
        ([1, 64, 20, 21], [72, 64, 3, 3], Algorithm::Winograd),
        ([2, 64, 20, 21], [72, 64, 3, 3], Algorithm::Indirect),
        ([1, 512, 7, 7], [512, 512, 1, 1], Algorithm::Indirect),
    ] {
        let options = ConvOptions::new([1, 1], [weight[2] / 2, weight[3] / 2], [1, 1], 1);
        let g = Geometry::new(input, weight, &options).unwrap();
        let x = flex(&floats(input.iter().product(), 1), input);
        let w = flex(&floats(weight.iter().product(), 2), weight);
        let parameters = parameters(w, &floats(g.out_channels, 3), None);
        let results: Vec<_> = [1, 2, 3, 7]
            .iter()
            .map(|&n| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
                pool.install(|| {
                    compute(
                        Path::best(),
                        algorithm,
                        &g,
                        x.clone(),
                        &parameters,
                        Activation::Relu,
                        None,
                    )
                })
            })
            .collect();
        assert!(results.iter().all(|r| r == &results[0]), "{algorithm:?}");
    }
}
