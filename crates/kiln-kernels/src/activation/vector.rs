//! The activations on vectors.
//!
//! The exponential is the polynomial of the Cephes library (S. Moshier), exact to about two units in the last place.

use burn::backend::flex::FlexTensor;
use burn::tensor::DType;

use super::{Activation, SCALED_TANH};
use crate::buffer::Buffer;
use crate::dispatch::{Path, run_kernel};
use crate::parallel::{Shared, for_ranges};
use crate::simd::{LANES, Simd, Vector};

/// exp(x); infinity and zero beyond a float's range, NaN for NaN.
#[inline(always)]
unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        // Beyond these the halves of the power would leave the exponent's range; the results are 0 and infinity.
        let bounded = S::max(S::splat(-150.0), S::min(S::splat(130.0), x));
        let whole = S::round(S::mul(bounded, S::splat(std::f32::consts::LOG2_E)));
        let rest = S::fnma(whole, S::splat(0.693_359_4), bounded);
        let rest = S::fnma(whole, S::splat(-2.121_944_4e-4), rest);
        let mut sum = S::splat(1.987_569_1e-4);
        for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            sum = S::fma(sum, rest, S::splat(factor));
        }
        let sum = S::add(S::fma(sum, S::mul(rest, rest), rest), S::splat(1.0));
        // 2^whole in two factors: the whole range from subnormal to infinity without a special case.
        let half = S::round(S::mul(whole, S::splat(0.5)));
        S::mul(S::mul(sum, S::exp2_whole(half)), S::exp2_whole(S::sub(whole, half)))
    }
}

#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

#[inline(always)]
unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's to guarantee.
    unsafe {
        let square = S::mul(x, x);
        // Near zero a polynomial, where 1 − 2 / (exp(2x) + 1) would cancel.
        let mut sum = S::splat(-5.704_988_7e-3);
        for factor in [2.063_909e-2, -5.373_972e-2, 1.333_144_2e-1, -3.333_328e-1] {
            sum = S::fma(sum, square, S::splat(factor));
        }
        let near = S::fma(S::mul(sum, square), x, x);
        let far = S::sub(
            S::splat(1.0),
            S::div(S::splat(2.0), S::add(exp::<S>(S::add(x, x)), S::splat(1.0))),
        );
        S::select_less(square, S::splat(0.625 * 0.625), near, far)
    }
}

impl Activation {
    /// Whether the kernels apply it in registers; the others take a second pass over what was just written.
    #[inline(always)]
    pub(crate) fn cheap(self) -> bool {
        matches!(self, Self::Identity | Self::Relu | Self::LeakyRelu(_))
    }

    /// Applies it to a vector if it is [cheap](Self::cheap), else leaves that to [`in_place`].
    ///
    /// # Safety
    /// Only inside `run_kernel!`.
    #[inline(always)]
    pub(crate) unsafe fn cheap_vector<S: Vector>(self, x: S::V) -> S::V {
        // SAFETY: the instruction set is the caller's to guarantee.
        unsafe {
            match self {
                Self::Relu => S::max(S::splat(0.0), x),
                Self::LeakyRelu(slope) => {
                    S::select_less(x, S::splat(0.0), S::mul(S::splat(slope), x), x)
                }
                _ => x,
            }
        }
    }

    /// Applies it to a vector.
    ///
    /// # Safety
    /// Only inside `run_kernel!`.
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, x: S::V) -> S::V {
        // SAFETY: the instruction set is the caller's to guarantee.
        unsafe {
            match self {
                Self::Identity => x,
                Self::Relu => S::max(S::splat(0.0), x),
                Self::LeakyRelu(slope) => {
                    S::select_less(x, S::splat(0.0), S::mul(S::splat(slope), x), x)
                }
                Self::Tanh => tanh::<S>(x),
                Self::ScaledTanh => {
                    S::mul(S::splat(SCALED_TANH.0), tanh::<S>(S::mul(S::splat(SCALED_TANH.1), x)))
                }
                Self::Sigmoid => sigmoid::<S>(x),
                Self::Silu => S::mul(x, sigmoid::<S>(x)),
            }
        }
    }

    /// Applies it from one place to another (or the same).
    ///
    /// # Safety
    /// Only inside `run_kernel!`; `len` floats must be readable and writable.
    #[inline(always)]
    unsafe fn row<S: Simd>(self, from: *const f32, to: *mut f32, len: usize) {
        // SAFETY: all reads and writes lie within `len` floats; the tail goes through an array.
        unsafe {
            let mut i = 0;
            while i + LANES <= len {
                S::store(to.add(i), self.vector::<S>(S::load(from.add(i))));
                i += LANES;
            }
            if i < len {
                let mut tail = [0f32; LANES];
                std::ptr::copy_nonoverlapping(from.add(i), tail.as_mut_ptr(), len - i);
                let value = self.vector::<S>(S::load(tail.as_ptr()));
                S::store(tail.as_mut_ptr(), value);
                std::ptr::copy_nonoverlapping(tail.as_ptr(), to.add(i), len - i);
            }
        }
    }
}

#[inline(always)]
unsafe fn activate_rows<S: Simd>(
    activation: Activation,
    from: *const f32,
    to: *mut f32,
    len: usize,
) {
    // SAFETY: passed on.
    unsafe { activation.row::<S>(from, to, len) }
}

/// Applies `activation` to `len` floats that have just been written, unless it is cheap and so was applied before.
///
/// # Safety
/// They must be readable and writable.
pub(crate) unsafe fn in_place(path: Path, activation: Activation, at: *mut f32, len: usize) {
    if activation.cheap() {
        return;
    }
    run_kernel!(path, activate_rows(activation: Activation, from: *const f32, to: *mut f32, len: usize) with (activation, at.cast_const(), at, len));
}

/// Applies `activation` to all of `from`.
pub(crate) fn apply(path: Path, activation: Activation, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    let (source, target) = (Shared::of(from.as_ptr()), Shared::new(to.as_mut_ptr()));
    // Counted as sixteen moves a float: the exponentials take that long.
    for_ranges(from.len(), 16, |range| {
        // SAFETY: ranges are disjoint and lie within both slices.
        let (from, to) =
            unsafe { (source.get().cast_const().add(range.start), target.get().add(range.start)) };
        run_kernel!(path, activate_rows(activation: Activation, from: *const f32, to: *mut f32, len: usize) with (activation, from, to, range.len()));
    });
}

/// The activation of a tensor that is all of its storage, in the same order.
pub(crate) fn whole(x: &FlexTensor, activation: Activation) -> Option<FlexTensor> {
    let len = x.layout().num_elements();
    if len == 0 || x.storage::<f32>().len() != len || !crate::layout::dense(x.layout()) {
        return None;
    }
    let mut out = Buffer::new(len);
    apply(Path::best(), activation, x.storage(), &mut out);
    Some(FlexTensor::new(out.into_bytes(), x.layout().clone(), DType::F32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(activation: Activation, reference: impl Fn(f64) -> f64) {
        for path in Path::available() {
            let mut from: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.005).collect();
            from.extend([
                0.0,
                -0.0,
                1e-8,
                -1e-8,
                88.0,
                -88.0,
                100.0,
                -100.0,
                1e30,
                -1e30,
                f32::INFINITY,
                f32::NEG_INFINITY,
            ]);
            let mut to = vec![0.0; from.len()];
            apply(path, activation, &from, &mut to);
            for (x, y) in from.iter().zip(&to) {
                let expected = reference(f64::from(*x));
                let close = (f64::from(*y) - expected).abs() <= 4e-7 * expected.abs().max(0.01)
                    || f64::from(*y) == expected;
                assert!(close, "{activation:?}({x}) = {y}, expected {expected} ({path:?})");
            }
            let mut nan = [0.0];
            apply(path, activation, &[f32::NAN], &mut nan);
            assert!(nan[0].is_nan(), "{activation:?} swallows NaN ({path:?})");
        }
    }

    #[test]
    fn every_activation_matches_its_definition() {
        check(Activation::Identity, |x| x);
        check(Activation::Relu, |x| x.max(0.0));
        check(Activation::LeakyRelu(0.1), |x| if x < 0.0 { f64::from(0.1f32) * x } else { x });
        check(Activation::Tanh, f64::tanh);
        check(Activation::ScaledTanh, |x| 1.7159 * (x * 2.0 / 3.0).tanh());
        check(Activation::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
    }

    #[test]
    fn silu_is_x_times_sigmoid() {
        for path in Path::available() {
            let from: Vec<f32> = (-80..80).map(|i| i as f32 * 0.25).collect();
            let mut to = vec![0.0; from.len()];
            apply(path, Activation::Silu, &from, &mut to);
            for (x, y) in from.iter().zip(to) {
                let x = f64::from(*x);
                assert!((f64::from(y) - x / (1.0 + (-x).exp())).abs() < 2e-6);
            }
        }
    }
}
