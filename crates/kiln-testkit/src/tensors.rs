//! Tensors and modules to test with.

#![expect(clippy::needless_pass_by_value, reason = "tensors are passed by value, as in burn")]

use std::sync::Once;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

/// The device every test runs on, so that a result does not depend on the machine. The first call seeds the process's
/// generator, so that it does not depend on the run either: nextest gives each test a process of its own.
pub fn device() -> Device {
    static SEEDED: Once = Once::new();
    let device = Device::flex();
    SEEDED.call_once(|| device.seed(1998));
    device
}

/// Reproducible noise of shape `shape`, uniform in −1…1: an image to test with. Equal seeds give
/// equal values on every device and in every test order.
pub fn noise<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = (0..shape.iter().product::<usize>() as u64).map(|index| {
        // SplitMix64 (Steele, Lea, Flood. OOPSLA 2014), as a hash of seed and index.
        let mut bits = (seed << 32 | index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
}

/// Values in random order, farther apart than the two points of a difference, so that no
/// window's maximum changes its place between them; all below zero, so that a border of zeros
/// would win.
pub fn far_apart(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let noise: Vec<f32> = noise(shape, 3, device).to_data().iter().collect();
    let mut order: Vec<usize> = (0..noise.len()).collect();
    order.sort_by(|&a, &b| noise[a].total_cmp(&noise[b]));
    let mut values = vec![0.0; noise.len()];
    for (rank, place) in order.into_iter().enumerate() {
        values[place] = -1.0 - 0.05 * rank as f32;
    }
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// `module` with every float parameter set to zero.
pub fn zeroed<M: Module>(module: M) -> M {
    struct Zero;
    impl ModuleMapper for Zero {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.zeros_like())
        }
    }
    module.map(&mut Zero)
}

/// A module without parameters, for [`assert_gradients`](crate::assert_gradients) of a function.
pub fn nothing() -> impl Module {
    Vec::<nn::Linear>::new()
}

/// The largest difference between two tensors, as a part of the largest absolute value of
/// `expected`; NaN if either holds one.
///
/// # Panics
///
/// Panics if the shapes differ.
#[track_caller]
pub fn largest_difference<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) -> f32 {
    let (actual, expected) = (actual.to_data(), expected.to_data());
    assert_eq!(actual.shape(), expected.shape(), "shapes differ");

    // `f32::max` would drop a NaN.
    let largest = |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) };
    let pairs = || actual.iter::<f32>().zip(expected.iter::<f32>());
    let difference = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, largest);
    let scale = pairs().map(|(_, b)| b.abs()).fold(f32::MIN_POSITIVE, f32::max);
    difference / scale
}

/// Checks that two tensors agree: no element may differ by more than 1e-4 of the largest expected
/// value, or by more than 1e-6 where all are small.
#[track_caller]
pub fn assert_close<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) {
    let scale = expected.to_data().iter::<f32>().fold(0.0_f32, |scale, x| scale.max(x.abs()));
    let difference = largest_difference(actual, expected);
    // Written so that a NaN fails.
    let close = difference <= 1e-4 || difference * scale <= 1e-6;
    assert!(close, "the largest difference is {difference:e} of the largest value {scale:e}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats<const N: usize>(values: [f32; N]) -> Tensor<1> {
        Tensor::from_floats(values, &device())
    }

    #[test]
    fn a_not_a_number_is_never_close() {
        let nan = f32::NAN;
        for (a, b) in [([nan, 1.0], [0.0, 1.0]), ([0.0, 1.0], [1.0, nan]), ([nan; 2], [nan; 2])] {
            assert!(largest_difference(floats(a), floats(b)).is_nan(), "{a:?} {b:?}");
        }
    }

    #[test]
    fn noise_depends_on_its_seed_alone_and_is_balanced() {
        let values = |seed| noise::<1>([4096], seed, &device()).to_data();

        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
        let mean = values(3).iter::<f32>().sum::<f32>() / 4096.0;
        assert!(mean.abs() < 0.05 && values(3).iter::<f32>().all(|x| x.abs() <= 1.0), "{mean}");
    }
}
