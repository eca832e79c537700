//! A network from kiln's layers, trained with a loop of a dozen lines.
//!
//! ```text
//! cargo run --release --example from_layers
//! ```

use kiln::burn;
use kiln::burn::optim::{AdamConfig, GradientsParams};
use kiln::data::{Loader, LoaderConfig};
use kiln::layers::MaxPool;
use kiln::metrics::Classification;
use kiln::prelude::*;

/// Two convolutions and a dense layer: 9,250 parameters.
#[derive(Module, Debug)]
struct Small {
    stem: ConvBlock,
    body: ConvBlock,
    pool: MaxPool,
    head: Dense,
}

impl Small {
    fn new(classes: usize, device: &Device) -> Self {
        Small {
            stem: ConvBlockConfig::new([1, 8], 5).with_stride(2).init(device),
            body: ConvBlockConfig::new([8, 16], 3).init(device),
            pool: MaxPoolConfig::new(2, 2).init(),
            head: DenseConfig::new([16 * 7 * 7, classes]).init(device),
        }
    }
}

impl Classifier for Small {
    /// # Shapes
    ///
    /// - `images`: `[batch, 1, 28, 28]`
    /// - output: `[batch, classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let maps = self.pool.forward(self.body.forward(self.stem.forward(images)));

        self.head.forward(maps.flatten(1, 3))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let digits = kiln::data::open("mnist", None)?; // the sample that kiln carries
    let device = Device::default().autodiff();
    device.seed(1);
    let mut network = Small::new(digits.classes.len(), &device);
    let mut optimizer = AdamConfig::new().init();

    let config = LoaderConfig { batch: 64, shuffle: true, seed: 1, ..LoaderConfig::default() };
    let training = Loader::new(digits.train, config.clone(), digits.preprocess.clone(), None)?;
    for epoch in 0..2 {
        for batch in training.epoch(epoch, 0) {
            let batch = batch?;
            let (images, labels) = (batch.images(&device), batch.labels(&device));
            let (_, loss) = network.loss(images, labels.into(), &Objective::default());
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(4e-3, network, gradients);
        }
    }

    // `valid` is the copy for inference: no gradients, batch norm on its running statistics.
    let (network, device) = (network.valid(), device.without_autodiff());
    let mut seen = Classification::new(digits.classes.len());
    let test = Loader::new(digits.test, config, digits.preprocess, None)?;
    for batch in test.epoch(0, 0) {
        let batch = batch?;
        let scores: Vec<f32> = network.forward(batch.images(&device)).into_data().try_to_vec()?;
        seen.record(&scores, &batch.labels, 0.0);
    }
    println!("{:.1} % of {} digits right", 100.0 * seen.top1(), seen.samples());
    assert!(seen.top1() > 0.9, "it should have learned");
    Ok(())
}
