//! Other inference engines in Rust, one per process: peers of `cargo xtask bench infer`.
//!
//! ```text
//! rivals rten | tract | candle
//! ```
//!
//! Each line in gets one line out, as from `infer.py`. `load MODEL FOLDER BATCH` reads `FOLDER/MODEL-BATCH.onnx` and
//! repeats the images of `input.safetensors`; it is answered with version and settings, or with `cannot` and the reason.
//! `scores` gives the first image's; `time` gives milliseconds of one forward pass.

mod candle;
mod images;
mod rten;
mod tract;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use images::Images;

/// A short pass is repeated until this many milliseconds are full; the median of the passes is the answer.
const FILL: f64 = 120.0;

/// One network, ready to run.
trait Engine {
    /// Version and settings.
    fn about(&self) -> String;

    /// The scores of all images, one after the other.
    fn forward(&self) -> Result<Vec<f32>>;
}

fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("name an engine: rten, tract or candle")?;
    let mut loaded: Option<(Box<dyn Engine>, usize)> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (&words[..], &loaded) {
            (["load", model, folder, batch], _) => {
                // The last network's memory is free before the next one takes some.
                drop(loaded.take());
                let batch = batch.parse().context("the batch is a number")?;
                let folder = Path::new(folder);
                let file = folder.join(format!("{model}-{batch}.onnx"));
                let images = Images::read(&folder.join("input.safetensors"), batch)?;
                match load(&name, &file, images) {
                    Ok(engine) => {
                        let about = engine.about();
                        loaded = Some((engine, batch));
                        about
                    }
                    Err(error) => format!("cannot: {error:#}").replace('\n', " "),
                }
            }
            (["scores"], Some((engine, batch))) => {
                let scores = engine.forward()?;
                let first = &scores[..scores.len() / batch];
                first.iter().map(|score| format!("{score:e} ")).collect()
            }
            (["time"], Some((engine, _))) => format!("{:.4}", median(engine.as_ref())?),
            _ => bail!("no answer to `{line}`"),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The engine with its network; an error if it can't run it.
fn load(name: &str, file: &Path, images: Images) -> Result<Box<dyn Engine>> {
    let engine: Box<dyn Engine> = match name {
        "rten" => Box::new(rten::Session::new(file, images)?),
        "tract" => Box::new(tract::Session::new(file, images)?),
        "candle" => Box::new(candle::Session::new(file, images)?),
        other => bail!("no engine `{other}`; there are rten, tract and candle"),
    };
    engine.forward()?;
    Ok(engine)
}

/// One pass brings caches and threads back and doesn't count.
fn median(engine: &dyn Engine) -> Result<f64> {
    engine.forward()?;
    let mut times = Vec::new();
    while times.iter().sum::<f64>() < FILL {
        let start = Instant::now();
        engine.forward()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Cores that may be used.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
