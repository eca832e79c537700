//! Deep learning for computer vision, on [burn](https://burn.dev).
//!
//! kiln has the networks of the literature, the data sets to train them on, a training loop whose
//! runs can be killed and resumed to the same bytes, and the pictures that show what was learned.
//! This crate gathers its rooms:
//!
//! | module | holds |
//! | --- | --- |
//! | [`data`] | decoding, data sets, augmentation, batches |
//! | [`layers`] | blocks and losses that burn lacks |
//! | [`models`] | networks, one paper per file, and other frameworks' weights |
//! | [`metrics`] | accuracy, confusion, spread |
//! | [`train`] | recipes, the training loop, checkpoints, evaluation, prediction |
//! | [`viz`] | curves, filters, feature maps, reports |
//! | [`burn`] | tensors and modules themselves, in the version that kiln is built on |
//!
//! # Train
//!
//! ```no_run
//! use kiln::prelude::*;
//!
//! # fn main() -> Result<(), kiln::train::Error> {
//! let mut recipe = Recipe::named(&Zoo, "lenet5")?;
//! recipe.set("epochs=3")?;
//! let job = Job::new(recipe, "runs/digits", Device::default());
//! let outcome = train(&Zoo, &job, &mut Silent)?;
//! println!("{:?}", outcome.evaluation.map(|evaluation| evaluation.top1));
//! # Ok(())
//! # }
//! ```
//!
//! # Predict
//!
//! ```no_run
//! use std::path::Path;
//!
//! use kiln::prelude::*;
//!
//! # fn main() -> Result<(), kiln::train::Error> {
//! let subject = Subject::Checkpoint("runs/digits".into());
//! let images = [Path::new("7.png").to_owned()];
//! predict(&Zoo, &subject, &images, 1, &Device::default(), &mut |path, seen| {
//!     println!("{}: {seen:?}", path.display());
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # A network of your own
//!
//! Derive burn's `Module`, implement [`Classifier`](models::Classifier), and let a
//! [`Registry`](models::Registry) of yours build it by name: `examples/own_network.rs` does it, and
//! trains it with kiln's loop.
//!
//! # Backends
//!
//! Cargo features choose what tensors run on: `flex` (the CPU, the default), `ndarray`, `wgpu`,
//! `vulkan`, `metal`, `cuda`. No signature of kiln names a backend: it comes with the
//! [`Device`](burn::tensor::Device), as `examples/two_backends.rs` shows. `fetch`, a default too,
//! brings downloads of data sets.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use burn;
pub use kiln_data as data;
pub use kiln_kernels as kernels;
pub use kiln_layers as layers;
pub use kiln_metrics as metrics;
pub use kiln_models as models;
pub use kiln_train as train;
pub use kiln_viz as viz;

/// What most programs need: `use kiln::prelude::*;`.
pub mod prelude {
    pub use burn::prelude::*;

    pub use crate::data::{Augment, Dataset, Pixels, Preprocess, Sample, Splits};
    pub use crate::layers::{
        Activation, AvgPoolConfig, ConvBlock, ConvBlockConfig, Dense, DenseConfig, MaxPool,
        MaxPoolConfig, Norm, TrainableSubsample, TrainableSubsampleConfig, global_avg_pool,
    };
    pub use crate::models::lenet5::{LeNet5, LeNet5Config};
    pub use crate::models::{
        Classifier, Entry, Objective, Options, Registry, Targets, Task, Zoo, summarize,
    };
    pub use crate::train::{
        Event, Job, Observer, Outcome, Prediction, Recipe, Silent, Stopped, Subject, evaluate,
        predict, train,
    };
}
