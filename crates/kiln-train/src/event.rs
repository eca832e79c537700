//! What a run tells whoever watches it; drawing it is the watcher's business.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Stage;

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run is set up and about to take its first step.
    Started(&'a Started<'a>),
    /// Other parameters learn from here on; the first time, which ones.
    Stage(&'a Stage),
    /// An optimizer step is done.
    Step(Step),
    /// An epoch is done, measured and saved.
    Epoch(&'a EpochRow),
    /// A batch of an evaluation is done.
    Evaluated {
        /// Samples measured so far.
        done: usize,
        /// Samples in all.
        of: usize,
    },
    /// A sample could not be read and was left out.
    Skipped {
        /// The sample's path or index.
        name: &'a str,
        /// Why it could not be read.
        reason: &'a str,
    },
    /// Published weights are on their way.
    Fetching {
        /// The file's name.
        file: &'a str,
        /// Bytes so far.
        have: u64,
        /// Bytes of the whole file; 0 where nobody says.
        total: u64,
    },
    /// Something worth a line.
    Note(&'a str),
}

/// The facts of a run, before its first step.
#[derive(Debug)]
pub struct Started<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// Registry name of the model.
    pub model: &'a str,
    /// Name of the data set.
    pub dataset: &'a str,
    /// Where the data came from.
    pub source: &'a str,
    /// The device, in words.
    pub device: String,
    /// Trainable parameters.
    pub parameters: usize,
    /// Samples trained on.
    pub train: usize,
    /// Samples that choose the best epoch.
    pub validation: usize,
    /// Samples held out for the end.
    pub test: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Optimizer steps in an epoch.
    pub steps_per_epoch: usize,
    /// The optimizer step that the run continues from, if it was resumed.
    pub resumed_at: Option<u64>,
}

/// One optimizer step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Step in the epoch, from 1.
    pub step: usize,
    /// Steps in the epoch.
    pub steps: usize,
    /// Mean training loss of the epoch so far.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Training images per second of the epoch so far.
    pub images_per_second: f64,
}

/// One line of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean training loss, augmentation and smoothing included.
    pub train_loss: f64,
    /// Fraction of training samples predicted right while training.
    pub train_top1: f64,
    /// Mean validation loss; absent without a validation part.
    pub validation_loss: Option<f64>,
    /// Fraction of validation samples predicted right.
    pub validation_top1: Option<f64>,
    /// Where validation is that of the weights' moving average: what the weights themselves reach.
    #[serde(default)]
    pub raw_top1: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Seconds of the epoch, validation included.
    pub seconds: f64,
    /// Samples of training and validation that could not be read.
    pub skipped: usize,
    /// The most memory, in bytes, that the process has had so far; absent where the system doesn't tell.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Whether this epoch is the best so far.
    pub best: bool,
}

/// Watches a run, and may ask it to stop.
pub trait Observer {
    /// Called for everything that happens, in order, on the training thread.
    fn event(&mut self, event: Event<'_>);

    /// Asked after every step: `true` makes the run write a checkpoint and stop.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: Event<'_>) {}
}
