//! A network in training: its steps, epochs and checkpoints.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::optim::ModuleOptimizer;
use burn::prelude::*;
use kiln_data::Loader;
use kiln_models::{Classifier, Registry, weights};
use kiln_viz::Status;

use crate::checkpoint::{Running, State};
use crate::folder::Folder;
use crate::groups::Groups;
use crate::measure::{self, How, Measure};
use crate::parts::Parts;
use crate::report::About;
use crate::{
    Checkpoint, EpochRow, Error, Event, Job, Observer, Recipe, Stage, Step, Stopped, identity,
    machine, published,
};

/// A report under way is drawn at the end of an epoch, but not more often than this.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A network in training.
pub(crate) struct Run<'a, N> {
    pub(crate) folder: &'a Folder,
    pub(crate) recipe: Recipe,
    /// Where the data comes from, in words.
    source: String,
    pub(crate) device: Device,
    /// Lent to the optimizer for a moment in each step: while there is no other handle on a
    /// parameter, it is updated in its place.
    pub(crate) network: Option<N>,
    /// The moving average of the network, if the recipe has one.
    pub(crate) average: Option<N>,
    pub(crate) optimizer: ModuleOptimizer,
    pub(crate) groups: Groups,
    /// What is frozen now; nothing is, until the first epoch begins.
    stage: Option<Stage>,
    pub(crate) loader: Loader,
    pub(crate) state: State,
    pub(crate) resumed: bool,
    /// When the report was last drawn.
    reported: Option<Instant>,
}

/// The device of `job` as `recipe` has it train.
fn training(job: &Job, recipe: &Recipe) -> Device {
    let device = job.device.clone().autodiff();
    if recipe.recompute { device.gradient_checkpointing() } else { device }
}

/// The network that a new run begins with: drawn from the seed, with the weights of the recipe's
/// file where there is one.
pub(crate) fn start<R: Registry>(
    registry: &R,
    recipe: &Recipe,
    job: &Job,
    observer: &mut dyn Observer,
) -> Result<R::Network, Error> {
    let device = training(job, recipe);
    device.seed(identity::mix(recipe.seed, 0));
    let network = identity::by_path(registry.build(&recipe.model, &recipe.options, &device)?);
    let Some(named) = &recipe.weights else { return Ok(network) };
    let file = published::file(registry, &recipe.model, named, observer)?;

    let keys = registry.keys(&recipe.model, &recipe.options)?;
    let (network, report) = weights::load_backbone(network, &file, keys)?;
    let anew = if report.is_exact() { "" } else { "; these parts of the head start anew" };
    observer.event(Event::Note(&format!("{}: {report}{anew}", file.display())));
    Ok(network)
}

impl<'a, N: Classifier> Run<'a, N> {
    /// A run of `network` from the beginning.
    pub(crate) fn new(
        network: N,
        folder: &'a Folder,
        recipe: Recipe,
        parts: &Parts,
        job: &Job,
    ) -> Result<Self, Error> {
        let state = State::new(
            &recipe.model,
            recipe.options.clone(),
            &recipe.dataset,
            parts.splits.classes.clone(),
            recipe.preprocess.clone(),
        );
        Ok(Run {
            folder,
            source: parts.splits.source.clone(),
            device: training(job, &recipe),
            optimizer: recipe.optimizer.init(&network),
            groups: Groups::of(&recipe, &network)?,
            stage: None,
            average: recipe.ema.is_on().then(|| network.valid()),
            network: Some(network),
            loader: parts.loader(&recipe)?,
            state,
            resumed: false,
            reported: None,
            recipe,
        })
    }

    /// The run in `folder` from its last checkpoint on, or from the beginning if it has none.
    pub(crate) fn resumed<R: Registry<Network = N>>(
        registry: &R,
        folder: &'a Folder,
        recipe: Recipe,
        parts: &Parts,
        job: &Job,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let last = folder.last();
        if !Checkpoint::exists(&last) {
            if folder.had_last() {
                let reason =
                    format!("it is gone, although epochs were finished; {}", folder.anew());
                return Err(Error::checkpoint(&last, reason));
            }
            observer.event(Event::Note(&format!(
                "{} has no checkpoint yet; training starts from the beginning",
                folder.path().display()
            )));
            let network = start(registry, &recipe, job, observer)?;
            return Run::new(network, folder, recipe, parts, job);
        }

        let unusable = |error| Checkpoint::remedied(error, &folder.anew());
        let Checkpoint { state, model, average, optimizer } =
            Checkpoint::read(&last).map_err(unusable)?;
        if state.progress.best_epoch > 0 && !Checkpoint::exists(&folder.best()) {
            let reason = format!("it is gone, although the run had one; {}", folder.anew());
            return Err(Error::checkpoint(&folder.best(), reason));
        }
        let device = training(job, &recipe);
        let network = registry.build(&recipe.model, &recipe.options, &device)?;
        let network = weights::from_bytes(identity::by_path(network), model, &last)?;
        let average = if recipe.ema.is_on() {
            let bytes = average.ok_or_else(|| {
                let reason = "it has no moving average of the weights, so training cannot go on";
                unusable(Error::checkpoint(&last, reason))
            })?;
            let fresh = registry.build(&recipe.model, &recipe.options, &device.clone().inner())?;
            Some(weights::from_bytes(identity::by_path(fresh), bytes, &last)?)
        } else {
            None
        };
        let bytes = optimizer.ok_or_else(|| {
            let reason = "it has no optimizer state, so training cannot go on";
            unusable(Error::checkpoint(&last, reason))
        })?;
        let mut run = Run::new(network, folder, recipe, parts, job)?;
        run.optimizer =
            run.optimizer.from_bytes(burn::tensor::Bytes::from_bytes_vec(bytes)).map_err(
                |error| unusable(Error::checkpoint(&last, format!("optimizer state: {error}"))),
            )?;
        Ok(Run { state, average, resumed: true, ..run })
    }

    /// The network as it is now.
    pub(crate) fn network(&self) -> &N {
        self.network.as_ref().expect("the optimizer gives it back before its step ends")
    }

    /// Trains until the end or until `observer` interrupts.
    pub(crate) fn go(
        &mut self,
        parts: &Parts,
        observer: &mut dyn Observer,
    ) -> Result<Stopped, Error> {
        while self.state.progress.epochs < self.recipe.epochs {
            if self.out_of_patience() {
                return Ok(Stopped::Early);
            }
            if !self.epoch(parts, observer)? {
                self.save(&self.folder.last(), true)?;
                let status = Status::Stopped("interrupted; continue with --resume".into());
                noted(self.refresh(None, status), observer);
                return Ok(Stopped::Interrupted);
            }
        }
        Ok(Stopped::Finished)
    }

    /// Whether the validation result has not improved for `stop.patience` epochs.
    fn out_of_patience(&self) -> bool {
        let progress = &self.state.progress;
        let patience = self.recipe.stop.patience;
        patience > 0 && progress.epochs >= progress.best_epoch + patience
    }

    /// The rest of the epoch under way; `false` if `observer` interrupted it.
    fn epoch(&mut self, parts: &Parts, observer: &mut dyn Observer) -> Result<bool, Error> {
        let steps = self.loader.batches();
        let epoch = self.state.progress.epochs;
        self.freeze(epoch, observer);
        let before = self.state.progress.running.seconds;
        let start = Instant::now();
        let mut learning_rate = 0.0;
        let losses: Vec<f64> =
            self.state.history.iter().filter_map(|row| row.validation_loss).collect();
        for batch in self.loader.epoch(epoch as u64, self.state.progress.steps_in_epoch) {
            let batch = batch?;
            learning_rate = self.recipe.learning_rate(self.state.progress.steps, steps, &losses);
            self.step(&batch, learning_rate, observer)?;

            let progress = &mut self.state.progress;
            progress.running.seconds = before + start.elapsed().as_secs_f64();
            let running = progress.running;
            observer.event(Event::Step(Step {
                epoch: epoch + 1,
                epochs: self.recipe.epochs,
                step: progress.steps_in_epoch,
                steps,
                loss: running.loss_sum / running.seen.max(1) as f64,
                learning_rate,
                images_per_second: running.seen as f64 / running.seconds,
            }));
            if progress.steps_in_epoch < steps && observer.interrupted() {
                return Ok(false);
            }
        }

        let trained = self.state.progress.running;
        if trained.seen == 0 {
            return Err(Error::Unreadable { samples: trained.skipped });
        }
        let validation = self.validate(parts, observer)?;
        let raw_top1 = self.validate_raw(parts, observer)?;
        let seconds = before + start.elapsed().as_secs_f64();
        self.close_epoch(trained, validation.as_ref(), raw_top1, learning_rate, seconds)?;
        if self.reported.is_none_or(|at| at.elapsed() > REPORT_EVERY) {
            let (epoch, epochs) = (self.state.progress.epochs, self.recipe.epochs);
            let status = Status::Running { epoch, epochs };
            noted(self.refresh(validation.as_ref(), status), observer);
            self.reported = Some(Instant::now());
        }
        observer.event(Event::Epoch(self.state.history.last().expect("an epoch was closed")));
        Ok(self.state.progress.epochs == self.recipe.epochs || !observer.interrupted())
    }

    /// Freezes what is frozen in `epoch`, from 0, and thaws the rest, if that is not yet so.
    fn freeze(&mut self, epoch: usize, observer: &mut dyn Observer) {
        let stage = self.groups.stage(epoch);
        if stage != self.stage {
            self.network = self.network.take().map(|network| self.groups.freeze(network, epoch));
            self.stage = stage;
            self.stage.iter().for_each(|stage| observer.event(Event::Stage(stage)));
        }
    }

    fn validate(
        &self,
        parts: &Parts,
        observer: &mut dyn Observer,
    ) -> Result<Option<Measure>, Error> {
        let network = self.average.clone().unwrap_or_else(|| self.network().valid());
        self.measure(&network, parts, observer)
    }

    /// What the weights themselves reach where validation is that of their average.
    fn validate_raw(
        &self,
        parts: &Parts,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>, Error> {
        if self.average.is_none() {
            return Ok(None);
        }
        let raw = self.measure(&self.network().valid(), parts, observer)?;
        Ok(raw.map(|raw| raw.totals.top1()))
    }

    fn measure(
        &self,
        network: &N,
        parts: &Parts,
        observer: &mut dyn Observer,
    ) -> Result<Option<Measure>, Error> {
        let Some(part) = &parts.validation else { return Ok(None) };
        let how = How {
            preprocess: &self.recipe.preprocess,
            classes: self.state.classes.len(),
            // What goes through in training fits here too.
            batch: self.recipe.batch_size.div_ceil(self.recipe.accumulate),
            on_error: self.recipe.loader.on_error,
            mirrored: false,
        };
        let device = self.device.clone().inner();
        measure::measure(network, part.clone(), &how, &device, observer).map(Some)
    }

    /// Writes down what the epoch gave: history, checkpoints, `results.csv`.
    fn close_epoch(
        &mut self,
        trained: Running,
        validation: Option<&Measure>,
        raw_top1: Option<f64>,
        learning_rate: f64,
        seconds: f64,
    ) -> Result<(), Error> {
        let top1 = validation.map(|measure| measure.totals.top1());
        let best_before = match self.state.progress.best_epoch {
            0 => None,
            epoch => self.state.history[epoch - 1].validation_top1,
        };
        // Without a validation part the last epoch is the best.
        let best = top1.is_none() || top1 > best_before;
        let seen = trained.seen.max(1) as f64;

        let progress = &mut self.state.progress;
        progress.epochs += 1;
        progress.steps_in_epoch = 0;
        progress.running = Running::default();
        if best {
            progress.best_epoch = progress.epochs;
        }
        self.state.history.push(EpochRow {
            epoch: progress.epochs,
            train_loss: trained.loss_sum / seen,
            train_top1: trained.right as f64 / seen,
            validation_loss: validation.map(|measure| measure.totals.loss()),
            validation_top1: top1,
            raw_top1,
            learning_rate,
            images_per_second: trained.seen as f64 / trained.seconds,
            seconds,
            skipped: trained.skipped + validation.map_or(0, |measure| measure.skipped),
            memory: machine::peak_memory(),
            best,
        });
        if best {
            self.save(&self.folder.best(), false)?;
        }
        self.save(&self.folder.last(), true)?;
        self.folder.write_results(&self.state.history)
    }

    /// Says in the report why the run ended before its time.
    pub(crate) fn give_up(&self, error: &Error) {
        self.about(&self.groups.stages()).give_up(error);
    }

    fn refresh(&self, validation: Option<&Measure>, status: Status) -> Result<(), Error> {
        self.about(&self.groups.stages()).refresh(validation, status)
    }

    fn about<'b>(&'b self, stages: &'b [Stage]) -> About<'b> {
        let Run { folder, recipe, state, source, .. } = self;
        About { folder, recipe, state, source, stages }
    }

    fn save(&self, folder: &Path, with_optimizer: bool) -> Result<(), Error> {
        if let Some(path) = identity::not_finite(self.network()) {
            let what = format!("parameter {path} is no longer finite");
            let progress = &self.state.progress;
            return Err(Error::Diverged {
                what,
                epoch: progress.epochs,
                step: progress.steps_in_epoch,
                saved: Checkpoint::exists(&self.folder.last()),
            });
        }
        let optimizer = with_optimizer.then(|| self.optimizer.into_bytes()).transpose();
        let optimizer = optimizer.map_err(|error| Error::checkpoint(folder, error))?;
        Checkpoint {
            state: self.state.clone(),
            model: weights::to_bytes(self.network()),
            average: self.average.as_ref().map(weights::to_bytes),
            optimizer: optimizer.map(|bytes| bytes.to_vec()),
        }
        .write(folder)
    }
}

/// A report that cannot be drawn is worth a line, not the end of a run.
pub(crate) fn noted(drawn: Result<(), Error>, observer: &mut dyn Observer) {
    if let Err(error) = drawn {
        observer.event(Event::Note(&format!("the report is incomplete: {error}")));
    }
}
