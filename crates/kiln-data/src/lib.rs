//! Data sets, decoding, transforms and batches of kiln.
//!
//! An image travels through this crate like this:
//!
//! 1. A [`Dataset`] gives a [`Sample`]: 8-bit [`Pixels`] and a label. [`open`] finds the known ones, of which
//!    some have a small real sample embedded, and folders of your own photos; [`decode`](mod@decode) reads image files;
//!    anything else implements the trait. Images with boxes and masks are [`Scenes`], which [`open_scenes`] opens.
//! 2. [`Augment`] changes the pixels at random, from (seed, epoch, index) alone; a [`transform`] takes boxes and masks
//!    along.
//!    For images with the class of each pixel, [`masks`] reads the files.
//! 3. [`Preprocess`] makes the numbers a network eats: channels, size, mean and deviation.
//! 4. [`Loader`] does all of it on worker threads and hands over [`Batch`]es, in an order that does not depend on them.
//!
//! Only the last step, [`Batch::images`] and [`Batch::labels`], knows tensors.
//!
//! ```
//! use kiln_data::{Loader, LoaderConfig, open};
//!
//! let digits = open("mnist", None)?; // the embedded sample
//! let config = LoaderConfig { batch: 100, ..LoaderConfig::default() };
//! let loader = Loader::new(digits.test, config, digits.preprocess, None)?;
//! for batch in loader.epoch(0, 0) {
//!     assert_eq!(batch?.shape, [100, 1, 28, 28]);
//! }
//! # Ok::<(), kiln_data::Error>(())
//! ```

mod batch;
pub mod boxes;
pub mod catalog;
pub mod check;
pub mod cifar;
pub mod decode;
mod epoch;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod folders;
#[cfg(test)]
mod golden;
pub mod idx;
mod listed;
pub mod loader;
mod manifest;
pub mod masks;
mod natural;
mod order;
mod own;
pub mod preprocess;
pub mod random;
mod sample;
mod saved;
pub mod scenes;
pub mod shards;
mod split;
pub mod transform;

pub use batch::{Batch, LoaderConfig, Policy, Skipped};
pub use catalog::{Info, Splits, info, list, open};
pub use decode::decode;
pub use epoch::Batches;
pub use error::Error;
pub use loader::{Loader, MAX_WORKERS};
pub use order::Sampling;
pub use preprocess::Preprocess;
pub use random::Random;
pub use sample::{Dataset, Pixels, Sample};
pub use saved::{resplit, split_table};
pub use scenes::{DigitScenes, SceneSplits, Scenes, open_scenes};
pub use split::{Relabelled, Subset, split_off};
pub use transform::Augment;
