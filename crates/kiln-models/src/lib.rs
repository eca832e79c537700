//! The networks of kiln, one paper per file, with other frameworks' weights.
//!
//! [`Zoo`] builds every classifier by name, [`Detectors`] every detector and [`Segmenters`] every network that gives each pixel
//! a class; the last two are heads on networks of the first. A network of your own needs a [`Classifier`] implementation,
//! and a [`Registry`] of your own if it shall be built by name too; one that gives boxes implements [`Detector`], one that
//! gives each pixel a class [`Segmenter`].
//!
//! ```
//! use burn::prelude::*;
//! use kiln_models::{Classifier, Registry, Zoo};
//!
//! # fn main() -> Result<(), kiln_models::Error> {
//! let device = Device::default();
//! let network = Zoo.build("lenet5", &Zoo.defaults("lenet5")?, &device)?;
//! let scores = network.forward(Tensor::zeros([2, 1, 28, 28], &device));
//! assert_eq!(scores.dims(), [2, 10]);
//! # Ok(())
//! # }
//! ```

pub mod alexnet;
mod bounds;
mod classifier;
pub mod cnn;
mod convolutional;
pub mod darknet;
pub mod darknet53;
pub mod darknet_cfg;
mod detector;
mod error;
pub mod fcn;
pub mod fcn_dilated;
mod feature;
pub mod googlenet;
pub mod lenet;
pub mod lenet5;
pub mod lenet5_1998;
pub mod options;
mod parameters;
mod registry;
pub mod resnet;
pub mod resnet_cifar;
mod segmenter;
pub mod senet;
mod suggest;
mod summary;
pub mod unet;
pub mod vgg;
pub mod weights;
mod windows;
pub mod xception;
pub mod yolo;
pub mod yolov2;
pub mod yolov3;
mod zoo;

pub use classifier::Classifier;
pub use convolutional::{Convolutional, ConvolutionalHead};
pub use detector::Detector;
pub use error::Error;
pub use feature::{Feature, FeatureInfo};
pub use kiln_layers::{Criterion, Objective, PixelCriterion, PixelObjective, Targets};
pub use options::Options;
pub use parameters::{Parameter, group, initialize, is_below, norm_flags, parameters, trainable};
pub use registry::{Entry, Registry, Task};
pub use segmenter::Segmenter;
pub use suggest::{did_you_mean, nearest};
pub use summary::{Row, Summary, summarize, summarize_detector, summarize_segmenter, trace};
pub use windows::{Part, Windows};
pub use zoo::{AnyDetector, AnySegmenter, Architecture, Detectors, Segmenters, Zoo};
