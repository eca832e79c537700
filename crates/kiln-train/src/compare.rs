//! Runs side by side: what they reached, and how, over the seeds of each recipe.

use std::fs;
use std::path::{Path, PathBuf};

use image::{RgbImage, imageops};
use kiln_metrics::Spread;
use kiln_models::Registry;
use kiln_viz::{Chart, Values};
use serde_json::Value;

use crate::folder::Folder;
use crate::{Checkpoint, EpochRow, Error, Recipe, runs_in};

/// Size of each of the two charts, in points.
const CHART: [u32; 2] = [820, 300];

/// Runs whose recipes differ in nothing but their seeds.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The folder that they were named by, or that of the first of them.
    pub name: String,
    /// Their recipe, with the seed of the first run.
    pub recipe: Recipe,
    /// The runs.
    pub runs: Vec<Compared>,
}

/// What a run has reached.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The run folder.
    pub run: PathBuf,
    /// Its seed.
    pub seed: u64,
    /// Its finished epochs.
    pub history: Vec<EpochRow>,
    /// Top-1 and loss on the test part, once it is finished.
    pub test: Option<[f64; 2]>,
}

/// Reads the runs in `folders`, each of which is a run or holds runs, as `train --seeds` leaves them. Runs of one recipe
/// become one [`Variant`], whatever their seeds.
///
/// # Errors
///
/// If a folder holds no run, or a run can't be read or has no finished epoch.
pub fn compare<R: Registry>(registry: &R, folders: &[PathBuf]) -> Result<Vec<Variant>, Error> {
    let mut variants: Vec<Variant> = Vec::new();
    for folder in folders {
        let inside = runs_in(folder);
        let runs = if Folder::recipe_of(folder).is_ok() { vec![folder.clone()] } else { inside };
        if runs.is_empty() {
            return Err(Error::NoRun(folder.clone()));
        }
        for run in runs {
            let recipe = Recipe::from_file(registry, &Folder::recipe_of(&run)?)?;
            let compared = Compared::read(&run, recipe.seed)?;
            let same =
                |other: &Variant| Recipe { seed: recipe.seed, ..other.recipe.clone() } == recipe;
            match variants.iter_mut().find(|variant| same(variant)) {
                // The same run named twice counts once.
                Some(variant) if variant.runs.iter().any(|it| it.run == run) => {}
                Some(variant) => variant.runs.push(compared),
                None => {
                    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
                    let name = name.unwrap_or_else(|| folder.display().to_string());
                    variants.push(Variant { name, recipe, runs: vec![compared] });
                }
            }
        }
    }
    Ok(variants)
}

impl Compared {
    fn read(run: &Path, seed: u64) -> Result<Self, Error> {
        let last = run.join("checkpoints").join("last");
        let history = Checkpoint::read(&last)?.state.history;
        if history.is_empty() {
            let reason = "no epoch is finished yet, so there is nothing to compare";
            return Err(Error::checkpoint(&last, reason));
        }
        let test = fs::read_to_string(run.join("test.json")).ok().and_then(|text| {
            let object: Value = serde_json::from_str(&text).ok()?;
            let metric = |name: &str| object["metrics"][name].as_f64();
            Some([metric("top1")?, metric("loss")?])
        });
        Ok(Compared { run: run.to_owned(), seed, history, test })
    }

    /// The best validation result of its epochs, if it had a validation part.
    pub fn validation_top1(&self) -> Option<f64> {
        self.history.iter().filter_map(|row| row.validation_top1).reduce(f64::max)
    }

    /// Seconds of training.
    pub fn seconds(&self) -> f64 {
        self.history.iter().map(|row| row.seconds).sum()
    }
}

impl Variant {
    /// Mean and spread over the runs that have this number; `None` if none has.
    pub fn spread(&self, of: impl Fn(&Compared) -> Option<f64>) -> Option<Spread> {
        let numbers: Vec<f64> = self.runs.iter().filter_map(of).collect();
        (!numbers.is_empty()).then(|| Spread::of(&numbers))
    }

    /// The mean over the runs by epoch, as far as every run has come.
    pub fn curve(&self, of: impl Fn(&EpochRow) -> Option<f64>) -> Vec<(f64, f64)> {
        let epochs = self.runs.iter().map(|run| run.history.len()).min().unwrap_or(0);
        let mean = |epoch: usize| {
            let values: Option<Vec<f64>> =
                self.runs.iter().map(|run| of(&run.history[epoch])).collect();
            Some(((epoch + 1) as f64, Spread::of(&values?).mean))
        };
        (0..epochs).filter_map(mean).collect()
    }
}

/// Validation accuracy and training loss of all variants over their epochs, one above the other.
pub fn picture(variants: &[Variant]) -> RgbImage {
    let several = variants.iter().any(|variant| variant.runs.len() > 1);
    let mean = if several { ", mean over seeds" } else { "" };
    let mut top =
        Chart::new(format!("Validation top-1{mean}")).x("epoch").values(Values::Fractions);
    let mut bottom =
        Chart::new(format!("Training loss{mean}")).x("epoch").values(Values::Logarithmic);
    for variant in variants {
        top = top.series(&variant.name, variant.curve(|row| row.validation_top1));
        bottom = bottom.series(&variant.name, variant.curve(|row| Some(row.train_loss)));
    }
    let [width, height] = CHART;
    let charts = [top, bottom].map(|chart| chart.draw(width, height));
    let mut sheet =
        RgbImage::new(charts[0].width(), charts.iter().map(RgbImage::height).sum::<u32>());
    let mut y = 0;
    for chart in &charts {
        imageops::replace(&mut sheet, chart, 0, y);
        y += i64::from(chart.height());
    }
    sheet
}
