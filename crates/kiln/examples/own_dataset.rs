//! A data set of your own, trained on by kiln's loop: discs and squares, drawn on demand.
//!
//! ```text
//! cargo run --release --example own_dataset [RUN_FOLDER]
//! ```
//!
//! A [`Dataset`] says how many samples there are and gives the one at an index. kiln's loader
//! shuffles, reads in threads, augments and batches them; its batches don't depend on how many
//! threads there are. An image that can't be had is an error with a name, never a silent gap.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use kiln::data::{Error, Random};
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

fn main() -> Result<(), kiln::train::Error> {
    let shapes = Splits {
        name: "shapes".into(),
        classes: CLASSES.map(String::from).into(),
        train: Arc::new(Shapes { len: 4000, seed: 1 }),
        validation: None,
        test: Arc::new(Shapes { len: 500, seed: 2 }),
        source: "drawn".into(),
        preprocess: Preprocess::plain(1, SIDE, SIDE),
    };
    let mut recipe = Recipe::defaults(&Zoo, "lenet5")?;
    recipe.dataset = shapes.name.clone();
    recipe.preprocess = shapes.preprocess.clone();
    for choice in
        ["epochs=5", "batch_size=32", "optimizer.name=adam", "optimizer.learning_rate=3e-3"]
    {
        recipe.set(choice)?;
    }
    let out: PathBuf = env::args_os().nth(1).map_or_else(|| "runs/shapes".into(), Into::into);

    let job = Job { data: Some(shapes), ..Job::new(recipe, out, Device::default()) };
    let outcome = train(&Zoo, &job, &mut Silent)?;
    if let Some(result) = outcome.evaluation {
        println!("{:.1} % of {} unseen shapes right", 100.0 * result.top1, result.samples);
    }
    println!("report: {}", outcome.run.join("report.html").display());
    Ok(())
}
