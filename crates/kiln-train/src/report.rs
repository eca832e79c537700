//! The report of a run: the numbers of the trainer, handed to the pictures of kiln-viz.

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;
use kiln_data::Dataset;
use kiln_metrics::{best, ranking, softmax};
use kiln_models::{Classifier, summarize, trace};
use kiln_viz as viz;

use crate::checkpoint::State;
use crate::folder::Folder;
use crate::machine::now;
use crate::measure::{Measure, scores};
use crate::{Error, Evaluation, Recipe, Stage, Stopped, device_name, machine};

/// Predictions shown of each kind.
const CARDS: usize = 30;
/// Test samples looked through for them.
const LOOKED_AT: usize = 10_000;

/// What the network made of a test sample. Its image is read again if it is shown: there may be thousands.
struct Seen {
    index: usize,
    predicted: usize,
    confidence: f64,
}

/// What a report is about.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) recipe: &'a Recipe,
    pub(crate) state: &'a State,
    /// Where the data comes from, in words.
    pub(crate) source: &'a str,
    pub(crate) stages: &'a [Stage],
}

impl About<'_> {
    /// Writes the report of a run under way, or of one that ended before its time.
    pub(crate) fn refresh(
        &self,
        validation: Option<&Measure>,
        status: viz::Status,
    ) -> Result<(), Error> {
        let mut run = self.outline();
        run.status = status;
        run.evaluation = validation.map(|measure| viz::Evaluation {
            split: "validation".into(),
            samples: measure.totals.samples(),
            top1: measure.totals.top1(),
            top5: measure.totals.top5(),
            loss: measure.totals.loss(),
            confusion: measure.totals.confusion().counts().to_vec(),
        });
        Ok(run.save(self.folder.path())?)
    }

    /// Says in the report why the run ended before its time.
    pub(crate) fn give_up(&self, error: &Error) {
        // The error itself is what the caller hears of.
        let _ = self.refresh(None, viz::Status::Stopped(format!("ended with an error: {error}")));
    }

    /// What is known of a run at any time.
    fn outline(&self) -> viz::Run {
        let About { recipe, state, source, stages, .. } = *self;
        let unknown = f64::NAN;
        let epochs = state.history.iter().map(|row| viz::Epoch {
            epoch: row.epoch,
            train_loss: row.train_loss,
            train_top1: row.train_top1,
            validation_loss: row.validation_loss.unwrap_or(unknown),
            validation_top1: row.validation_top1.unwrap_or(unknown),
            rate: row.learning_rate,
            images_per_second: row.images_per_second,
            seconds: row.seconds,
            best: row.best,
        });
        viz::Run {
            model: recipe.model.clone(),
            dataset: recipe.dataset.clone(),
            summary: format!("Trained on {source}, seed {}.", recipe.seed),
            classes: state.classes.clone(),
            epochs: epochs.collect(),
            recipe: recipe.to_toml(),
            facts: vec![
                (
                    "Learning".into(),
                    stages.iter().map(Stage::to_string).collect::<Vec<_>>().join("; "),
                ),
                ("Machine".into(), machine()),
                ("Time".into(), now()),
                ("kiln".into(), env!("CARGO_PKG_VERSION").into()),
            ],
            seconds: state.history.iter().map(|row| row.seconds).sum(),
            ..viz::Run::default()
        }
    }
}

/// A run that has ended.
pub(crate) struct Ended<'a> {
    pub(crate) about: About<'a>,
    pub(crate) test: &'a dyn Dataset,
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) stopped: Stopped,
}

impl Ended<'_> {
    /// Writes the report, with what `network`, the best one, has learned.
    pub(crate) fn report<N: Classifier>(&self, network: &N, device: &Device) -> Result<(), Error> {
        let mut run = self.about.outline();
        run.status = match self.stopped {
            Stopped::Early => viz::Status::Stopped(format!(
                "stopped early: no better for {} epochs",
                self.about.recipe.stop.patience
            )),
            Stopped::Finished | Stopped::Interrupted => viz::Status::Finished,
        };
        run.evaluation = Some(viz::Evaluation {
            split: self.evaluation.split.clone(),
            samples: self.evaluation.samples,
            top1: self.evaluation.top1,
            top5: self.evaluation.top5,
            loss: self.evaluation.loss,
            confusion: self.evaluation.confusion.counts().to_vec(),
        });
        (run.right, run.wrong) = self.cards(network, device)?;
        run.filters = filters(network);
        self.specimen(&mut run, network, device)?;

        let [_, image @ ..] = self.about.recipe.input(1);
        run.layers = summarize(network, image, device)?
            .layers
            .into_iter()
            .map(|row| viz::LayerRow {
                name: row.name,
                kind: row.kind.into(),
                output: row.output,
                parameters: row.parameters as u64,
                macs: row.macs,
            })
            .collect();
        run.facts.push(("Device".into(), device_name(device)));
        Ok(run.save(self.about.folder.path())?)
    }

    /// Test samples predicted right, evenly over the classes, and wrong, the surest mistakes first.
    fn cards<N: Classifier>(
        &self,
        network: &N,
        device: &Device,
    ) -> Result<(Vec<viz::Card>, Vec<viz::Card>), Error> {
        let About { recipe, state, .. } = self.about;
        let classes = state.classes.len();
        let per_class = CARDS.div_ceil(classes.max(1));
        let mut shown = vec![0; classes];
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        let indices: Vec<usize> = (0..self.test.len().min(LOOKED_AT)).collect();
        for chunk in indices.chunks(recipe.batch_size) {
            let mut images = Vec::new();
            let mut looked_at = Vec::new();
            for &index in chunk {
                // Unreadable samples were reported by the evaluation. Only what the network sees is kept: photos are large.
                let Ok(sample) = self.test.sample(index) else { continue };
                images.extend(recipe.preprocess.apply(&sample.pixels)?);
                looked_at.push((index, sample.label));
            }
            if looked_at.is_empty() {
                continue;
            }
            let images = TensorData::new(images, recipe.input(looked_at.len()));
            let output = network.forward(Tensor::from_data(images, device));
            let scores = scores(output, classes)?;
            for ((index, label), row) in looked_at.into_iter().zip(scores.chunks_exact(classes)) {
                let Some(predicted) = best(row) else { continue };
                let seen = Seen { index, predicted, confidence: softmax(row)[predicted] };
                if predicted != label {
                    wrong.push(seen);
                } else if shown[predicted] < per_class && right.len() < CARDS {
                    shown[predicted] += 1;
                    right.push(seen);
                }
            }
        }
        right.sort_by_key(|seen| seen.predicted);
        wrong.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        wrong.truncate(CARDS);
        let card = |Seen { index, predicted, confidence }| {
            let sample = self.test.sample(index).ok()?;
            let [predicted, truth] = [predicted, sample.label].map(|class| &state.classes[class]);
            let image = sample.pixels.to_rgb();
            Some(viz::Card::prediction(image, predicted, truth, confidence))
        };
        Ok([right, wrong].map(|seen| seen.into_iter().filter_map(card).collect()).into())
    }

    /// Sends one test image through the network and keeps what every layer made of it.
    fn specimen<N: Classifier>(
        &self,
        run: &mut viz::Run,
        network: &N,
        device: &Device,
    ) -> Result<(), Error> {
        let Some(sample) = (0..self.test.len()).find_map(|index| self.test.sample(index).ok())
        else {
            return Ok(());
        };
        let images = self.about.recipe.preprocess.apply(&sample.pixels)?;
        let images = Tensor::from_data(TensorData::new(images, self.about.recipe.input(1)), device);
        let (output, layers) = trace(network, images, true);

        let row = scores(output, self.about.state.classes.len())?;
        let probabilities = softmax(&row);
        run.scores = ranking(&row)
            .into_iter()
            .take(10)
            .map(|class| (self.about.state.classes[class].clone(), probabilities[class]))
            .collect();
        run.steps = layers
            .into_iter()
            .filter_map(|(name, layer)| {
                let map = layer.map?;
                let [_, channels, height, width] = map.dims();
                let maps = map.into_data().convert::<f32>().try_to_vec().ok()?;
                let shape = [channels, height, width];
                Some(viz::Step { name, kind: layer.kind.into(), maps, shape })
            })
            .collect();
        run.specimen = Some(sample.pixels.to_rgb());
        Ok(())
    }
}

/// The kernels of every convolution, in module order.
fn filters<M: Module>(network: &M) -> Vec<viz::Filters> {
    struct Kernels(Vec<viz::Filters>);

    impl ModuleVisitor for Kernels {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 4 {
                let value = param.val();
                let shape = std::array::from_fn(|axis| value.dims()[axis]);
                let weights = value.into_data().convert::<f32>().try_to_vec().unwrap_or_default();
                self.0.push(viz::Filters { name: String::new(), weights, shape });
            }
        }
    }

    let mut kernels = Kernels(Vec::new());
    network.visit(&mut kernels);
    let names = kiln_models::parameters(network)
        .into_iter()
        .filter(|parameter| parameter.shape.len() == 4)
        .map(|parameter| parameter.path.trim_end_matches(".weight").to_owned());
    kernels.0.iter_mut().zip(names).for_each(|(filters, name)| filters.name = name);
    kernels.0
}
