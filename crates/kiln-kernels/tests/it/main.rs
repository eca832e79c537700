//! The public functions on flex tensors against burn's own operations: same values, same shapes, and gradients wherever
//! burn would give them.
#![cfg(feature = "flex")]

mod edges;
mod gradients;
mod values;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor, Tolerance, module};
use kiln_kernels::Norm;

/// The environment of the second run of [`every_test_holds_without_vector_instructions_too`].
const PORTABLE: (&str, &str) = ("KILN_KERNELS", "portable");

#[test]
fn every_test_holds_without_vector_instructions_too() {
    if std::env::var(PORTABLE.0).is_ok() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).env(PORTABLE.0, PORTABLE.1).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(" 0 passed"), "{text}");
}

#[test]
fn the_environment_chooses_the_path() {
    let portable = std::env::var(PORTABLE.0).is_ok_and(|value| value == PORTABLE.1);
    assert_eq!(
        kiln_kernels::Path::best() == kiln_kernels::Path::Portable,
        portable || { kiln_kernels::Path::available().len() == 1 }
    );
}

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
