//! Photos per second from JPEG files to batches for an ImageNet network: the kiln side of `cargo xtask bench data`.
//!
//! ```text
//! cargo run --release --example photo_speed -- DIR WORKERS
//! ```
//!
//! Answers each line on standard input with the images per second of an epoch over the photos of `DIR`, in a folder per
//! class.

use std::io::{BufRead, stdin};
use std::path::Path;
use std::time::Instant;

use kiln::data::transform::Crop;
use kiln::data::{Augment, Loader, LoaderConfig, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, workers] = &arguments[..] else {
        return Err("name a folder and a number of threads".into());
    };
    let photos = open("folders", Some(Path::new(folder)))?;
    let config = LoaderConfig {
        batch: 64,
        workers: workers.parse()?,
        shuffle: true,
        ..LoaderConfig::default()
    };
    let augment = Augment { crop: Crop::Resized, flip: 0.5, ..Augment::default() };
    let loader = Loader::new(photos.train, config, photos.preprocess, Some(augment))?;
    for (epoch, line) in (0..).zip(stdin().lock().lines()) {
        line?;
        let start = Instant::now();
        let mut images = 0;
        for batch in loader.epoch(epoch, 0) {
            images += batch?.len();
        }
        println!("{}", images as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
