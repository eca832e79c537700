//! One pass over a large image against all its windows cut out, timed.
//!
//! ```text
//! cargo run --release --example score_map
//! ```
//!
//! A classifier's convolutional form has the same weights and gives a map of scores. Neighbouring
//! windows share most of their pixels, so one pass does far less work than a network per window.

use std::time::Instant;

use kiln::models::{Convolutional, Registry};
use kiln::prelude::*;

/// Windows per forward pass.
const BATCH: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    println!("| model | window | image | windows | one pass, ms | cut out, ms | faster |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, side, runs) in [("lenet5-tanh", 256, 9), ("alexnet", 448, 5), ("vgg16", 448, 3)] {
        device.seed(1);
        let network = Zoo.build(name, &Zoo.defaults(name)?, &device)?;
        let input @ [channels, window, _] = Zoo.entry(name)?.input;
        let sliding = Convolutional::new(network.clone(), input)?;
        let image = Tensor::<4>::random(
            [1, channels, side, side],
            burn::tensor::Distribution::Normal(0.0, 1.0),
            &device,
        );
        let [_, _, rows, columns] = sliding.forward(image.clone()).dims();
        let step = (side - window) / (rows - 1);
        let windows: Vec<_> = (0..rows * columns)
            .map(|at| {
                let (top, left) = (at / columns * step, at % columns * step);
                image.clone().narrow(2, top, window).narrow(3, left, window)
            })
            .collect();
        let cut_out = || {
            for windows in windows.chunks(BATCH) {
                network.forward(Tensor::cat(windows.to_vec(), 0)).into_data();
            }
        };

        cut_out();
        let pass = median(runs, || drop(sliding.forward(image.clone()).into_data()));
        let crops = median(runs, cut_out);
        println!(
            "| `{name}` | {window}×{window} | {side}×{side} | {} | {pass:.1} | {crops:.1} | {:.1} × |",
            windows.len(),
            crops / pass
        );
    }
    Ok(())
}

/// The middle time of so many runs, in milliseconds.
fn median(runs: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}
