//! Weights loaded from a file, one prediction made.
//!
//! ```text
//! cargo run --release --example load_weights -- lenet5.safetensors digit.png
//! ```
//!
//! The file may be kiln's own (`checkpoints/best/model.safetensors` of a run) or PyTorch's, as
//! safetensors or `.pt`: the registry knows how other frameworks name the parameters. Without
//! arguments the program writes random weights first and looks at a digit that kiln carries, so its
//! answer is a guess.

use std::env;
use std::path::PathBuf;

use kiln::data;
use kiln::metrics::{best, softmax};
use kiln::models::weights;
use kiln::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let network = Zoo.build("lenet5", &Zoo.defaults("lenet5")?, &device)?;
    let digits = data::open("mnist", None)?;

    let mut arguments = env::args().skip(1).map(PathBuf::from);
    let file = match arguments.next() {
        Some(file) => file,
        None => {
            let file = env::temp_dir().join("kiln-random-lenet5.safetensors");
            weights::save(&network, &file)?;
            file
        }
    };
    let pixels = match arguments.next() {
        Some(image) => data::decode(&image)?,
        None => digits.test.sample(0)?.pixels,
    };

    let (network, report) =
        weights::load(network, &file, Zoo.keys("lenet5", &Zoo.defaults("lenet5")?)?)?;
    println!("{}: {report}", file.display());

    let Preprocess { channels, height, width, .. } = digits.preprocess;
    let values = TensorData::new(digits.preprocess.apply(&pixels)?, [1, channels, height, width]);
    let scores = network.forward(Tensor::from_data(values, &device));
    let scores: Vec<f32> = scores.into_data().try_to_vec()?;
    let probabilities = softmax(&scores);
    match best(&scores) {
        Some(class) => println!("{}: {:.1} %", digits.classes[class], 100.0 * probabilities[class]),
        None => println!("the scores aren't numbers"),
    }
    Ok(())
}
