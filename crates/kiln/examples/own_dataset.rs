//! A data set of your own: discs and squares, drawn on demand.
//!
//! ```text
//! cargo run --release --example own_dataset
//! ```
//!
//! A [`Dataset`] says how many samples there are and gives the one at an index. kiln's loader
//! shuffles, decodes in threads, augments and batches them, and its batches don't depend on how many
//! threads there are. An image that can't be had is an error with a name, never a silent gap.

use std::sync::Arc;

use kiln::burn::optim::{AdamConfig, GradientsParams};
use kiln::data::{Error, Loader, LoaderConfig, Random};
use kiln::metrics::Classification;
use kiln::prelude::*;

const CLASSES: [&str; 2] = ["disc", "square"];
const SIDE: usize = 28;

/// `len` shapes; which ones depends on `seed`.
struct Shapes {
    len: usize,
    seed: u64,
}

impl Dataset for Shapes {
    fn len(&self) -> usize {
        self.len
    }

    fn name(&self, index: usize) -> String {
        format!("shape {index}")
    }

    fn label(&self, index: usize) -> usize {
        index % CLASSES.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let mut random = Random::new(&[self.seed, index as u64]);
        let half = random.between(5.0, 9.0);
        let [x, y] = [0; 2].map(|_| random.between(half, SIDE as f32 - half));
        let inside = |dx: f32, dy: f32| match CLASSES[self.label(index)] {
            "disc" => dx.hypot(dy) < half,
            _ => dx.abs().max(dy.abs()) < half * 0.886, // of the same area
        };
        let data = (0..SIDE * SIDE)
            .map(|at| ((at % SIDE) as f32, (at / SIDE) as f32))
            .map(|(column, row)| if inside(column - x, row - y) { 255 } else { 0 })
            .collect();

        Ok(Sample { pixels: Pixels::new(SIDE, SIDE, 1, data)?, label: self.label(index) })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default().autodiff();
    device.seed(1);
    let mut options = Zoo.defaults("lenet5")?;
    options.insert("num_classes".into(), CLASSES.len().into());
    let mut network = Zoo.build("lenet5", &options, &device)?;
    let mut optimizer = AdamConfig::new().init();

    let preprocess = Preprocess::plain(1, SIDE, SIDE);
    let loader = |len, seed, shuffle| {
        let config = LoaderConfig { batch: 32, shuffle, ..LoaderConfig::default() };
        Loader::new(Arc::new(Shapes { len, seed }), config, preprocess.clone(), None)
    };
    let training = loader(4000, 1, true)?;
    for epoch in 0..3 {
        for batch in training.epoch(epoch, 0) {
            let batch = batch?;
            let (_, loss) = network.loss(batch.images(&device), batch.labels(&device), 0.0);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(2e-3, network, gradients);
        }
    }

    let (network, device) = (network.valid(), device.without_autodiff());
    let mut seen = Classification::new(CLASSES.len());
    let unseen = loader(500, 2, false)?;
    for batch in unseen.epoch(0, 0) {
        let batch = batch?;
        let scores: Vec<f32> = network.forward(batch.images(&device)).into_data().try_to_vec()?;
        seen.record(&scores, &batch.labels, 0.0);
    }
    println!("{:.1} % of {} unseen shapes right", 100.0 * seen.top1(), seen.samples());
    Ok(())
}
