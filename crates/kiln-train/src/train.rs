//! The training loop: a recipe in, a run folder out.
//!
//! Everything random is a pure function of the recipe's seed and of the step, so a run that was
//! killed and resumed ends with the very weights of one that was not.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use kiln_data::Splits;
use kiln_models::{Registry, trainable};

use crate::folder::Folder;
use crate::parts::{Prepared, SPLIT, prepare};
use crate::report::{About, Ended};
use crate::run::{self, Run, noted};
use crate::{Error, Evaluation, Event, Observer, Recipe, Started, Subject, machine};

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
    /// Keys, such as `options.num_classes`, whose values somebody insists on. Where the data or
    /// published weights decide otherwise, the run is refused; another key follows them with a note.
    pub insisted: Vec<String>,
}

impl Job {
    /// A new run of `recipe` in the folder `out`.
    pub fn new(recipe: Recipe, out: impl Into<PathBuf>, device: Device) -> Job {
        Job { recipe, out: out.into(), device, resume: false, data: None, insisted: Vec::new() }
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
    let mut notes = Notes::default();
    let Prepared { parts, recipe, stages } = prepare(registry, job, &mut notes)?;
    // A new run whose weights don't fit leaves no folder behind.
    let fresh =
        (!job.resume).then(|| run::start(registry, &recipe, job, &mut notes)).transpose()?;
    let folder = if job.resume { Folder::existing(&job.out)? } else { Folder::create(&job.out)? };
    let mut observer = folder.journal(observer)?;
    let observer: &mut dyn Observer = &mut observer;
    notes.0.iter().for_each(|note| observer.event(Event::Note(note)));
    if !job.resume {
        folder.write_recipe(&recipe)?;
    }
    // A run that was killed before it wrote its split writes it when it goes on.
    let saved = folder.path().join(SPLIT).exists();
    if let Some(table) = (!saved).then(|| parts.table(&recipe)).flatten() {
        folder.write(SPLIT, table.as_bytes())?;
    }

    let mut run = match fresh {
        Some(network) => Run::new(network, &folder, recipe, &parts, job)?,
        None => Run::resumed(registry, &folder, recipe, &parts, job, observer)?,
    };
    let [train, validation, test] = parts.samples();
    observer.event(Event::Started(&Started {
        run: folder.path(),
        model: &run.recipe.model,
        dataset: &parts.splits.name,
        source: &parts.splits.source,
        device: machine::device_name(&job.device),
        parameters: trainable(run.network()),
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
    let source = &parts.splits.source;
    let about = About { folder: &folder, recipe: &recipe, state: &state, source, stages: &stages };
    let mut best = Subject::Checkpoint(folder.best()).load(registry, &device)?;
    (best.batch, best.on_error) = (recipe.batch_size, recipe.loader.on_error);
    let evaluation = best
        .evaluate(&parts.splits, "test", &device, observer)
        .inspect_err(|error| about.give_up(error))?;
    folder.write_evaluation(&evaluation)?;
    let ended = Ended { about, test: &*parts.splits.test, evaluation: &evaluation, stopped };
    noted(ended.report(&best.network, &device), observer);
    Ok(Outcome { evaluation: Some(evaluation), seconds, run, checkpoint: folder.best(), stopped })
}

/// Keeps what was noted before there was a folder to write it in.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Vec<String>);

impl Observer for Notes {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Note(note) = event {
            self.0.push(note.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;
    use crate::{Checkpoint, Silent};
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
    fn a_run_killed_between_its_first_best_and_last_checkpoints_starts_again() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        train(&Zoo, &job(&whole, &["epochs=1"]), &mut Silent).unwrap();
        let expected = last_model(&whole);

        fs::remove_dir_all(whole.join("checkpoints/last")).unwrap();
        let refused = || Job::resume(&Zoo, &whole, Device::default()).unwrap();
        let error = train(&Zoo, &refused(), &mut Silent).unwrap_err().to_string();
        assert!(error.contains("it is gone"), "{error}");

        // Epochs are closed in this order: best checkpoint, last checkpoint, results.csv.
        fs::remove_file(whole.join("results.csv")).unwrap();
        let again = Job::resume(&Zoo, &whole, Device::default()).unwrap();
        train(&Zoo, &again, &mut Silent).unwrap();
        assert!(last_model(&whole) == expected, "weights differ");
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
        let mut hot = job(folder.path(), &["schedule.name=constant"]);
        // Past what a recipe may say, so that the first step is enough.
        hot.recipe.optimizer.learning_rate = 1e30;
        let error = train(&Zoo, &hot, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Diverged { saved: false, .. }), "{error}");
        assert!(error.to_string().contains("there is no checkpoint yet"), "{error}");

        // A last step that leaves the finite numbers after a finite loss is not saved either.
        let fine = job(&folder.path().join("fine"), &["epochs=1"]);
        train(&Zoo, &fine, &mut Silent).unwrap();
        let before = last_model(&fine.out);
        let mut onward = Job::resume(&Zoo, &fine.out, Device::default()).unwrap();
        for change in ["epochs=2", "schedule.name=constant"] {
            onward.recipe.set(change).unwrap();
        }
        onward.recipe.optimizer.learning_rate = 1e38;
        let error = train(&Zoo, &onward, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Diverged { saved: true, .. }), "{error}");
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
        let before = last_model(folder.path());
        fs::remove_file(folder.path().join("checkpoints/last/SHA256SUMS")).unwrap();

        let mut again = Job::resume(&Zoo, folder.path(), Device::default()).unwrap();
        again.recipe.set("epochs=2").unwrap();
        let error = train(&Zoo, &again, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
        assert!(last_model(folder.path()) == before, "the weights were overwritten");
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

    /// Digits of which some can't be read.
    struct Damaged(std::sync::Arc<dyn kiln_data::Dataset>, fn(usize) -> bool);

    impl kiln_data::Dataset for Damaged {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn sample(&self, index: usize) -> Result<kiln_data::Sample, kiln_data::Error> {
            match self.1(index) {
                true => Err(kiln_data::Error::sample(self.name(index), "it is broken")),
                false => self.0.sample(index),
            }
        }
        fn name(&self, index: usize) -> String {
            self.0.name(index)
        }
        fn label(&self, index: usize) -> usize {
            self.0.label(index)
        }
    }

    #[test]
    fn unreadable_test_images_end_a_run_or_are_counted_as_its_recipe_says() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let mut splits = kiln_data::open("mnist", None).unwrap();
        splits.source = "somewhere else".to_owned();
        let whole = splits.test.clone();
        splits.validation = Some(std::sync::Arc::new(Damaged(whole.clone(), |index| index < 3)));
        // More than a forward pass has.
        splits.test = std::sync::Arc::new(Damaged(whole, |index| index < 40));
        let run = |name: &str, on_error: &str, validation: &str| {
            let out = folder.path().join(name);
            let changes = ["epochs=1", validation, on_error];
            let job = Job { data: Some(splits.clone()), ..job(&out, &changes) };
            (train(&Zoo, &job, &mut Silent), out)
        };

        let (skipped, out) = run("skip", "loader.on_error=skip", "validation=0.2");
        assert_eq!(skipped.unwrap().evaluation.unwrap().skipped, 40);
        let results = fs::read_to_string(out.join("results.csv")).unwrap();
        let (head, row) = results.trim().split_once('\n').unwrap();
        let column = head.split(',').position(|name| name == "skipped").unwrap();
        assert_eq!(row.split(',').nth(column), Some("3"), "{results}");

        for (name, validation) in [("validation", "validation=0.2"), ("test", "validation=0")] {
            let (failed, out) = run(name, "loader.on_error=fail", validation);
            let error = failed.unwrap_err().to_string();
            assert!(error.contains("it is broken"), "{error}");
            let report = fs::read_to_string(out.join("report.html")).unwrap();
            assert!(report.contains("it is broken"), "the report says why");
            assert!(report.contains("Trained on somewhere else"), "and on which data");
        }
    }
}
