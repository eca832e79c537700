//! A process that answers how long training takes: kiln's side of `cargo xtask bench train`.
//!
//! ```text
//! cargo run --release --example train_times -- [plain]
//! ```
//!
//! Each line in gets one line out. `load MODEL FOLDER BATCH IMAGES` reads `weights.pth` and repeats the images of
//! `input.safetensors`; `scores` gives the first image's, in inference; `time` gives milliseconds of training on all images,
//! a batch at a time; `memory` gives the most bytes resident so far. With `plain` the kernels are off and burn's own
//! operations run.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use kiln::burn::optim::momentum::MomentumConfig;
use kiln::burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use kiln::burn::tensor::{Int, Tensor, TensorData};
use kiln::models::{Architecture, Objective, Targets, weights};
use kiln::prelude::*;
use kiln::train::peak_memory;

/// Short work is repeated until this many milliseconds are full; the median is the answer.
const FILL: f64 = 120.0;

/// Small enough to leave weights that were drawn at random what they are.
const RATE: f64 = 1e-4;

type Failure = Box<dyn std::error::Error>;

/// A network in training.
struct Training {
    network: Option<Architecture>,
    optimizer: ModuleOptimizer,
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    batch: usize,
    /// Of the first image, in inference.
    scores: Vec<f32>,
}

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("plain") => kiln::kernels::set_plain(true),
        Some(other) => return Err(format!("no mode `{other}`; there is plain").into()),
        None => {}
    }
    let mut training: Option<Training> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (&words[..], &mut training) {
            (["load", model, folder, batch, images], _) => {
                let images = images.parse()?;
                training = Some(Training::load(model, Path::new(folder), batch.parse()?, images)?);
                kiln::kernels::Path::best().name().to_owned()
            }
            (["scores"], Some(training)) => {
                training.scores.iter().map(|score| format!("{score:e} ")).collect()
            }
            (["time"], Some(training)) => format!("{:.4}", training.median()),
            (["memory"], Some(_)) => peak_memory().ok_or("the system tells no memory")?.to_string(),
            _ => return Err(format!("no answer to `{line}`").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Training {
    fn load(model: &str, folder: &Path, batch: usize, count: usize) -> Result<Self, Failure> {
        let device = Device::default().autodiff();
        let options = Zoo.defaults(model)?;
        let network = Zoo.build(model, &options, &device)?;
        let (network, _) =
            weights::load(network, &folder.join("weights.pth"), Zoo.keys(model, &options)?)?;
        let mut tensors = weights::read_tensors(&folder.join("input.safetensors"))?;
        let images = tensors.remove("input").ok_or("input.safetensors has no tensor `input`")?;
        let images = Tensor::<4>::from_data(images, &device);
        let times = count.div_ceil(images.dims()[0]);
        let images = images.repeat_dim(0, times).narrow(0, 0, count);

        let first = images.clone().narrow(0, 0, 1).inner();
        let scores: Vec<f32> = network.valid().forward(first).into_data().try_to_vec()?;
        let labels = (0..count).map(|place| (place % scores.len()) as i64).collect();
        let labels = Tensor::from_data(TensorData::new(labels, [count]), &device);
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
        Ok(Self { network: Some(network), optimizer, images, labels, batch, scores })
    }

    /// The first step brings caches and threads back and doesn't count.
    fn median(&mut self) -> f64 {
        self.step(0);
        let mut times = Vec::new();
        while times.iter().sum::<f64>() < FILL {
            let start = Instant::now();
            (0..self.images.dims()[0]).step_by(self.batch).for_each(|first| self.step(first));
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    fn step(&mut self, first: usize) {
        let length = self.batch.min(self.images.dims()[0] - first);
        let images = self.images.clone().narrow(0, first, length);
        let labels = Targets::Classes(self.labels.clone().narrow(0, first, length));
        let Some(network) = self.network.take() else { return };
        let (_, loss) = network.loss(images, labels, &Objective::default());
        let gradients = GradientsParams::from_grads(loss.clone().backward(), &network);
        self.network = Some(self.optimizer.step(RATE, network, gradients));
        // As PyTorch's side does, which reports it.
        loss.into_data();
    }
}
