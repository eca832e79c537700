//! Values and shapes.

use burn::tensor::ops::{
    AvgPoolOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions,
};
use burn::tensor::{DType, Device, Tensor, activation, module};
use kiln_kernels::{Activation, Convolution, Lrn, Norm};

use crate::{assert_relative, assert_same, conv, norm, normalized, random};

#[test]
fn convolution_agrees_with_burn() {
    for (x, w, options) in [
        ([2, 3, 17, 19], [10, 3, 7, 7], conv(2, 3, 1)),
        ([2, 16, 9, 9], [24, 16, 3, 3], conv(1, 1, 1)),
        ([1, 12, 8, 8], [20, 3, 3, 3], conv(2, 1, 4)),
        ([2, 20, 8, 8], [20, 1, 5, 5], conv(1, 2, 20)),
        ([3, 40, 5, 5], [17, 40, 1, 1], conv(1, 0, 1)),
        ([1, 4, 1, 1], [6, 4, 1, 1], conv(1, 0, 1)),
    ] {
        let (x, w, b) = (random(x), random(w), random([w[0]]));
        let expected = module::conv2d(x.clone(), w.clone(), Some(b.clone()), options.clone());
        let residual = random(expected.dims());
        let y = kiln_kernels::conv2d(
            x.clone(),
            w.clone(),
            Some(b.clone()),
            options.clone(),
            Activation::Relu,
            Some(residual.clone()),
        );
        assert_same(y, activation::relu(expected + residual));
        let y = kiln_kernels::conv2d(
            x.clone(),
            w.clone(),
            None,
            options.clone(),
            Activation::Sigmoid,
            None,
        );
        assert_same(y, activation::sigmoid(module::conv2d(x, w, None, options)));
    }
}

#[test]
fn a_chain_of_layers_agrees_with_burn() {
    let (x, w1, w2) = (random([2, 3, 20, 20]), random([16, 3, 3, 3]), random([8, 16, 3, 3]));
    let pool = || MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
    let y =
        kiln_kernels::conv2d(x.clone(), w1.clone(), None, conv(1, 1, 1), Activation::Relu, None);
    let y = kiln_kernels::max_pool2d(y, pool());
    let y = kiln_kernels::conv2d(y, w2.clone(), None, conv(1, 1, 1), Activation::Identity, None);
    let y = kiln_kernels::concat_channels(vec![
        y.clone(),
        y.clone().slice([0..2, 2..5, 0..10, 0..10]),
        y,
    ]);
    let y = kiln_kernels::global_avg_pool(y).flatten::<2>(1, 3);
    let z = activation::relu(module::conv2d(x, w1, None, conv(1, 1, 1)));
    let z = module::conv2d(module::max_pool2d(z, pool()), w2, None, conv(1, 1, 1));
    let z = Tensor::cat(vec![z.clone(), z.clone().slice([0..2, 2..5, 0..10, 0..10]), z], 1);
    let z = module::adaptive_avg_pool2d(z, [1, 1]).flatten::<2>(1, 3);
    assert_same(y, z);
}

#[test]
fn branches_are_convolutions_side_by_side() {
    let x = random([2, 16, 7, 7]);
    let branch = |out: usize, kernel: usize| {
        let convolution = Convolution {
            weight: random([out, 16, kernel, kernel]),
            bias: Some(random([out])),
            norm: (kernel > 1).then(|| norm(out)),
            options: conv(1, kernel / 2, 1),
            activation: Activation::Relu,
        };
        (x.clone(), convolution)
    };
    let branches = vec![branch(9, 1), branch(16, 3), branch(3, 5)];
    let expected = branches.iter().map(|(x, c)| burns(x.clone(), c, None)).collect();
    assert_same(kiln_kernels::conv2d_branches(branches), Tensor::cat(expected, 1));
}

/// A convolution by burn's operations.
fn burns(x: Tensor<4>, c: &Convolution, residual: Option<Tensor<4>>) -> Tensor<4> {
    let mut y = module::conv2d(x, c.weight.clone(), c.bias.clone(), c.options.clone());
    if let Some(norm) = c.norm.clone() {
        y = normalized(y, norm);
    }
    if let Some(residual) = residual {
        y = y + residual;
    }
    c.activation.burn(y)
}

#[test]
fn a_pair_is_one_convolution_after_the_other() {
    // Together, apart because the map is small, and apart because the first is not depthwise.
    for (shape, groups, stride) in [
        ([2, 19, 23, 37], 19, 1),
        ([1, 16, 60, 31], 16, 2),
        ([1, 24, 5, 4], 24, 1),
        ([1, 6, 30, 30], 3, 1),
    ] {
        let channels = shape[1];
        for (activation, with_norm) in [(Activation::Identity, false), (Activation::Tanh, true)] {
            let first = Convolution {
                weight: random([channels, channels / groups, 3, 3]),
                bias: with_norm.then(|| random([channels])),
                norm: with_norm.then(|| norm(channels)),
                options: conv(stride, 1, groups),
                activation,
            };
            let second = Convolution {
                weight: random([21, channels, 1, 1]),
                bias: None,
                norm: Some(norm(21)),
                options: conv(1, 0, 1),
                activation: Activation::Relu,
            };
            let x = random(shape);
            let between = burns(x.clone(), &first, None);
            let [batch, _, height, width] = between.dims();
            let residual = with_norm.then(|| random([batch, 21, height, width]));
            let expected = burns(between, &second, residual.clone());
            assert_relative(kiln_kernels::conv2d_pair(x, first, second, residual), expected, 1e-5);
        }
    }
}

#[test]
fn transposed_convolution_agrees_with_burn() {
    let options = ConvTransposeOptions::new([2, 2], [1, 1], [1, 0], [1, 1], 2);
    let (x, w, b) = (random([2, 8, 5, 6]), random([8, 5, 3, 3]), random([10]));
    let expected = module::conv_transpose2d(x.clone(), w.clone(), Some(b.clone()), options.clone());
    assert_same(
        kiln_kernels::conv_transpose2d(x, w, Some(b), options, Activation::Tanh),
        activation::tanh(expected),
    );
}

#[test]
fn pools_agree_with_burn() {
    let x = random([2, 11, 9, 10]);
    for ceil in [false, true] {
        for padding in [0, 1] {
            let mut options =
                MaxPoolOptions::new([3, 2]).with_stride([2, 2]).with_padding([padding; 2]);
            options.ceil_mode = ceil;
            assert_same(
                kiln_kernels::max_pool2d(x.clone(), options.clone()),
                module::max_pool2d(x.clone(), options),
            );
            for counts in [false, true] {
                let mut options =
                    AvgPoolOptions::new([3, 2]).with_stride([2, 2]).with_padding([padding; 2]);
                options.ceil_mode = ceil;
                options.count_include_pad = counts;
                assert_same(
                    kiln_kernels::avg_pool2d(x.clone(), options.clone()),
                    module::avg_pool2d(x.clone(), options),
                );
            }
        }
    }
    assert_same(kiln_kernels::global_avg_pool(x.clone()), module::adaptive_avg_pool2d(x, [1, 1]));
}

#[test]
fn the_small_operations_agree_with_burn() {
    let x = random([2, 13, 4, 5]);
    let scale = random([2, 13, 1, 1]);
    let y = random([2, 13, 4, 5]);
    assert_same(
        kiln_kernels::scale_channels(x.clone(), scale.clone(), Some(y.clone()), Activation::Relu),
        activation::relu(x.clone() * scale + y.clone()),
    );
    assert_same(
        kiln_kernels::add(x.clone(), y.clone(), Activation::Relu),
        activation::relu(x.clone() + y),
    );
    let lrn = Lrn { size: 5, alpha: 1.0, beta: 0.75, k: 2.0 };
    let burn = burn::nn::LocalResponseNormConfig::new(5).with_alpha(1.0).with_k(2.0).init();
    assert_same(kiln_kernels::lrn(x.clone(), lrn), burn.forward(x.clone()));
    for mode in [InterpolateMode::Nearest, InterpolateMode::Bilinear] {
        for align in [false, true] {
            for size in [[8, 10], [7, 3], [1, 1]] {
                let options = || {
                    InterpolateOptions::new(mode.clone())
                        .with_align_corners(align)
                        .with_output_size(size)
                };
                assert_same(
                    kiln_kernels::interpolate(x.clone(), options()),
                    module::interpolate(x.clone(), options()),
                );
            }
        }
    }
    assert_same(kiln_kernels::activate(x.clone(), Activation::Silu), activation::silu(x));
}

#[test]
fn a_dense_layer_agrees_with_burn() {
    let (x, w, b) = (random([3, 50]), random([50, 21]), random([21]));
    let expected = activation::tanh(module::linear(x.clone(), w.clone(), Some(b.clone())));
    assert_same(kiln_kernels::linear(x.clone(), w.clone(), Some(b), Activation::Tanh), expected);
    // A transposed view is packed by its own strides.
    let t = random([21, 50]).transpose();
    assert_same(
        kiln_kernels::linear(x.clone(), t.clone(), None, Activation::Identity),
        module::linear(x, t, None),
    );
}

#[test]
fn a_changed_weight_is_packed_again() {
    let x = random([1, 8, 6, 6]);
    let mut w = random([8, 8, 3, 3]);
    for _ in 0..3 {
        let expected = module::conv2d(x.clone(), w.clone(), None, conv(1, 1, 1));
        assert_same(
            kiln_kernels::conv2d(
                x.clone(),
                w.clone(),
                None,
                conv(1, 1, 1),
                Activation::Identity,
                None,
            ),
            expected,
        );
        w = w * 2.0 + 0.1;
    }
}

#[test]
fn a_folded_norm_is_burns_norm_after_the_convolution() {
    for (x, w, options) in [
        ([2, 3, 17, 19], [10, 3, 7, 7], conv(2, 3, 1)),
        ([2, 16, 9, 9], [24, 16, 3, 3], conv(1, 1, 1)),
        ([1, 64, 29, 27], [72, 64, 3, 3], conv(1, 1, 1)), // Winograd
        ([1, 12, 8, 8], [20, 3, 3, 3], conv(2, 1, 4)),
        ([2, 20, 8, 8], [20, 1, 5, 5], conv(1, 2, 20)),
        ([3, 40, 5, 5], [17, 40, 1, 1], conv(1, 0, 1)),
    ] {
        let (x, w, b) = (random(x), random(w), random([w[0]]));
        for bias in [None, Some(b)] {
            let n = norm(w.dims()[0]);
            let y = module::conv2d(x.clone(), w.clone(), bias.clone(), options.clone());
            let expected = normalized(y, n.clone());
            let residual = random(expected.dims());
            let y = kiln_kernels::conv2d_norm(
                x.clone(),
                w.clone(),
                bias,
                n,
                options.clone(),
                Activation::Relu,
                Some(residual.clone()),
            );
            assert_relative(y, activation::relu(expected + residual), 1e-5);
        }
    }
}

#[test]
fn a_changed_statistic_is_folded_again() {
    let (x, w) = (random([1, 8, 6, 6]), random([8, 8, 3, 3]));
    let mut n = norm(8);
    let check = |w: &Tensor<4>, n: &Norm| {
        let options = conv(1, 1, 1);
        let expected =
            normalized(module::conv2d(x.clone(), w.clone(), None, options.clone()), n.clone());
        let ours = || {
            kiln_kernels::conv2d_norm(
                x.clone(),
                w.clone(),
                None,
                n.clone(),
                options.clone(),
                Activation::Identity,
                None,
            )
        };
        assert_same(ours(), expected.clone());
        assert_same(ours(), expected);
    };
    check(&w, &n);
    n.mean = n.mean + 0.5;
    check(&w, &n);
    n.variance = n.variance * 2.0;
    check(&w, &n);
    n.gamma = n.gamma * 3.0;
    check(&w, &n);
    n.beta = n.beta - 1.0;
    check(&w, &n);
    check(&(w * 2.0), &n);
}

#[test]
fn a_tensor_without_elements_is_burns_affair() {
    let x: Tensor<4> = Tensor::zeros([0, 3, 8, 8], &Device::flex());
    let y = kiln_kernels::activate(x, Activation::Tanh);
    assert_eq!(y.dims(), [0, 3, 8, 8]);
}

#[test]
fn half_precision_falls_back_to_burn() {
    let (x, w) = (random([1, 4, 5, 5]).cast(DType::F16), random([4, 4, 3, 3]).cast(DType::F16));
    let burns = activation::relu(module::conv2d(x.clone(), w.clone(), None, conv(1, 1, 1)));
    let y = kiln_kernels::conv2d(x, w, None, conv(1, 1, 1), Activation::Relu, None);
    assert_eq!(y.dtype(), DType::F16);
    y.into_data().assert_eq(&burns.into_data(), true);
}

#[test]
#[should_panic(expected = "the residual must have the map's shape")]
fn batch_norm_refuses_a_residual_that_has_as_many_pixels_in_another_shape() {
    let vector = || random([4]);
    let (x, turned) = (random([1, 4, 2, 3]), random([1, 4, 3, 2]));
    let identity = Activation::Identity;
    let _ = kiln_kernels::batch_norm_train(x, vector(), vector(), 1e-5, identity, Some(turned));
}
