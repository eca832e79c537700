//! The public functions on flex tensors against burn's own operations: same values, same shapes, and gradients wherever
//! burn would give them.
#![cfg(feature = "flex")]

use burn::tensor::ops::{
    AvgPoolOptions, ConvOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions,
    MaxPoolOptions,
};
use burn::tensor::{DType, Device, Distribution, Tensor, Tolerance, activation, module};
use kiln_kernels::{Activation, Convolution, Lrn, Norm};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
}

#[track_caller]
fn assert_same<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) {
    actual.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
}

/// Within a part of the largest expected value.
#[track_caller]
fn assert_relative(actual: Tensor<4>, expected: Tensor<4>, part: f32) {
    let largest = expected.clone().abs().max().into_scalar::<f32>();
    let off = (actual - expected).abs().max().into_scalar::<f32>();
    assert!(off <= part * largest, "{off} of {largest}");
}

fn norm(channels: usize) -> Norm {
    Norm {
        gamma: random([channels]),
        beta: random([channels]),
        mean: random([channels]),
        variance: random([channels]).abs() + 0.1,
        epsilon: 1e-3,
    }
}

/// By burn's operation.
fn normalized(y: Tensor<4>, n: Norm) -> Tensor<4> {
    module::batch_norm(y, n.gamma, n.beta, n.mean, n.variance, n.epsilon)
}

fn conv(stride: usize, padding: usize, groups: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups)
}

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

/// The gradients of two expressions of the same leaves, weighted by `pick`.
#[track_caller]
fn assert_same_gradients<const D: usize>(leaves: &[&Tensor<4>], ours: Tensor<D>, burns: Tensor<D>) {
    let pick = Tensor::<D>::from_data(random(ours.dims()).into_data(), &Device::flex().autodiff());
    assert_same(ours.clone().inner(), burns.clone().inner());
    let (ours, burns) = ((ours * pick.clone()).sum().backward(), (burns * pick).sum().backward());
    for leaf in leaves {
        assert_same(leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
    }
}

fn leaf<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(random(shape).into_data(), &Device::flex().autodiff()).require_grad()
}

#[test]
fn convolutions_of_every_kind_have_burns_gradients() {
    for (x, w, options) in [
        ([2, 3, 17, 19], [10, 3, 7, 7], conv(2, 3, 1)),
        ([2, 16, 9, 9], [24, 16, 3, 3], conv(1, 1, 1)),
        ([1, 12, 8, 8], [20, 3, 3, 3], conv(2, 1, 4)),
        ([2, 20, 8, 8], [20, 1, 5, 5], conv(1, 2, 20)),
        ([2, 20, 9, 8], [20, 1, 3, 3], conv(2, 1, 20)),
        ([2, 40, 8, 8], [17, 40, 1, 1], conv(2, 0, 1)),
    ] {
        let (x, w) = (leaf(x), leaf(w));
        let ours = kiln_kernels::conv2d(
            x.clone(),
            w.clone(),
            None,
            options.clone(),
            Activation::Relu,
            None,
        );
        let burns = activation::relu(module::conv2d(x.clone(), w.clone(), None, options));
        assert_same_gradients(&[&x, &w], ours, burns);
    }
}

#[test]
fn a_frozen_norm_has_burns_gradients() {
    let device = Device::flex().autodiff();
    let on = |n: Norm| {
        let here = |t: Tensor<1>| Tensor::<1>::from_data(t.into_data(), &device);
        Norm {
            gamma: here(n.gamma),
            beta: here(n.beta),
            mean: here(n.mean),
            variance: here(n.variance),
            epsilon: n.epsilon,
        }
    };
    let n = on(norm(10));
    let ours = |x: &Tensor<4>, w: &Tensor<4>, r: &Tensor<4>| {
        kiln_kernels::conv2d_norm(
            x.clone(),
            w.clone(),
            None,
            n.clone(),
            conv(1, 1, 1),
            Activation::Relu,
            Some(r.clone()),
        )
    };
    let burns = |x: &Tensor<4>, w: &Tensor<4>, r: &Tensor<4>| {
        let y = module::conv2d(x.clone(), w.clone(), None, conv(1, 1, 1));
        activation::relu(normalized(y, n.clone()) + r.clone())
    };
    let (x, w, r) = (leaf([2, 6, 8, 7]), leaf([10, 6, 3, 3]), leaf([2, 10, 8, 7]));
    assert_same_gradients(&[&x, &w, &r], ours(&x, &w, &r), burns(&x, &w, &r));
    let (x, w, r) = (x.detach(), w.detach(), r.detach());
    assert_same(ours(&x, &w, &r).inner(), burns(&x, &w, &r).inner());
}

#[test]
fn pools_have_burns_gradients() {
    let x = leaf([2, 11, 9, 10]);
    for padding in [0, 1] {
        let options = || MaxPoolOptions::new([3, 2]).with_stride([2, 2]).with_padding([padding; 2]);
        // Rectified first: where a window holds several zeros, the first is the one.
        let r = || activation::relu(x.clone());
        assert_same_gradients(
            &[&x],
            kiln_kernels::max_pool2d(r(), options()),
            module::max_pool2d(r(), options()),
        );
    }
    assert_same_gradients(
        &[&x],
        kiln_kernels::global_avg_pool(x.clone()),
        module::adaptive_avg_pool2d(x.clone(), [1, 1]),
    );
}

#[test]
fn batch_norm_in_training_is_its_definition() {
    for (shape, activation, with_residual) in [
        ([3, 11, 7, 6], Activation::Identity, false),
        ([2, 24, 5, 5], Activation::Relu, true),
        ([4, 16, 1, 1], Activation::Tanh, false),
    ] {
        let (x, r) = (leaf(shape), leaf(shape));
        let c = shape[1];
        let (gamma, beta) = (leaf([c, 1, 1, 1]), leaf([c, 1, 1, 1]));
        let vector = |t: &Tensor<4>| t.clone().reshape([c]);
        let residual = || with_residual.then(|| r.clone());
        let (ours, mean, variance) = kiln_kernels::batch_norm_train(
            x.clone(),
            vector(&gamma),
            vector(&beta),
            1e-5,
            activation,
            residual(),
        );
        let flat = || x.clone().swap_dims(0, 1).reshape([c as i32, -1]);
        let m = flat().mean_dim(1);
        let v = (flat() - m.clone()).square().mean_dim(1);
        assert_same(mean.inner(), m.clone().reshape([c]).inner());
        assert_same(variance.inner(), v.clone().reshape([c]).inner());
        let channel = |t: Tensor<2>| t.reshape([1, c, 1, 1]);
        let spread = |t: &Tensor<4>| t.clone().reshape([1, c, 1, 1]);
        let hat = (x.clone() - channel(m)) / channel((v + 1e-5).sqrt());
        let mut burns = hat * spread(&gamma) + spread(&beta);
        if let Some(residual) = residual() {
            burns = burns + residual;
        }
        let mut leaves = vec![&x, &gamma, &beta];
        if with_residual {
            leaves.push(&r);
        }
        assert_same_gradients(&leaves, ours, activation.burn(burns));
    }
}

#[test]
fn averages_have_burns_gradients() {
    let x = leaf([2, 11, 9, 10]);
    for counts in [false, true] {
        let options = || {
            let mut options = AvgPoolOptions::new([3, 2]).with_stride([2, 1]).with_padding([1; 2]);
            options.count_include_pad = counts;
            options
        };
        let (ours, burns) = (
            kiln_kernels::avg_pool2d(x.clone(), options()),
            module::avg_pool2d(x.clone(), options()),
        );
        assert_same_gradients(&[&x], ours, burns);
    }
}

#[test]
fn the_small_operations_have_burns_gradients() {
    let (x, y, s, z) =
        (leaf([2, 13, 4, 5]), leaf([2, 13, 4, 5]), leaf([2, 13, 1, 1]), leaf([2, 3, 4, 5]));
    let ours = kiln_kernels::add(x.clone(), y.clone(), Activation::Relu);
    assert_same_gradients(&[&x, &y], ours, activation::relu(x.clone() + y.clone()));
    let ours =
        kiln_kernels::scale_channels(x.clone(), s.clone(), Some(y.clone()), Activation::Relu);
    assert_same_gradients(&[&x, &y, &s], ours, activation::relu(x.clone() * s.clone() + y.clone()));
    for act in [Activation::Relu, Activation::Sigmoid, Activation::ScaledTanh, Activation::Silu] {
        assert_same_gradients(&[&x], kiln_kernels::activate(x.clone(), act), act.burn(x.clone()));
    }
    let maps = || vec![x.clone(), z.clone(), y.clone()];
    let ours = kiln_kernels::activate(kiln_kernels::concat_channels(maps()), Activation::Tanh);
    assert_same_gradients(&[&x, &y, &z], ours, activation::tanh(Tensor::cat(maps(), 1)));
}

#[test]
fn a_view_of_a_concatenations_gradient_serves_a_convolution() {
    let (x, w, v) = (leaf([2, 5, 6, 6]), leaf([16, 5, 3, 3]), leaf([8, 5, 1, 1]));
    let ours = kiln_kernels::concat_channels(vec![
        kiln_kernels::conv2d(x.clone(), w.clone(), None, conv(1, 1, 1), Activation::Relu, None),
        kiln_kernels::conv2d(x.clone(), v.clone(), None, conv(1, 0, 1), Activation::Identity, None),
    ]);
    let burns = Tensor::cat(
        vec![
            activation::relu(module::conv2d(x.clone(), w.clone(), None, conv(1, 1, 1))),
            module::conv2d(x.clone(), v.clone(), None, conv(1, 0, 1)),
        ],
        1,
    );
    assert_same_gradients(&[&x, &w, &v], ours, burns);
}

#[test]
fn transposed_convolution_has_burns_gradients() {
    for (stride, groups) in [(1, 1), (2, 2), (3, 1)] {
        let options = || ConvTransposeOptions::new([stride; 2], [1, 1], [0, 0], [1, 1], groups);
        let (x, w) = (leaf([2, 8, 5, 6]), leaf([8, 10 / groups, 3, 3]));
        let ours =
            kiln_kernels::conv_transpose2d(x.clone(), w.clone(), None, options(), Activation::Relu);
        let burns =
            activation::relu(module::conv_transpose2d(x.clone(), w.clone(), None, options()));
        assert_same_gradients(&[&x, &w], ours, burns);
    }
}

#[test]
fn a_dense_layer_has_burns_gradients() {
    let (x, w, b) = (leaf([6, 50, 1, 1]), leaf([50, 21, 1, 1]), leaf([1, 21, 1, 1]));
    let flat = |t: &Tensor<4>, shape: [usize; 2]| t.clone().reshape(shape);
    let bias = || b.clone().reshape([21]);
    let ours = kiln_kernels::linear(
        flat(&x, [6, 50]),
        flat(&w, [50, 21]),
        Some(bias()),
        Activation::ScaledTanh,
    );
    let burns = module::linear(flat(&x, [6, 50]), flat(&w, [50, 21]), Some(bias()));
    assert_same_gradients(&[&x, &w, &b], ours, Activation::ScaledTanh.burn(burns));
}

#[test]
fn gradient_checkpointing_changes_no_gradient() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let leaf = |t: Tensor<4>| Tensor::<4>::from_data(t.into_data(), &device).require_grad();
    let (x, w) = (leaf(random([1, 8, 6, 6])), leaf(random([8, 8, 3, 3])));
    let pick = Tensor::<4>::from_data(random([1, 8, 6, 6]).into_data(), &device);
    // A cheap operation before the layer: its output is computed again in the backward pass.
    let ours = kiln_kernels::conv2d(
        x.clone() * 2.0,
        w.clone(),
        None,
        conv(1, 1, 1),
        Activation::Relu,
        None,
    );
    let burns = activation::relu(module::conv2d(x.clone() * 2.0, w.clone(), None, conv(1, 1, 1)));
    let (ours, burns) = ((ours * pick.clone()).sum().backward(), (burns * pick).sum().backward());
    for leaf in [&x, &w] {
        assert_same(leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
    }
}

#[test]
fn gradients_flow_as_through_burns_operations() {
    let device = Device::flex().autodiff();
    let leaf = |t: Tensor<4>| Tensor::<4>::from_data(t.into_data(), &device).require_grad();
    let (x, w, r) =
        (leaf(random([2, 6, 8, 8])), leaf(random([9, 6, 3, 3])), leaf(random([2, 9, 8, 8])));
    let b = Tensor::<1>::from_data(random([9]).into_data(), &device).require_grad();
    let pick = Tensor::<4>::from_data(random([2, 9, 8, 8]).into_data(), &device);
    for act in [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::Tanh,
        Activation::Sigmoid,
    ] {
        let ours = kiln_kernels::conv2d(
            x.clone(),
            w.clone(),
            Some(b.clone()),
            conv(1, 1, 1),
            act,
            Some(r.clone()),
        );
        let burns = act
            .burn(module::conv2d(x.clone(), w.clone(), Some(b.clone()), conv(1, 1, 1)) + r.clone());
        let ours = (ours * pick.clone()).sum().backward();
        let burns = (burns * pick.clone()).sum().backward();
        for leaf in [&x, &w, &r] {
            assert_same(leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
        }
        assert_same(b.grad(&ours).unwrap(), b.grad(&burns).unwrap());
    }
}
