//! The networks of kiln, one paper per file, with other frameworks' weights.
//!
//! [`Zoo`] builds every network by name. A network of your own needs a [`Classifier`]
//! implementation, and a [`Registry`] of your own if it shall be built by name too.
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

mod classifier;
mod error;
pub mod lenet5;
pub mod options;
mod parameters;
mod registry;
mod suggest;
mod summary;
pub mod weights;

pub use classifier::Classifier;
pub use error::Error;
pub use options::Options;
pub use parameters::{Parameter, initialize, parameters};
pub use registry::{Architecture, Entry, Registry, Task, Zoo};
pub use suggest::{did_you_mean, nearest};
pub use summary::{Row, Summary, summarize, trace};
