//! Gradients.

use burn::tensor::ops::{AvgPoolOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, activation, module};
use kiln_kernels::{Activation, Norm};

use crate::{assert_same, conv, norm, normalized, random};

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
fn a_view_of_a_concatenations_gradient_serves_every_operation_before_it() {
    // Each part's gradient is some channels of a wider map: an operation that takes its pixels for neighbours is wrong.
    let (x, s) = (leaf([3, 5, 6, 7]), leaf([3, 5, 1, 1]));
    let (d, t) = (leaf([5, 1, 3, 3]), leaf([5, 4, 2, 2]));
    let (gamma, beta) = (leaf([5, 1, 1, 1]), leaf([5, 1, 1, 1]));
    let (global, r, wide) = (
        || module::adaptive_avg_pool2d(x.clone(), [1, 1]),
        || activation::relu(x.clone()),
        || x.clone() * 0.5,
    );
    assert_same_gradients(
        &[&x],
        kiln_kernels::concat_channels(vec![
            kiln_kernels::global_avg_pool(x.clone()),
            kiln_kernels::global_avg_pool(r()),
        ]),
        Tensor::cat(vec![global(), module::adaptive_avg_pool2d(r(), [1, 1])], 1),
    );

    let max = || MaxPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]);
    let average = || AvgPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]);
    let turned = || ConvTransposeOptions::new([1; 2], [0, 0], [0, 0], [1, 1], 1);
    let normed = || {
        let [gamma, beta] = [&gamma, &beta].map(|t| t.clone().reshape([5]));
        kiln_kernels::batch_norm_train(x.clone(), gamma, beta, 1e-5, Activation::Relu, None).0
    };
    // Ours, burn's, what it is joined with, and the leaves.
    type Make<'a> = &'a dyn Fn() -> Tensor<4>;
    let cases: [(Make<'_>, Make<'_>, Make<'_>, Vec<&Tensor<4>>); 8] = [
        (&|| kiln_kernels::global_avg_pool(x.clone()), &global, &|| s.clone() * 2.0, vec![&x, &s]),
        (
            &|| kiln_kernels::max_pool2d(x.clone(), max()),
            &|| module::max_pool2d(x.clone(), max()),
            &wide,
            vec![&x],
        ),
        (
            &|| kiln_kernels::avg_pool2d(x.clone(), average()),
            &|| module::avg_pool2d(x.clone(), average()),
            &wide,
            vec![&x],
        ),
        (
            &|| kiln_kernels::add(x.clone(), wide(), Activation::Relu),
            &|| activation::relu(x.clone() + wide()),
            &wide,
            vec![&x],
        ),
        (
            &|| kiln_kernels::activate(x.clone(), Activation::Tanh),
            &|| activation::tanh(x.clone()),
            &wide,
            vec![&x],
        ),
        (
            &|| {
                let act = Activation::Relu;
                kiln_kernels::scale_channels(x.clone(), s.clone(), Some(wide()), act)
            },
            &|| activation::relu(x.clone() * s.clone() + wide()),
            &wide,
            vec![&x, &s],
        ),
        (
            &|| {
                let options = conv(1, 1, 5);
                kiln_kernels::conv2d(x.clone(), d.clone(), None, options, Activation::Relu, None)
            },
            &|| activation::relu(module::conv2d(x.clone(), d.clone(), None, conv(1, 1, 5))),
            &wide,
            vec![&x, &d],
        ),
        (
            &|| {
                let act = Activation::Tanh;
                kiln_kernels::conv_transpose2d(x.clone(), t.clone(), None, turned(), act)
            },
            &|| activation::tanh(module::conv_transpose2d(x.clone(), t.clone(), None, turned())),
            &|| t.clone().mean().reshape([1, 1, 1, 1]).expand([3, 2, 7, 8]),
            vec![&x, &t],
        ),
    ];
    for (ours, burns, other, leaves) in cases {
        let join = |maps| kiln_kernels::concat_channels(maps);
        let cat = |maps| Tensor::cat(maps, 1);
        assert_same_gradients(&leaves, join(vec![ours(), other()]), cat(vec![burns(), other()]));
        assert_same_gradients(&leaves, join(vec![other(), ours()]), cat(vec![other(), burns()]));
    }
    let leaves = [&x, &gamma, &beta];
    let maps = || vec![wide(), normed()];
    assert_same_gradients(&leaves, kiln_kernels::concat_channels(maps()), Tensor::cat(maps(), 1));
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
