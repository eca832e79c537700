//! The loop from outside, with a network of our own: batch norm, dropout and Adam have state of their
//! own, and a resumed run must restore all of it.

mod known;
mod real;
mod step;
mod transfer;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use kiln_layers::{ConvBlock, ConvBlockConfig, Dense, DenseConfig, global_avg_pool};
use kiln_models::{Classifier, Entry, Error, Options, Registry, Task, options};
use kiln_train::{Event, Job, Observer, Recipe, Silent, Stopped, train};

#[derive(Config, Debug)]
struct SmallConfig {
    #[config(default = 10)]
    num_classes: usize,
    #[config(default = 1)]
    in_channels: usize,
}

#[derive(Module, Debug)]
struct Small {
    stem: ConvBlock,
    body: ConvBlock,
    dropout: Dropout,
    head: Dense,
}

impl Classifier for Small {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let maps = self.body.forward(self.stem.forward(images));
        self.head.forward(self.dropout.forward(global_avg_pool(maps)))
    }

    fn head_paths(&self) -> &'static [&'static str] {
        &["dropout", "head"]
    }
}

struct Mine;

const ENTRIES: [Entry; 1] = [Entry {
    name: "small",
    task: Task::Classification,
    parameters: 1_442,
    input: [1, 28, 28],
    dataset: "mnist",
    summary: "two strided convolutions with batch norm, and dropout",
}];

impl Registry for Mine {
    type Network = Small;

    fn entries(&self) -> &[Entry] {
        &ENTRIES
    }

    fn defaults(&self, name: &str) -> Result<Options, Error> {
        self.entry(name)?;
        Ok(options::table(&SmallConfig::new()))
    }

    fn build(&self, name: &str, given: &Options, device: &Device) -> Result<Small, Error> {
        self.entry(name)?;
        let config = options::configure(&SmallConfig::new(), given)?;
        let conv = |from, to| ConvBlockConfig::new([from, to], 3).with_stride(2).init(device);
        Ok(Small {
            stem: conv(config.in_channels, 8),
            body: conv(8, 16),
            dropout: DropoutConfig::new(0.3).init(),
            head: DenseConfig::new([16, config.num_classes]).init(device),
        })
    }
}

/// Interrupts after a number of steps.
struct After(usize);

impl Observer for After {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step(_) = event {
            self.0 = self.0.saturating_sub(1);
        }
    }

    fn interrupted(&self) -> bool {
        self.0 == 0
    }
}

/// burn's generator belongs to the process, so one run at a time is reproducible.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parameters of a run's checkpoint, byte by byte.
fn bytes(run: &Path, checkpoint: &str) -> Vec<u8> {
    fs::read(run.join("checkpoints").join(checkpoint).join("model.safetensors")).unwrap()
}

/// A job of two epochs of a dozen steps.
fn job(out: &Path) -> Job {
    let recipe = r#"
        model = "small"
        dataset = "mnist"
        epochs = 2
        batch_size = 16
        fraction = 0.02
        validation = 0.2

        [augment]
        shift = 2.0

        [optimizer]
        name = "adamw"
        learning_rate = 3e-3
        weight_decay = 0.05
    "#;
    Job::new(Recipe::parse(&Mine, "small", recipe).unwrap(), out, Device::default())
}

#[test]
fn batch_norm_dropout_and_adam_survive_being_interrupted_in_the_middle_of_an_epoch() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    train(&Mine, &job(&whole), &mut Silent).unwrap();

    let mut next = job(&parts);
    for steps in [3, 2, 7] {
        let outcome = train(&Mine, &next, &mut After(steps)).unwrap();
        assert_eq!(outcome.stopped, Stopped::Interrupted);
        next = Job::resume(&Mine, &parts, Device::default()).unwrap();
    }
    let outcome = train(&Mine, &next, &mut Silent).unwrap();

    assert_eq!(outcome.stopped, Stopped::Finished);
    for name in ["last", "best"] {
        assert!(bytes(&whole, name) == bytes(&parts, name), "{name} differs");
    }
}
