//! Maximum, average and global average pooling over channels-last maps.

use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Tensor, module};

#[cfg(feature = "flex")]
pub(crate) mod global;
#[cfg(feature = "flex")]
pub(crate) mod kernel;

/// The largest value of each window; NaN where a window holds one.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - output: `[batch, channels, out height, out width]`
///
/// # Panics
/// If a window does not fit into the padded input.
#[must_use]
pub fn max_pool2d(x: Tensor<4>, options: MaxPoolOptions<2>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::max(&x, &options) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::max_pool2d(&x, &options) {
        return out;
    }
    module::max_pool2d(x, options)
}

/// The mean of each window.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - output: `[batch, channels, out height, out width]`
///
/// # Panics
/// If a window does not fit into the padded input.
#[must_use]
pub fn avg_pool2d(x: Tensor<4>, options: AvgPoolOptions<2>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::average(&x, &options) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::avg_pool2d(&x, &options) {
        return out;
    }
    module::avg_pool2d(x, options)
}

/// The mean of each channel.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - output: `[batch, channels, 1, 1]`
#[must_use]
pub fn global_avg_pool(x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = global::global(&x) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::global_avg_pool(&x) {
        return out;
    }
    module::adaptive_avg_pool2d(x, [1, 1])
}
