//! A network of your own, built by name, trained by kiln's loop.
//!
//! ```text
//! cargo run --release --example own_network [RUN_FOLDER]
//! ```
//!
//! Four things make a network kiln's: its config, the module, [`Classifier`], and a [`Registry`]
//! that builds it by name. Then recipes, checkpoints, resuming, evaluation, prediction and the report
//! work as for the networks of the zoo.

use std::env;
use std::path::PathBuf;

use kiln::burn;
use kiln::models::{Error, options};
use kiln::prelude::*;

/// Configuration of a [`Pyramid`]; its fields are the options of recipes.
#[derive(Config, Debug)]
struct PyramidConfig {
    /// Classes to predict.
    #[config(default = 10)]
    num_classes: usize,
    /// Channels of the input image.
    #[config(default = 1)]
    in_channels: usize,
    /// Channels of the first stage; each stage doubles them.
    #[config(default = 8)]
    width: usize,
    /// Stages, each halving the image.
    #[config(default = 3)]
    stages: usize,
}

/// Convolutions of stride 2, then the mean of every map: any image size fits.
#[derive(Module, Debug)]
struct Pyramid {
    stages: Vec<ConvBlock>,
    head: Dense,
}

impl PyramidConfig {
    fn init(&self, device: &Device) -> Pyramid {
        let mut channels = self.in_channels;
        let stages = (0..self.stages)
            .map(|stage| {
                let from = std::mem::replace(&mut channels, self.width << stage);
                ConvBlockConfig::new([from, channels], 3).with_stride(2).init(device)
            })
            .collect();
        Pyramid { stages, head: DenseConfig::new([channels, self.num_classes]).init(device) }
    }
}

impl Classifier for Pyramid {
    /// # Shapes
    ///
    /// - `images`: `[batch, in_channels, height, width]`
    /// - output: `[batch, num_classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let maps = self.stages.iter().fold(images, |maps, stage| stage.forward(maps));

        self.head.forward(global_avg_pool(maps))
    }
}

/// A registry of one network.
struct Mine;

const ENTRIES: [Entry; 1] = [Entry {
    name: "pyramid",
    task: Task::Classification,
    parameters: 6_274,
    input: [1, 28, 28],
    dataset: "mnist",
    summary: "strided convolutions and a global mean",
}];

impl Registry for Mine {
    type Network = Pyramid;

    fn entries(&self) -> &[Entry] {
        &ENTRIES
    }

    fn defaults(&self, name: &str) -> Result<Options, Error> {
        self.entry(name)?;
        Ok(options::table(&PyramidConfig::new()))
    }

    fn build(&self, name: &str, given: &Options, device: &Device) -> Result<Pyramid, Error> {
        self.entry(name)?;
        Ok(options::configure(&PyramidConfig::new(), given)?.init(device))
    }
}

/// Prints a line per epoch.
struct Lines;

impl Observer for Lines {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Epoch(row) = event {
            let top1 = row.validation_top1.unwrap_or(f64::NAN);
            println!("epoch {}: loss {:.4}, validation top-1 {top1:.4}", row.epoch, row.train_loss);
        }
    }
}

fn main() -> Result<(), kiln::train::Error> {
    let recipe = r#"
        model = "pyramid"
        dataset = "mnist"
        epochs = 2
        batch_size = 64

        [options]
        width = 16

        [optimizer]
        name = "adamw"
        learning_rate = 5e-3
    "#;
    let out: PathBuf = env::args_os().nth(1).map_or_else(|| "runs/pyramid".into(), Into::into);
    let job = Job::new(Recipe::parse(&Mine, "pyramid", recipe)?, out, Device::default());
    let outcome = train(&Mine, &job, &mut Lines)?;

    if let Some(result) = outcome.evaluation {
        println!("test top-1 {:.4} on {} digits", result.top1, result.samples);
    }
    println!("report: {}", outcome.run.join("report.html").display());
    Ok(())
}
