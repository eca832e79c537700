//! CPU kernels of kiln: convolution, dense layers, pooling and the small operations between them, for the flex device, and
//! meaning the same as burn's own operations.
//!
//! Every function takes and returns burn tensors. On the flex device, in f32, it runs our kernels; anywhere else (another
//! backend, another precision) it is a composition of burn's operations. A tensor that records gradients goes through our
//! kernels as well, as one node of the graph with a backward kernel (module `grad`); local response normalization,
//! interpolation and SiLU have none yet and record burn's operations. Results of the kernels are channels-last in memory
//! (NHWC behind burn's NCHW shape), which every function here reads without copying: a network that stays within this
//! crate between its first and last layer converts nothing.
//!
//! - The instruction set is chosen at run time: [`Path`]; `KILN_KERNELS=portable` in the environment does without any.
//! - Weights are packed at first use and kept as long as the parameter lives; a batch normalization behind them is
//!   folded in then ([`conv2d_norm`]), so that it costs nothing in inference.
//! - Memory comes from a pool: [`release_memory`] empties it.
//! - Each output is the same sum in the same order for any number of threads, so results are equal to the bit.
//! - [`set_exact`] turns Winograd convolution off.
//!
//! The matrix kernel holds six rows of two vectors in registers and takes its left side through pointers, so that no
//! input is unrolled; see the private modules `gemm`, `conv` and `pack`.

// The one crate that may; every block says why it is sound.
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
// Register blocks are walked by index in several arrays at once; iterators would hide that.
#![allow(clippy::needless_range_loop)]

mod activation;
mod add;
#[cfg(feature = "flex")]
mod buffer;
#[cfg(feature = "flex")]
mod cache;
mod concat;
mod conv;
mod dense;
mod dispatch;
#[cfg(feature = "flex")]
mod extension;
#[cfg(feature = "flex")]
mod gemm;
#[cfg(feature = "flex")]
mod grad;
#[cfg(feature = "flex")]
mod layout;
mod lrn;
mod norm;
#[cfg(feature = "flex")]
mod pack;
#[cfg(feature = "flex")]
mod parallel;
mod pool;
mod ran;
mod resize;
mod scale;
#[cfg(feature = "flex")]
mod simd;
#[cfg(all(test, feature = "flex"))]
mod testing;

pub use activation::{Activation, activate};
pub use add::add;
#[cfg(feature = "flex")]
pub use buffer::release_memory;
#[cfg(feature = "flex")]
pub use cache::cached_weights;
pub use concat::concat_channels;
pub use conv::{
    Algorithm, Convolution, Geometry, conv_transpose2d, conv2d, conv2d_branches, conv2d_norm,
    conv2d_pair,
};
pub use dense::linear;
pub use dispatch::{Path, exact, plain, set_exact, set_plain};
#[cfg(feature = "flex")]
pub use layout::converted_maps;
pub use lrn::{Lrn, lrn};
pub use norm::{Norm, batch_norm_train};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};
pub use ran::{Ran, take_ran};
pub use resize::interpolate;
pub use scale::scale_channels;
