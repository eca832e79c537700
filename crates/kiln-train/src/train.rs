//! The training loop: a recipe in, a run folder out.
//!
//! Everything random is a pure function of the recipe's seed and of the step, so a run that was
//! killed and resumed ends with the very bytes of one that was not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use kiln_data::{Batch, Loader, Policy, Splits};
use kiln_models::{Classifier, Registry, parameters, weights};
use kiln_viz::Status;

use crate::checkpoint::{Running, State};
use crate::classification::{self, Measure};
use crate::folder::Folder;
use crate::parts::{Parts, prepare};
use crate::report::{self, Ended};
use crate::{
    Checkpoint, EpochRow, Error, Evaluation, Event, Observer, Recipe, Started, Step, Subject,
    identity, machine,
};

/// A report under way is drawn at the end of an epoch, but not more often than this.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A run to be done.
#[derive(Clone)]
pub struct Job {
    /// What to do.
    pub recipe: Recipe,
    /// The run folder itself.
    pub out: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// Whether the run folder exists and is to be continued.
    pub resume: bool,
    /// Data of your own; absent: what the recipe names.
    pub data: Option<Splits>,
}

impl Job {
    /// A new run of `recipe` in the folder `out`.
    pub fn new(recipe: Recipe, out: impl Into<PathBuf>, device: Device) -> Job {
        Job { recipe, out: out.into(), device, resume: false, data: None }
    }

    /// The job that continues the run in `folder`.
    ///
    /// # Errors
    ///
    /// If the folder holds no run or its recipe cannot be read.
    pub fn resume<R: Registry>(registry: &R, folder: &Path, device: Device) -> Result<Job, Error> {
        let recipe = Recipe::from_file(registry, &Folder::recipe_of(folder)?)?;
        Ok(Job { resume: true, ..Job::new(recipe, folder, device) })
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every epoch is done.
    Finished,
    /// The validation result stopped improving.
    Early,
    /// The observer asked for it; the run can be resumed.
    Interrupted,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best network on the test part; absent if the run was interrupted.
    pub evaluation: Option<Evaluation>,
    /// Seconds of training, over all sessions of the run, test excluded.
    pub seconds: f64,
    /// The run folder.
    pub run: PathBuf,
    /// The checkpoint that was measured, or the last one if the run was interrupted.
    pub checkpoint: PathBuf,
    /// Why the run ended.
    pub stopped: Stopped,
}

/// Trains as `job` says, measures the best network on the test part, and writes the report.
///
/// # Errors
///
/// If the recipe, the data or the disk stop it; the last complete checkpoint is intact.
pub fn train<R: Registry>(
    registry: &R,
    job: &Job,
    observer: &mut dyn Observer,
) -> Result<Outcome, Error> {
    let mut notes = Notes(Vec::new());
    let (parts, recipe) = prepare(registry, job, &mut notes)?;
    let folder = if job.resume { Folder::existing(&job.out)? } else { Folder::create(&job.out)? };
    let mut observer = folder.journal(observer)?;
    let observer: &mut dyn Observer = &mut observer;
    notes.0.iter().for_each(|note| observer.event(Event::Note(note)));
    if !job.resume {
        folder.write_recipe(&recipe)?;
    }

    let mut run = Run::new(registry, &folder, recipe, &parts, job, observer)?;
    let parameters = parameters(&run.network)
        .iter()
        .filter(|parameter| parameter.trainable)
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    let [train, validation, test] = parts.samples();
    observer.event(Event::Started(&Started {
        run: folder.path(),
        model: &run.recipe.model,
        dataset: &parts.splits.name,
        source: &parts.splits.source,
        device: machine::device_name(&job.device),
        parameters,
        train,
        validation,
        test,
        epochs: run.recipe.epochs,
        steps_per_epoch: run.loader.batches(),
        resumed_at: run.resumed.then_some(run.state.progress.steps),
    }));

    let stopped = run.go(&parts, observer).inspect_err(|error| run.give_up(error))?;
    let Run { recipe, state, .. } = run;
    let seconds =
        state.history.iter().map(|row| row.seconds).sum::<f64>() + state.progress.running.seconds;
    let run = folder.path().to_owned();
    if stopped == Stopped::Interrupted {
        let checkpoint = folder.last();
        return Ok(Outcome { evaluation: None, seconds, run, checkpoint, stopped });
    }

    let device = job.device.clone().inner();
    let best = Subject::Checkpoint(folder.best()).load(registry, &device)?;
    let evaluation = best.evaluate(&parts.splits, "test", &device, observer)?;
    folder.write_evaluation(&evaluation)?;
    let ended = Ended {
        folder: &folder,
        recipe: &recipe,
        state: &state,
        source: &parts.splits.source,
        test: &*parts.splits.test,
        evaluation: &evaluation,
        stopped,
    };
    noted(ended.report(&best.network, &device), observer);
    Ok(Outcome { evaluation: Some(evaluation), seconds, run, checkpoint: folder.best(), stopped })
}

/// Keeps what was noted before there was a folder to write it in.
struct Notes(Vec<String>);

impl Observer for Notes {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Note(note) = event {
            self.0.push(note.to_owned());
        }
    }
}

/// A report that cannot be drawn is worth a line, not the end of a run.
fn noted(drawn: Result<(), Error>, observer: &mut dyn Observer) {
    if let Err(error) = drawn {
        observer.event(Event::Note(&format!("the report is incomplete: {error}")));
    }
}

/// A network in training.
struct Run<'a, N> {
    folder: &'a Folder,
    recipe: Recipe,
    device: Device,
    network: N,
    optimizer: ModuleOptimizer,
    loader: Loader,
    state: State,
    resumed: bool,
    /// When the report was last drawn.
    reported: Option<Instant>,
}

impl<'a, N: Classifier> Run<'a, N> {
    fn new<R: Registry<Network = N>>(
        registry: &R,
        folder: &'a Folder,
        recipe: Recipe,
        parts: &Parts,
        job: &Job,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let device = job.device.clone().autodiff();
        device.seed(identity::mix(recipe.seed, 0));
        let network = registry.build(&recipe.model, &recipe.options, &device)?;
        let mut network = identity::by_path(network);
        let mut optimizer = recipe.optimizer.init(&network);
        let mut state = State::new(
            &recipe.model,
            recipe.options.clone(),
            &recipe.dataset,
            parts.splits.classes.clone(),
            recipe.preprocess.clone(),
        );

        let last = (job.resume && Checkpoint::exists(&folder.last())).then(|| folder.last());
        if let Some(last) = &last {
            let checkpoint = Checkpoint::read(last)?;
            network = weights::from_bytes(network, checkpoint.model, last)?;
            let bytes = checkpoint.optimizer.ok_or_else(|| {
                Error::checkpoint(last, "it has no optimizer state, so training cannot go on")
            })?;
            optimizer = optimizer
                .from_bytes(burn::tensor::Bytes::from_bytes_vec(bytes))
                .map_err(|error| Error::checkpoint(last, format!("optimizer state: {error}")))?;
            state = checkpoint.state;
        } else if let Some(file) = &recipe.weights {
            let keys = registry.keys(&recipe.model);
            let report;
            (network, report) = weights::load(network, Path::new(file), keys)?;
            if report.loaded.is_empty() {
                return Err(Error::recipe(
                    file,
                    format!("no weight fits {}: {report}", recipe.model),
                ));
            }
            observer.event(Event::Note(&format!("{file}: {report}")));
        }

        let loader = parts.loader(&recipe)?;
        let resumed = last.is_some();
        let reported = None;
        Ok(Run { folder, recipe, device, network, optimizer, loader, state, resumed, reported })
    }

    /// Trains until the end or until `observer` interrupts.
    fn go(&mut self, parts: &Parts, observer: &mut dyn Observer) -> Result<Stopped, Error> {
        while self.state.progress.epochs < self.recipe.epochs {
            if self.out_of_patience() {
                return Ok(Stopped::Early);
            }
            if !self.epoch(parts, observer)? {
                self.save(&self.folder.last(), true)?;
                let status = Status::Stopped("interrupted; continue with --resume".into());
                noted(
                    report::refresh(self.folder, &self.recipe, &self.state, None, status),
                    observer,
                );
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
        let before = self.state.progress.running.seconds;
        let start = Instant::now();
        let mut learning_rate = 0.0;
        for batch in self.loader.epoch(epoch as u64, self.state.progress.steps_in_epoch) {
            let batch = batch?;
            learning_rate = self.recipe.learning_rate(self.state.progress.steps, steps);
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
        let validation = self.validate(parts, observer)?;
        let seconds = before + start.elapsed().as_secs_f64();
        self.close_epoch(trained, validation.as_ref(), learning_rate, seconds)?;
        if self.reported.is_none_or(|at| at.elapsed() > REPORT_EVERY) {
            let (epoch, epochs) = (self.state.progress.epochs, self.recipe.epochs);
            let status = Status::Running { epoch, epochs };
            let (recipe, state) = (&self.recipe, &self.state);
            let drawn = report::refresh(self.folder, recipe, state, validation.as_ref(), status);
            noted(drawn, observer);
            self.reported = Some(Instant::now());
        }
        observer.event(Event::Epoch(self.state.history.last().expect("an epoch was closed")));
        Ok(self.state.progress.epochs == self.recipe.epochs || !observer.interrupted())
    }

    /// One optimizer step on `batch`.
    fn step(
        &mut self,
        batch: &Batch,
        learning_rate: f64,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        for sample in &batch.skipped {
            observer.event(Event::Skipped { name: &sample.name, reason: &sample.reason });
        }
        if !batch.labels.is_empty() {
            self.device.seed(identity::mix(self.recipe.seed, self.state.progress.steps + 1));
            let (images, targets) = (batch.images(&self.device), batch.labels(&self.device));
            let (scores, loss) = self.network.loss(images, targets, self.recipe.loss.smoothing);
            let classes = self.state.classes.len();
            let scores = classification::scores(scores.inner(), classes)?;
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                let progress = &self.state.progress;
                let (epoch, step) = (progress.epochs + 1, progress.steps_in_epoch + 1);
                return Err(Error::Diverged {
                    what: format!("the loss became {value}"),
                    epoch,
                    step,
                });
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
            self.network = self.optimizer.step(learning_rate, self.network.clone(), gradients);

            let running = &mut self.state.progress.running;
            running.loss_sum += f64::from(value) * batch.labels.len() as f64;
            running.right += scores
                .chunks_exact(classes)
                .zip(&batch.labels)
                .filter(|&(row, &label)| kiln_metrics::best(row) == Some(label))
                .count();
            running.seen += batch.labels.len();
        }
        let progress = &mut self.state.progress;
        progress.running.skipped += batch.skipped.len();
        progress.steps += 1;
        progress.steps_in_epoch += 1;
        Ok(())
    }

    fn validate(
        &self,
        parts: &Parts,
        observer: &mut dyn Observer,
    ) -> Result<Option<Measure>, Error> {
        let Some(part) = &parts.validation else { return Ok(None) };
        classification::measure(
            &self.network.valid(),
            part.clone(),
            &self.recipe.preprocess,
            self.state.classes.len(),
            Policy::Skip,
            &self.device.clone().inner(),
            observer,
        )
        .map(Some)
    }

    /// Writes down what the epoch gave: history, checkpoints, `results.csv`.
    fn close_epoch(
        &mut self,
        trained: Running,
        validation: Option<&Measure>,
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
            learning_rate,
            images_per_second: trained.seen as f64 / trained.seconds,
            seconds,
            skipped: trained.skipped,
            best,
        });
        if best {
            self.save(&self.folder.best(), false)?;
        }
        self.save(&self.folder.last(), true)?;
        self.folder.write_results(&self.state.history)
    }

    /// Says in the report why the run ended before its time.
    fn give_up(&self, error: &Error) {
        let status = Status::Stopped(format!("ended with an error: {error}"));
        // The error itself is what the caller hears of.
        let _ = report::refresh(self.folder, &self.recipe, &self.state, None, status);
    }

    fn save(&self, folder: &Path, with_optimizer: bool) -> Result<(), Error> {
        if let Some(path) = identity::not_finite(&self.network) {
            let what = format!("parameter {path} is no longer finite");
            let progress = &self.state.progress;
            return Err(Error::Diverged {
                what,
                epoch: progress.epochs,
                step: progress.steps_in_epoch,
            });
        }
        let optimizer = with_optimizer.then(|| self.optimizer.into_bytes()).transpose();
        let optimizer = optimizer.map_err(|error| Error::checkpoint(folder, error))?;
        Checkpoint {
            state: self.state.clone(),
            model: weights::to_bytes(&self.network),
            optimizer: optimizer.map(|bytes| bytes.to_vec()),
        }
        .write(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;
    use crate::Silent;
    use kiln_models::Zoo;

    /// burn's generator belongs to the process, so one run at a time is reproducible.
    fn alone() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        ONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(out: &Path, changes: &[&str]) -> Job {
        let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
        let small = ["fraction=0.02", "epochs=3", "batch_size=16", "validation=0.2"];
        for change in small.iter().chain(changes) {
            recipe.set(change).unwrap();
        }
        Job::new(recipe, out, Device::default())
    }

    fn last_model(run: &Path) -> Vec<u8> {
        fs::read(run.join("checkpoints/last/model.safetensors")).unwrap()
    }

    /// Interrupts after a number of steps.
    struct After(usize);

    impl Observer for After {
        fn event(&mut self, event: Event<'_>) {
            if let Event::Step(_) = event {
                self.0 = self.0.saturating_sub(1);
            }
        }

        fn interrupted(&self) -> bool {
            self.0 == 0
        }
    }

    #[test]
    fn a_run_leaves_everything_in_its_folder() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let outcome = train(&Zoo, &job(folder.path(), &[]), &mut Silent).unwrap();

        assert_eq!(outcome.stopped, Stopped::Finished);
        for file in ["recipe.toml", "results.csv", "test.json", "report.html", "log.txt"] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
        let results = fs::read_to_string(folder.path().join("results.csv")).unwrap();
        assert_eq!(results.lines().count(), 1 + 3);
        let best = Checkpoint::read(&outcome.checkpoint).unwrap();
        assert_eq!(best.state.classes.len(), 10);
        assert!(best.optimizer.is_none());
    }

    #[test]
    fn an_interrupted_and_resumed_run_ends_with_the_bytes_of_an_undisturbed_one() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let changes = ["augment.shift=1.5", "optimizer.weight_decay=1e-3"];
        let whole = folder.path().join("whole");
        train(&Zoo, &job(&whole, &changes), &mut Silent).unwrap();

        let parts = folder.path().join("parts");
        let mut next = job(&parts, &changes);
        for steps in [3, 9, 4] {
            let outcome = train(&Zoo, &next, &mut After(steps)).unwrap();
            assert_eq!(outcome.stopped, Stopped::Interrupted);
            next = Job::resume(&Zoo, &parts, Device::default()).unwrap();
        }
        train(&Zoo, &next, &mut Silent).unwrap();

        assert!(last_model(&whole) == last_model(&parts), "weights differ");
    }

    #[test]
    fn a_run_killed_before_its_first_checkpoint_starts_again() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        train(&Zoo, &job(&whole, &["epochs=1"]), &mut Silent).unwrap();

        let killed = folder.path().join("killed");
        let first = job(&killed, &["epochs=1"]);
        Folder::create(&killed).unwrap().write_recipe(&first.recipe).unwrap();
        let again = Job::resume(&Zoo, &killed, Device::default()).unwrap();
        train(&Zoo, &again, &mut Silent).unwrap();

        assert!(last_model(&whole) == last_model(&killed), "weights differ");
    }

    #[test]
    fn the_number_of_workers_changes_nothing() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let runs = [1, 3].map(|workers| {
            let run = folder.path().join(workers.to_string());
            let workers = format!("loader.workers={workers}");
            let changes = ["epochs=1", "augment.rotate=10", &workers];
            train(&Zoo, &job(&run, &changes), &mut Silent).unwrap();
            last_model(&run)
        });
        assert!(runs[0] == runs[1], "weights differ");
    }

    #[test]
    fn a_run_never_overwrites_another() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path(), &["epochs=1"]);
        train(&Zoo, &job, &mut Silent).unwrap();
        let before = last_model(folder.path());

        let error = train(&Zoo, &job, &mut Silent).unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        assert!(before == last_model(folder.path()));
    }

    #[test]
    fn a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_checkpoint() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let hot = ["optimizer.learning_rate=1e30", "schedule.name=constant"];
        let error = train(&Zoo, &job(folder.path(), &hot), &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }), "{error}");

        // A last step that leaves the finite numbers after a finite loss is not saved either.
        let fine = job(&folder.path().join("fine"), &["epochs=1"]);
        train(&Zoo, &fine, &mut Silent).unwrap();
        let before = last_model(&fine.out);
        let mut onward = Job::resume(&Zoo, &fine.out, Device::default()).unwrap();
        for change in ["epochs=2", "optimizer.learning_rate=1e38", "schedule.name=constant"] {
            onward.recipe.set(change).unwrap();
        }
        let error = train(&Zoo, &onward, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
        assert!(last_model(&fine.out) == before);
        Checkpoint::read(&fine.out.join("checkpoints/last")).unwrap();
    }

    #[test]
    fn what_cannot_be_trained_is_refused_before_anything_is_written() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        for changes in [&["preprocess.height=32"][..], &["data=\"no such folder\""]] {
            assert!(train(&Zoo, &job(&out, changes), &mut Silent).is_err(), "{changes:?}");
            assert!(!out.exists(), "{changes:?}");
        }
    }

    #[test]
    fn a_damaged_last_checkpoint_is_refused_and_not_overwritten() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let first = job(folder.path(), &["epochs=1"]);
        train(&Zoo, &first, &mut Silent).unwrap();
        fs::remove_file(folder.path().join("checkpoints/last/SHA256SUMS")).unwrap();

        let mut again = Job::resume(&Zoo, folder.path(), Device::default()).unwrap();
        again.recipe.set("epochs=2").unwrap();
        let error = train(&Zoo, &again, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    }

    #[test]
    fn two_processes_cannot_share_a_run() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let first = job(folder.path(), &["epochs=1"]);
        let held = Folder::create(folder.path()).unwrap();
        let error = train(&Zoo, &first, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::RunBusy(_)), "{error}");
        drop(held);
        train(&Zoo, &first, &mut Silent).unwrap();
    }

    #[test]
    fn patience_ends_a_run_that_stops_improving() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let changes = ["optimizer.learning_rate=0", "epochs=9", "stop.patience=2"];
        let outcome = train(&Zoo, &job(folder.path(), &changes), &mut Silent).unwrap();
        assert_eq!(outcome.stopped, Stopped::Early);
        let results = fs::read_to_string(folder.path().join("results.csv")).unwrap();
        assert_eq!(results.lines().count(), 1 + 3, "the first epoch is the best");
    }
}
