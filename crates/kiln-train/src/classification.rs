//! Measuring a classifier, and the shared bits of training and prediction: what a subject is, how a
//! batch of scores becomes numbers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::prelude::*;
use kiln_data::{Dataset, Loader, LoaderConfig, Policy, Preprocess, Relabelled, Splits};
use kiln_metrics::{Classification, Confusion};
use kiln_models::{Classifier, Registry, did_you_mean, nearest, weights};
use serde_json::{Map, Value, json};

use crate::checkpoint::State;
use crate::folder::{Folder, run_of};
use crate::{Checkpoint, Error, Event, Observer, Recipe, Weights, published};

/// Images per batch when nothing is trained.
const BATCH: usize = 256;

/// The network that a command works on.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A checkpoint folder, or a run folder: its best checkpoint, else its last.
    Checkpoint(PathBuf),
    /// A registry model with its default recipe's data and preprocessing.
    Model {
        /// Registry name.
        name: String,
        /// Options laid over the defaults.
        options: Map<String, Value>,
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
    pub note: Option<String>,
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
                let Checkpoint { state, model, .. } = Checkpoint::read(&folder)?;
                let network = registry.build(&state.model, &state.options, device)?;
                let network = weights::from_bytes(network, model, &folder)?;
                Ready { network, state, checkpoint: Some(folder), note: None }.checked()
            }
            Subject::Model { name, options, weights } => {
                let recipe = Recipe::named(registry, name)
                    .ok()
                    .filter(|recipe| recipe.model == *name)
                    .map_or_else(|| Recipe::defaults(registry, name), Ok)?;
                let mut merged = Value::Object(registry.defaults(name)?);
                kiln_models::options::overlay(&mut merged, Value::Object(options.clone()))?;
                let Value::Object(merged) = merged else {
                    unreachable!("an overlay keeps the kind")
                };

                let mut network = registry.build(name, &merged, device)?;
                let mut note = None;
                if let Some(file) = weights.file() {
                    let report;
                    (network, report) = weights::load(network, file, registry.keys(name, &merged)?)?;
                    let report = report.exact(file)?;
                    note = (!report.left_out.is_empty())
                        .then(|| format!("{}: {report}", file.display()));
                }
                let Recipe { mut dataset, mut preprocess, .. } = recipe;
                if let Some(entry) = weights.published(name) {
                    dataset = published::DATASET.to_owned();
                    preprocess = published::preprocess(entry);
                }
                // Names that don't belong to the network's scores are worse than none.
                let wanted = merged.get("num_classes").and_then(Value::as_u64);
                let mut classes = kiln_data::info(&dataset).map_or(Vec::new(), |info| info.classes);
                if wanted.is_some_and(|wanted| wanted != classes.len() as u64) {
                    classes.clear();
                }
                let state = State::new(name, merged, dataset, classes, preprocess);
                Ready { network, state, checkpoint: None, note }.checked()
            }
        }
    }
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
        let folder = match run.and_then(run_of).and_then(|run| Folder::recipe_of(run).ok()) {
            Some(recipe) => Recipe::from_file(registry, &recipe)?.data,
            None => None,
        };
        Ok(kiln_data::open(dataset, data.or(folder.as_deref().map(Path::new)))?)
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
        if let Some(note) = &self.note {
            observer.event(Event::Note(note));
        }
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
        let (network, preprocess) = (&self.network, &state.preprocess);
        let Measure { totals, skipped } =
            measure(network, part, preprocess, classes, Policy::Skip, device, observer)?;
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
        let Preprocess { channels, height, width, .. } = self.state.preprocess;
        self.network.check_input([channels, height, width])?;
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

/// Scores of every sample of a part, as totals.
pub(crate) struct Measure {
    pub(crate) totals: Classification,
    pub(crate) skipped: usize,
}

/// Runs `network` over `part` and compares with the labels.
pub(crate) fn measure<N: Classifier>(
    network: &N,
    part: Arc<dyn Dataset>,
    preprocess: &Preprocess,
    classes: usize,
    policy: Policy,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Measure, Error> {
    let of = part.len();
    let config = LoaderConfig { batch: BATCH, policy, ..LoaderConfig::default() };
    let loader = Loader::new(part, config, preprocess.clone(), None)?;

    let mut totals = Classification::new(classes);
    let mut skipped = 0;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        for sample in &batch.skipped {
            observer.event(Event::Skipped { name: &sample.name, reason: &sample.reason });
        }
        skipped += batch.skipped.len();
        if batch.labels.is_empty() {
            continue;
        }
        let scores = scores(network.forward(batch.images(device)), classes)?;
        let loss_sum = cross_entropy_sum(&scores, classes, &batch.labels);
        totals.record(&scores, &batch.labels, loss_sum);
        observer.event(Event::Evaluated { done: totals.samples() + skipped, of });
    }
    Ok(Measure { totals, skipped })
}

/// The scores of a batch as plain numbers, `batch × classes`.
pub(crate) fn scores(scores: Tensor<2>, classes: usize) -> Result<Vec<f32>, Error> {
    let [_, width] = scores.dims();
    if width != classes {
        return Err(Error::Mismatch(format!(
            "the network predicts {width} classes, the data set has {classes}; \
             set options.num_classes={classes}"
        )));
    }
    Ok(scores.into_data().convert::<f32>().try_to_vec().expect("scores were converted to f32"))
}

/// `Σ −log softmax(scores)[label]` over a batch, in f64.
pub(crate) fn cross_entropy_sum(scores: &[f32], classes: usize, labels: &[usize]) -> f64 {
    scores
        .chunks_exact(classes)
        .zip(labels)
        .map(|(row, &label)| {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&score| f64::from(score - max).exp()).sum();
            sum.ln() - f64::from(row[label] - max)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_cost_the_logarithm_of_the_class_count() {
        let sum = cross_entropy_sum(&[3.0; 8], 4, &[0, 3]);
        assert!((sum - 2.0 * 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let sum = cross_entropy_sum(&[1000.0, 0.0], 2, &[1]);
        assert!((sum - 1000.0).abs() < 1e-9);
    }
}
