//! Blocks and losses of kiln that burn-nn lacks, one idea per file.
//!
//! Every layer here tells [`trace`] what it computed, so that a network table, feature maps and
//! explanations need no hooks in the networks themselves.

mod activation;
mod aux_classifier;
mod conv_block;
mod dense;
mod depth_pool;
mod drop_path;
mod inception;
mod loss;
mod lrn;
mod mlp;
mod pixel_loss;
mod pool;
mod residual;
mod separable;
mod squeeze_excite;
mod subsample;
mod table_conv;
pub mod trace;
mod transposed_conv;

pub use activation::Activation;
pub use aux_classifier::{AuxClassifier, AuxClassifierConfig};
pub use conv_block::{ConvBlock, ConvBlockConfig, Norm};
pub use dense::{Dense, DenseConfig};
pub use depth_pool::{DepthMaxPool, DepthMaxPoolConfig};
pub use drop_path::{DropPath, DropPathConfig};
pub use inception::{Inception, InceptionConfig};
pub use loss::{Criterion, Objective, Targets, cross_entropy};
pub use lrn::{LocalResponseNorm, LocalResponseNormConfig};
pub use mlp::{Dropped, Mlp, MlpConfig};
pub use pixel_loss::{PixelCriterion, PixelObjective};
pub use pool::{
    AvgPool, AvgPoolConfig, MaxPool, MaxPoolConfig, adaptive_avg_pool, global_avg_pool,
};
pub use residual::{Place, Residual, ResidualConfig, Shortcut, residual_stages};
pub use separable::{SeparableConv, SeparableConvConfig};
pub use squeeze_excite::{Rounding, SqueezeExcite, SqueezeExciteConfig};
pub use subsample::{TrainableSubsample, TrainableSubsampleConfig};
pub use table_conv::{TableConv, TableConvConfig};
pub use transposed_conv::{TransposedConv, TransposedConvConfig, Upsampling};
