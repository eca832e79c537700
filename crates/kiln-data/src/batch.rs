//! A batch, and how batches are made.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Sampling;
use crate::transform::SoftTargets;

/// What to do with a sample that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The epoch ends with the error.
    #[default]
    Fail,
    /// The batch goes on without it and reports it.
    Skip,
}

/// How samples become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Samples in a batch.
    pub batch: usize,
    /// Threads that read; 0 reads on the caller's.
    pub workers: usize,
    /// Batches that may wait, finished or in work, for the reader.
    pub prefetch: usize,
    /// Whether each epoch has its own random order.
    pub shuffle: bool,
    /// Samples among which the next one is picked where a data set is read from start to end, see
    /// [`Dataset::shards`](crate::Dataset::shards).
    pub shuffle_buffer: usize,
    /// Which samples an epoch holds. With [`Sampling::Balanced`] their order is random, whatever `shuffle` says.
    pub sampling: Sampling,
    /// Whether the last batch is left out if it is not full.
    pub drop_last: bool,
    /// Seed of the order and of the changes.
    pub seed: u64,
    /// What to do with a sample that cannot be read.
    pub policy: Policy,
    /// How many classes there are, which MixUp and CutMix must know; 0 where nothing is blended.
    pub classes: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch: 64,
            workers: 2,
            prefetch: 4,
            shuffle: false,
            shuffle_buffer: 4096,
            sampling: Sampling::Once,
            drop_last: false,
            seed: 0,
            policy: Policy::Fail,
            classes: 0,
        }
    }
}

/// A sample that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Name of the sample, such as its path.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Samples that are learned from together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The numbers of the images, row-major in [`shape`](Self::shape).
    pub images: Vec<f32>,
    /// `[samples, channels, height, width]`.
    pub shape: [usize; 4],
    /// The class of each sample.
    pub labels: Vec<usize>,
    /// Where each sample lies in the data set.
    pub indices: Vec<usize>,
    /// Samples of this batch that could not be read.
    pub skipped: Vec<Skipped>,
    /// How much of each class each sample is, where MixUp or CutMix blended them; the labels are the larger shares then.
    pub targets: Option<SoftTargets>,
}

impl Batch {
    /// How many samples it holds, those skipped not counted.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether every sample was skipped.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images on `device`, `[samples, channels, height, width]`.
    pub fn images(&self, device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(self.images.clone(), self.shape), device)
    }

    /// The labels on `device`, `[samples]`.
    pub fn labels(&self, device: &Device) -> Tensor<1, Int> {
        let labels: Vec<i32> = self.labels.iter().map(|&label| label as i32).collect();
        Tensor::from_data(TensorData::new(labels, [self.len()]), device)
    }

    /// The soft targets on `device`, `[samples, classes]`, if samples were blended.
    pub fn targets(&self, device: &Device) -> Option<Tensor<2>> {
        let SoftTargets { values, classes } = self.targets.as_ref()?;
        let data = TensorData::new(values.clone(), [self.len(), *classes]);
        Some(Tensor::from_data(data, device))
    }
}
