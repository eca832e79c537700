//! Images per second of the loader on MNIST, best of three epochs, with and without distortions.
//!
//! ```text
//! cargo run --release -p kiln-cli -p kiln-data --example loader_speed -- DIR
//! ```

use std::path::PathBuf;
use std::time::Instant;

use kiln_data::{Augment, Error, Loader, LoaderConfig, open};

fn main() -> Result<(), Error> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let digits = open("mnist", folder.as_deref())?;
    let distorted =
        Augment { shift: 2.0, rotate: 15.0, scale: 0.15, shear: 10.0, ..Augment::default() };
    for workers in [0, 1, 2] {
        for (name, augment) in [("plain", None), ("distorted", Some(distorted))] {
            let config = LoaderConfig { workers, shuffle: true, ..LoaderConfig::default() };
            let (train, preprocess) = (digits.train.clone(), digits.preprocess.clone());
            let loader = Loader::new(train, config, preprocess, augment)?;
            let mut best: f64 = 0.0;
            for epoch in 0..3 {
                let start = Instant::now();
                let mut images = 0;
                for batch in loader.epoch(epoch, 0) {
                    images += batch?.len();
                }
                best = best.max(images as f64 / start.elapsed().as_secs_f64());
            }
            println!("{workers} workers, {name}: {best:.0} images/s");
        }
    }
    Ok(())
}
