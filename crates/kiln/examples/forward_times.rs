//! A process that answers how long a forward pass takes: kiln's side of `cargo xtask bench infer`.
//!
//! ```text
//! cargo run --release --example forward_times -- [plain | exact]
//! ```
//!
//! Each line in gets one line out. `load MODEL FOLDER BATCH` reads `weights.pth` and repeats the images of
//! `input.safetensors`; `scores` gives the first image's; `time` gives milliseconds of one pass. With `plain` the
//! kernels are off and burn's own operations run; with `exact` Winograd is off.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use kiln::burn::tensor::Tensor;
use kiln::models::{Architecture, weights};
use kiln::prelude::*;

/// A short pass is repeated until this many milliseconds are full; the median of the passes is the answer.
const FILL: f64 = 120.0;

type Failure = Box<dyn std::error::Error>;

/// A network and what it is given.
type Loaded = (Architecture, Tensor<4>);

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("plain") => kiln::kernels::set_plain(true),
        Some("exact") => kiln::kernels::set_exact(true),
        Some(other) => return Err(format!("no mode `{other}`; there are plain and exact").into()),
        None => {}
    }
    let mut loaded = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (&words[..], &loaded) {
            (["load", model, folder, batch], _) => {
                // The last network's memory is free before the next one takes some.
                drop(loaded.take());
                loaded = Some(load(model, Path::new(folder), batch.parse()?)?);
                kiln::kernels::Path::best().name().to_owned()
            }
            (["scores"], Some((network, images))) => {
                let scores: Vec<f32> = network.forward(images.clone()).into_data().try_to_vec()?;
                let classes = scores.len() / images.dims()[0];
                scores[..classes].iter().map(|score| format!("{score:e} ")).collect()
            }
            (["time"], Some((network, images))) => format!("{:.4}", median(network, images)),
            _ => return Err(format!("no answer to `{line}`").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn load(model: &str, folder: &Path, batch: usize) -> Result<Loaded, Failure> {
    let device = Device::default();
    let network = Zoo.build(model, &Zoo.defaults(model)?, &device)?;
    let (network, _) = weights::load(
        network,
        &folder.join("weights.pth"),
        Zoo.keys(model, &Zoo.defaults(model)?)?,
    )?;
    let mut tensors = weights::read_tensors(&folder.join("input.safetensors"))?;
    let images = tensors.remove("input").ok_or("input.safetensors has no tensor `input`")?;
    let images = Tensor::<4>::from_data(images, &device);
    let times = batch.div_ceil(images.dims()[0]);
    Ok((network, images.repeat_dim(0, times).narrow(0, 0, batch)))
}

/// One pass brings caches and threads back and doesn't count.
fn median(network: &Architecture, images: &Tensor<4>) -> f64 {
    let once = || {
        let start = Instant::now();
        network.forward(images.clone()).into_data();
        start.elapsed().as_secs_f64() * 1e3
    };
    once();
    let mut times = Vec::new();
    while times.iter().sum::<f64>() < FILL {
        times.push(once());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
