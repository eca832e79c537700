//! What evaluation and prediction work on, and how a classifier is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::prelude::*;
use kiln_data::{Dataset, Policy, Preprocess, Relabelled, Splits};
use kiln_metrics::{Calibration, Confusion, Separation};
use kiln_models::{Classifier, Registry, did_you_mean, nearest, options, weights};
use serde_json::{Map, Value, json};

use crate::checkpoint::State;
use crate::folder::{Folder, run_of};
use crate::measure::{How, Measure, measure};
use crate::parts::{SPLIT, root};
use crate::{Checkpoint, ClassOrder, Error, Event, Observer, Recipe, Weights, known, published};

/// Images per forward pass where no recipe says how many.
pub(crate) const BATCH: usize = 32;

/// The network that a command works on.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A checkpoint folder, or a run folder: its best checkpoint, else its last. Where the run kept a moving average of its
    /// weights, that is the network.
    Checkpoint(PathBuf),
    /// A registry model with its default recipe's data and preprocessing.
    Model {
        /// Registry name.
        name: String,
        /// Options laid over the defaults.
        options: Map<String, Value>,
        /// Values laid over the preprocessing that belongs to the weights or the data set.
        preprocess: Map<String, Value>,
        /// Which class each score stands for, where the weights' own word is to be overruled.
        class_order: Option<ClassOrder>,
        /// Where its weights come from.
        weights: Weights,
    },
}

/// A network ready for inference, and what it needs to be used.
#[derive(Debug)]
pub struct Ready<N> {
    /// The network, without gradients.
    pub network: N,
    /// Its name, options, classes and preprocessing.
    pub state: State,
    /// The checkpoint it came from, if it did.
    pub checkpoint: Option<PathBuf>,
    /// What a user should know of its weights.
    pub notes: Vec<String>,
    /// Images per forward pass: a run's own number, else 32.
    pub batch: usize,
    /// What an unreadable sample does to a measurement: `skip` counts it.
    pub on_error: Policy,
    /// Whether a measurement also looks at the mirror image of each image, and takes the mean of both.
    pub mirrored: bool,
}

impl Subject {
    /// Builds the network on `device` and loads its weights.
    ///
    /// # Errors
    ///
    /// If the checkpoint or the weights cannot be read or do not fit.
    pub fn load<R: Registry>(
        &self,
        registry: &R,
        device: &Device,
    ) -> Result<Ready<R::Network>, Error> {
        match self {
            Subject::Checkpoint(path) => {
                let folder = Checkpoint::locate(path)?;
                let Checkpoint { state, model, average, .. } = Checkpoint::read(&folder)?;
                let network = registry.build(&state.model, &state.options, device)?;
                let network = weights::from_bytes(network, average.unwrap_or(model), &folder)?;
                // A checkpoint is of use without its run, and so without the run's recipe.
                let recipe = run_of(&folder).and_then(|run| Folder::recipe_of(run).ok());
                let recipe = recipe.and_then(|file| Recipe::from_file(registry, &file).ok());
                let batch = recipe.map_or(BATCH, |recipe| recipe.batch_size);
                Ready { checkpoint: Some(folder), batch, ..Ready::of(network, state) }.checked()
            }
            Subject::Model { name, options, preprocess: changes, class_order, weights } => {
                let recipe = Recipe::named(registry, name)
                    .ok()
                    .filter(|recipe| recipe.model == *name)
                    .map_or_else(|| Recipe::defaults(registry, name), Ok)?;
                let mut merged = Value::Object(registry.defaults(name)?);
                options::overlay(&mut merged, Value::Object(options.clone()))?;
                let Value::Object(merged) = merged else {
                    unreachable!("an overlay keeps the kind")
                };

                let mut network = registry.build(name, &merged, device)?;
                let mut notes = Vec::new();
                let mut own = false;
                if let Some(file) = weights.file() {
                    let report;
                    (network, report) =
                        weights::load_classifier(network, file, registry.keys(name, &merged)?)?;
                    let report = report.exact(file)?;
                    if report.has_choices() {
                        notes.push(format!("{}: {report}", file.display()));
                    }
                    own = report.native;
                }
                let Recipe { mut dataset, mut preprocess, .. } = recipe;
                let mut known = None;
                if let Some(entry) = weights.published(registry, name) {
                    dataset = published::DATASET.to_owned();
                    preprocess = published::preprocess(entry);
                } else if let Some(file) = weights.file() {
                    known =
                        known::of(name, file).filter(|known| !own && known.apply(&mut preprocess));
                    let whose = known
                        .as_ref()
                        .map_or_else(|| format!("kiln does for {dataset}"), known::Known::said);
                    if changes.is_empty() {
                        notes.push(assumed(name, &preprocess, &whose));
                    }
                }
                let preprocess = changed(preprocess, changes)?;
                // Names that don't belong to the network's scores are worse than none.
                let wanted = merged.get("num_classes").and_then(Value::as_u64);
                let mut classes = kiln_data::info(&dataset).map_or(Vec::new(), |info| info.classes);
                if wanted.is_some_and(|wanted| wanted != classes.len() as u64) {
                    classes.clear();
                }
                let (classes, note) = known::in_order(classes, *class_order, known.as_ref())?;
                notes.extend(note);
                let state = State::new(name, merged, dataset, classes, preprocess);
                Ready { notes, ..Ready::of(network, state) }.checked()
            }
        }
    }
}

/// What is said of the images of weights that nobody describes.
fn assumed(name: &str, preprocess: &Preprocess, whose: &str) -> String {
    let Preprocess { mean, std, pad, .. } = preprocess;
    let border =
        if *pad == 0 { String::new() } else { format!(" and get a border of {pad} pixels") };
    format!(
        "images are normalized with mean {mean:?} and deviation {std:?}{border}, as {whose}; if these weights of {name} were \
         trained otherwise, say so with --set preprocess.mean=[…] and --set preprocess.std=[…]"
    )
}

/// `preprocess` with `changes` laid over it.
fn changed(preprocess: Preprocess, changes: &Map<String, Value>) -> Result<Preprocess, Error> {
    if changes.is_empty() {
        return Ok(preprocess);
    }
    let wrong = |error: &dyn std::fmt::Display| Error::recipe("--set", error);
    let mut table = serde_json::to_value(preprocess).map_err(|error| wrong(&error))?;
    options::overlay(&mut table, Value::Object(changes.clone())).map_err(|error| wrong(&error))?;
    let preprocess: Preprocess = options::read(table).map_err(|error| wrong(&error))?;
    preprocess.check().map_err(|error| wrong(&error))?;
    Ok(preprocess)
}

/// What an evaluation gave.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Registry name of the model.
    pub model: String,
    /// Name of the data set.
    pub dataset: String,
    /// `embedded sample`, or the folder that the data was read from.
    pub source: String,
    /// `train`, `validation` or `test`.
    pub split: String,
    /// Samples measured.
    pub samples: usize,
    /// Fraction predicted right.
    pub top1: f64,
    /// Fraction whose class is among the five largest scores.
    pub top5: f64,
    /// Mean cross entropy.
    pub loss: f64,
    /// Seconds it took.
    pub seconds: f64,
    /// Counts by true and predicted class.
    pub confusion: Confusion,
    /// Whether it is right as often as it is sure.
    pub calibration: Calibration,
    /// Of two classes, how well its confidence tells them apart.
    pub separation: Option<Separation>,
    /// Samples that could not be read.
    pub skipped: usize,
    /// Name of the classes.
    pub classes: Vec<String>,
    /// The checkpoint that was measured, if it was one.
    pub checkpoint: Option<PathBuf>,
}

impl Evaluation {
    /// The evaluation with the stable keys of `kiln eval --json`; rates are fractions.
    pub fn json(&self) -> Value {
        json!({
            "model": self.model,
            "dataset": self.dataset,
            "source": self.source,
            "split": self.split,
            "samples": self.samples,
            "metrics": { "top1": self.top1, "top5": self.top5, "loss": self.loss },
            "calibration_error": self.calibration.error(),
            "roc_auc": self.separation.as_ref().map(Separation::roc_auc),
            "average_precision": self.separation.as_ref().map(Separation::average_precision),
            "seconds": self.seconds,
            "skipped": self.skipped,
            "checkpoint": self.checkpoint.as_ref().map(|path| path.display().to_string()),
        })
    }
}

/// Measures `subject` on a split (`test`, `train` or `validation`) of its data set.
///
/// # Errors
///
/// If the network or the data cannot be read, or do not fit each other.
pub fn evaluate<R: Registry>(
    registry: &R,
    subject: &Subject,
    data: Option<&Path>,
    split: &str,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Evaluation, Error> {
    let ready = subject.load(registry, device)?;
    let splits = ready.splits(registry, None, data)?;
    ready.evaluate(&splits, split, device, observer)
}

impl<N: Classifier> Ready<N> {
    fn of(network: N, state: State) -> Self {
        let on_error = Policy::Skip;
        Ready {
            network,
            state,
            checkpoint: None,
            notes: Vec::new(),
            batch: BATCH,
            on_error,
            mirrored: false,
        }
    }

    /// Shape of a batch of `images` images, or of as many as go into one forward pass.
    pub fn input(&self, images: usize) -> [usize; 4] {
        let Preprocess { channels, height, width, .. } = self.state.preprocess;
        [images.min(self.batch), channels, height, width]
    }

    /// The data set called `dataset`, or the network's own, read from the folder `data`. Without a folder a run's
    /// checkpoint is given the run's own data, because the embedded sample may hold what it has learned from; anything
    /// else that sample.
    ///
    /// # Errors
    ///
    /// If the run's recipe or the data cannot be read.
    pub fn splits<R: Registry>(
        &self,
        registry: &R,
        dataset: Option<&str>,
        data: Option<&Path>,
    ) -> Result<Splits, Error> {
        let own = &self.state.dataset;
        let dataset = dataset.unwrap_or(own);
        let run = self.checkpoint.as_deref().filter(|_| data.is_none() && dataset == own);
        let Some(run) = run.and_then(run_of) else { return Ok(kiln_data::open(dataset, data)?) };
        let Ok(recipe) = Folder::recipe_of(run) else { return Ok(kiln_data::open(dataset, None)?) };
        let recipe = Recipe::from_file(registry, &recipe)?;
        let splits = kiln_data::open(dataset, recipe.data.as_deref().map(Path::new))?;
        // Own photos may have become more since; the split stays what it was.
        let saved = run.join(SPLIT);
        Ok(if saved.is_file() {
            kiln_data::resplit(splits, &root(&recipe), &saved)?
        } else {
            splits
        })
    }

    /// Measures the network on a split (`test`, `train` or `validation`) of `splits`.
    ///
    /// Where data and network have names for their classes, the names count: the data may have them in another order, or
    /// only some of them.
    ///
    /// # Errors
    ///
    /// If the data cannot be read, or does not fit the network.
    pub fn evaluate(
        &self,
        splits: &Splits,
        split: &str,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Evaluation, Error> {
        self.notes.iter().for_each(|note| observer.event(Event::Note(note)));
        let state = &self.state;
        let mut part = part(splits, split)?;
        let mut names = &splits.classes;
        if splits.classes != state.classes {
            match Relabelled::by_name(part.clone(), &splits.classes, &state.classes) {
                Some(relabelled) => (part, names) = (Arc::new(relabelled), &state.classes),
                None if self.checkpoint.is_none() => {}
                None => return Err(self.foreign(splits)),
            }
        }

        let start = Instant::now();
        let classes = names.len();
        let (batch, on_error, mirrored) = (self.batch.max(1), self.on_error, self.mirrored);
        let how = How { preprocess: &state.preprocess, classes, batch, on_error, mirrored };
        let Measure { totals, skipped } = measure(&self.network, part, &how, device, observer)?;
        Ok(Evaluation {
            model: state.model.clone(),
            dataset: splits.name.clone(),
            source: splits.source.clone(),
            split: split.to_owned(),
            samples: totals.samples(),
            top1: totals.top1(),
            top5: totals.top5(),
            loss: totals.loss(),
            seconds: start.elapsed().as_secs_f64(),
            confusion: totals.confusion().clone(),
            calibration: totals.calibration().clone(),
            separation: totals.separation(),
            skipped,
            classes: names.clone(),
            checkpoint: self.checkpoint.clone(),
        })
    }

    fn foreign(&self, splits: &Splits) -> Error {
        let known = &self.state.classes;
        let other = splits.classes.iter().find(|name| !known.contains(name));
        Error::Mismatch(format!(
            "the checkpoint knows {} classes ({}, …), and `{}` of the data set `{}` is none of them",
            known.len(),
            known.first().map_or("", String::as_str),
            other.map_or("", String::as_str),
            splits.name,
        ))
    }

    /// The network, if it takes the images that its preprocessing makes.
    fn checked(self) -> Result<Self, Error> {
        let [_, image @ ..] = self.input(1);
        self.network.check_input(image)?;
        Ok(self)
    }
}

fn part(splits: &Splits, split: &str) -> Result<Arc<dyn Dataset>, Error> {
    let Some(part) = splits.get(split) else {
        let near = did_you_mean(nearest(split, splits.parts().map(|(name, _)| name)));
        return Err(Error::Mismatch(format!(
            "unknown split `{split}` of data set `{}`; known: {}{near}",
            splits.name,
            splits.part_names()
        )));
    };
    if part.is_empty() {
        return Err(Error::Empty {
            dataset: splits.name.clone(),
            what: format!("split `{split}`"),
        });
    }
    Ok(part.clone())
}
