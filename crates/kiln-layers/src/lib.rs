//! Blocks and losses of kiln that burn-nn lacks, one idea per file.
//!
//! Every layer here tells [`trace`] what it computed, so that a network table, feature maps and
//! explanations need no hooks in the networks themselves.

mod activation;
mod conv_block;
mod dense;
mod loss;
mod pool;
mod subsample;
pub mod trace;

pub use activation::Activation;
pub use conv_block::{ConvBlock, ConvBlockConfig, Norm};
pub use dense::{Dense, DenseConfig};
pub use loss::cross_entropy;
pub use pool::{AvgPool, AvgPoolConfig, MaxPool, MaxPoolConfig, global_avg_pool};
pub use subsample::{TrainableSubsample, TrainableSubsampleConfig};
