//! What every operation owes at the edges: numbers that aren't finite, tensors without elements, any number of threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::ops::{
    AvgPoolOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions,
};
use burn::tensor::{Device, Tensor, TensorData, module};
use kiln_kernels::{Activation, Convolution, Lrn};

use crate::{conv, random};

use Activation::Identity;

const CHANNELS: usize = 24;

type Run = Box<dyn Fn(Tensor<4>) -> Tensor<4> + Send + Sync>;

/// One of our functions, and burn's way to the same.
struct Operation {
    name: &'static str,
    ours: Run,
    burns: Run,
}

fn operation(
    name: &'static str,
    ours: impl Fn(Tensor<4>) -> Tensor<4> + Send + Sync + 'static,
    burns: impl Fn(Tensor<4>) -> Tensor<4> + Send + Sync + 'static,
) -> Operation {
    Operation { name, ours: Box::new(ours), burns: Box::new(burns) }
}

fn convolution(name: &'static str, weight: [usize; 4], groups: usize) -> Operation {
    let (w, padding) = (random(weight), weight[2] / 2);
    let v = w.clone();
    operation(
        name,
        move |x| kiln_kernels::conv2d(x, w.clone(), None, conv(1, padding, groups), Identity, None),
        move |x| module::conv2d(x, v.clone(), None, conv(1, padding, groups)),
    )
}

/// All of them, on maps of [`CHANNELS`] channels.
fn operations() -> Vec<Operation> {
    let weight = |shape| random::<4>(shape);
    let separable = |shape, groups: usize| Convolution {
        weight: weight(shape),
        bias: None,
        norm: None,
        options: conv(1, shape[2] / 2, groups),
        activation: Identity,
    };
    let first = separable([CHANNELS, 1, 3, 3], CHANNELS);
    let second = separable([17, CHANNELS, 1, 1], 1);
    let pair = (first.clone(), second.clone());
    let (wide, narrow) = (separable([19, CHANNELS, 3, 3], 1), separable([5, CHANNELS, 1, 1], 1));
    let branches = (wide.clone(), narrow.clone());
    let burns = |x: Tensor<4>, c: &Convolution| {
        module::conv2d(x, c.weight.clone(), None, c.options.clone())
    };
    let up = || ConvTransposeOptions::new([2, 2], [1, 1], [1, 0], [1, 1], 1);
    let (w, v) = (weight([CHANNELS, 7, 3, 3]), weight([1, CHANNELS, 1, 1]));
    let (transposed, scale) = (w.clone(), v.clone());
    let max = || MaxPoolOptions::new([3, 2]).with_stride([2, 1]).with_padding([1, 0]);
    let average = || AvgPoolOptions::new([3, 2]).with_stride([2, 1]).with_padding([1, 0]);
    let nearest = || InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([13, 20]);
    let norm = burn::nn::LocalResponseNormConfig::new(5).with_alpha(1.0).with_k(2.0).init();
    vec![
        convolution("3×3", [19, CHANNELS, 3, 3], 1),
        convolution("1×1", [19, CHANNELS, 1, 1], 1),
        convolution("in groups", [10, CHANNELS / 2, 3, 3], 2),
        convolution("depthwise", [CHANNELS, 1, 5, 5], CHANNELS),
        operation(
            "pair",
            move |x| kiln_kernels::conv2d_pair(x, first.clone(), second.clone(), None),
            move |x| burns(burns(x, &pair.0), &pair.1),
        ),
        operation(
            "branches",
            move |x| {
                let parts = vec![(x.clone(), wide.clone()), (x, narrow.clone())];
                kiln_kernels::conv2d_branches(parts)
            },
            move |x| Tensor::cat(vec![burns(x.clone(), &branches.0), burns(x, &branches.1)], 1),
        ),
        operation(
            "transposed",
            move |x| kiln_kernels::conv_transpose2d(x, w.clone(), None, up(), Identity),
            move |x| module::conv_transpose2d(x, transposed.clone(), None, up()),
        ),
        operation(
            "average",
            move |x| kiln_kernels::avg_pool2d(x, average()),
            move |x| module::avg_pool2d(x, average()),
        ),
        operation(
            "maximum",
            move |x| kiln_kernels::max_pool2d(x, max()),
            move |x| module::max_pool2d(x, max()),
        ),
        operation("global", kiln_kernels::global_avg_pool, |x| {
            module::adaptive_avg_pool2d(x, [1, 1])
        }),
        operation(
            "concatenation",
            |x| kiln_kernels::concat_channels(vec![x.clone(), x]),
            |x| Tensor::cat(vec![x.clone(), x], 1),
        ),
        operation("sum", |x| kiln_kernels::add(x.clone(), x, Identity), |x| x.clone() + x),
        operation(
            "scale",
            move |x| {
                let scale = match x.dims()[0] {
                    0 => Tensor::zeros([0, CHANNELS, 1, 1], &x.device()),
                    batch => v.clone().repeat_dim(0, batch),
                };
                kiln_kernels::scale_channels(x, scale, None, Identity)
            },
            move |x| x * scale.clone(),
        ),
        operation(
            "response norm",
            |x| kiln_kernels::lrn(x, Lrn { size: 5, alpha: 1.0, beta: 0.75, k: 2.0 }),
            move |x| norm.forward(x),
        ),
        operation(
            "nearest",
            move |x| kiln_kernels::interpolate(x, nearest()),
            move |x| module::interpolate(x, nearest()),
        ),
    ]
}

/// Every other number takes part in the comparison: not finite where burn's isn't, close where it is.
#[track_caller]
fn assert_alike(name: &str, ours: Tensor<4>, burns: Tensor<4>) {
    assert_eq!(ours.dims(), burns.dims(), "{name}");
    let values = |tensor: Tensor<4>| tensor.into_data().try_to_vec::<f32>().unwrap();
    for (at, (a, b)) in values(ours).into_iter().zip(values(burns)).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-3;
        assert!(same, "{name}, element {at}: {a}, burn has {b}");
    }
}

#[test]
fn what_is_not_finite_reaches_what_sees_it_and_nothing_else() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // The maximum of NaN and a number is NaN, which the pools' own property test holds; burn promises nothing.
        let skipped = |operation: &Operation| operation.name == "maximum" && value.is_nan();
        for Operation { name, ours, burns } in
            operations().into_iter().filter(|operation| !skipped(operation))
        {
            let mut values: Vec<f32> =
                random([2, CHANNELS, 7, 9]).into_data().try_to_vec().unwrap();
            values[2 * 63 + 31] = value;
            let x = Tensor::<4>::from_data(
                TensorData::new(values, [2, CHANNELS, 7, 9]),
                &Device::flex(),
            );
            assert_alike(&format!("{name} of {value}"), ours(x.clone()), burns(x));
        }
    }
}

#[test]
fn a_dense_layer_passes_on_what_is_not_finite() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut values: Vec<f32> = random([3, 50]).into_data().try_to_vec().unwrap();
        values[70] = value;
        let x = Tensor::<2>::from_data(TensorData::new(values, [3, 50]), &Device::flex());
        let w = random([50, 21]);
        let ours = kiln_kernels::linear(x.clone(), w.clone(), None, Activation::Relu);
        let rows: Vec<f32> = ours.into_data().try_to_vec().unwrap();
        assert!(rows[..21].iter().chain(&rows[42..]).all(|x| x.is_finite()));
        let burns: Vec<f32> = module::linear(x, w, None).into_data().try_to_vec().unwrap();
        for (a, b) in rows[21..42].iter().zip(&burns[21..42]) {
            // ReLU keeps NaN: a network that has broken must not look healthy.
            assert!(a.is_nan() == b.is_nan() && (b.is_nan() || *a == b.max(0.0)), "{a}, {b}");
        }
    }
}

#[test]
fn one_bad_number_under_winograd_stays_within_the_tiles_that_see_it() {
    let (channels, side) = (64, 28);
    let w = random([64, channels, 3, 3]);
    let mut values: Vec<f32> = random([1, channels, side, side]).into_data().try_to_vec().unwrap();
    values[13 * side + 13] = f32::NAN;
    let x = TensorData::new(values, [1, channels, side, side]);
    let x = Tensor::<4>::from_data(x, &Device::flex());
    let y = kiln_kernels::conv2d(x, w, None, conv(1, 1, 1), Identity, None);
    let y: Vec<f32> = y.into_data().try_to_vec().unwrap();
    for (at, value) in y.iter().enumerate() {
        let (row, column) = (at / side % side, at % side);
        let sees = |at: usize| (12..=14).contains(&at);
        let may = |at: usize| (12..16).contains(&at);
        assert!(!(sees(row) && sees(column)) || value.is_nan(), "{row}, {column}: {value}");
        assert!((may(row) && may(column)) || value.is_finite(), "{row}, {column}: {value}");
    }
}

#[test]
fn tensors_without_elements_are_treated_as_burn_treats_them() {
    for shape in [[0, CHANNELS, 7, 9], [2, CHANNELS, 0, 9], [2, CHANNELS, 7, 0]] {
        for Operation { name, ours, burns } in operations() {
            let run = |operation: &Run| {
                let x = Tensor::<4>::zeros(shape, &Device::flex());
                catch_unwind(AssertUnwindSafe(|| {
                    let y = operation(x);
                    let dims = y.dims();
                    (dims, y.into_data().try_to_vec::<f32>().unwrap().len())
                }))
                .ok()
            };
            assert_eq!(run(&ours), run(&burns), "{name} of {shape:?}");
        }
    }
}

#[test]
fn every_operation_gives_the_same_bits_for_any_number_of_threads() {
    for shape in [[3, CHANNELS, 41, 37], [1, CHANNELS, 7, 9]] {
        let x = random(shape);
        for Operation { name, ours, .. } in operations() {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let y = pool.install(|| ours(x.clone()).into_data());
                y.try_to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let one = run(1);
            assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one), "{name}");
        }
    }
}
