//! The run folder.
//!
//! ```text
//! runs/lenet5-mnist/
//! ├── recipe.toml       every value of the run, defaults included
//! ├── results.csv       one line per epoch
//! ├── test.json         the best network on the test part
//! ├── report.html       everything a person wants to see; the pictures beside it as PNG
//! ├── log.txt           what happened, in plain lines
//! └── checkpoints/{best,last}/
//! ```

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::checkpoint::write_atomically;
use crate::machine::now;
use crate::{Checkpoint, EpochRow, Error, Evaluation, Event, Observer, Recipe};

const RECIPE: &str = "recipe.toml";

/// A folder that holds a run, and the right to write in it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Locked as long as this process works on the run; the system frees it with the process.
    _lock: File,
}

/// The run folder that the checkpoint in the folder `checkpoint` lies in, if it lies in one.
pub fn run_of(checkpoint: &Path) -> Option<&Path> {
    let folder = checkpoint.parent()?;
    folder.parent().filter(|_| folder.ends_with("checkpoints"))
}

/// The runs that lie in the folder `path`, as `train --seeds` leaves them, by name.
pub fn runs_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|inside| inside.join(RECIPE).is_file()).collect();
    // `seed-9` before `seed-10`.
    runs.sort_by_key(|run| (run.as_os_str().len(), run.clone()));
    runs
}

/// The first few of `runs`, for a message.
pub(crate) fn named(runs: &[PathBuf]) -> String {
    const FEW: usize = 5;
    let mut names: Vec<String> =
        runs.iter().take(FEW).map(|run| run.display().to_string()).collect();
    if runs.len() > FEW {
        names.push(format!("… ({} in all)", runs.len()));
    }
    names.join(", ")
}

impl Folder {
    /// Makes the folder of a new run.
    pub(crate) fn create(path: &Path) -> Result<Folder, Error> {
        fs::create_dir_all(path).map_err(|source| Error::Out { path: path.to_owned(), source })?;
        let folder = Folder::locked(path)?;
        // Checkpoints that have lost their recipe are somebody's work all the same.
        let begun = [folder.best(), folder.last()].iter().any(|it| Checkpoint::exists(it));
        if folder.recipe().exists() || begun {
            return Err(Error::RunExists(path.to_owned()));
        }
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints))?;
        Ok(folder)
    }

    /// The folder of a run that was begun.
    pub(crate) fn existing(path: &Path) -> Result<Folder, Error> {
        if !path.join(RECIPE).is_file() {
            return Err(Error::NoRun(path.to_owned()));
        }
        Folder::locked(path)
    }

    fn locked(path: &Path) -> Result<Folder, Error> {
        let file = path.join(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(Error::io(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::RunBusy(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(Error::io(&file)(error)),
        }
    }

    /// The recipe of the run in `path`.
    pub(crate) fn recipe_of(path: &Path) -> Result<PathBuf, Error> {
        let recipe = path.join(RECIPE);
        recipe.is_file().then_some(recipe).ok_or_else(|| Error::NoRun(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn recipe(&self) -> PathBuf {
        self.path.join(RECIPE)
    }

    pub(crate) fn best(&self) -> PathBuf {
        self.path.join("checkpoints").join("best")
    }

    pub(crate) fn last(&self) -> PathBuf {
        self.path.join("checkpoints").join("last")
    }

    pub(crate) fn write_recipe(&self, recipe: &Recipe) -> Result<(), Error> {
        self.write(RECIPE, recipe.to_toml().as_bytes())
    }

    /// Whether the run once had a last checkpoint. The first epoch's best one is written before it, so that alone tells of a
    /// run that was killed between the two.
    pub(crate) fn had_last(&self) -> bool {
        let beyond = |best: Checkpoint| best.state.progress.epochs > 1;
        self.path.join("results.csv").exists()
            || Checkpoint::exists(&self.best())
                && Checkpoint::read(&self.best()).map_or(true, beyond)
    }

    /// What to do where the run can't go on from its last checkpoint.
    pub(crate) fn anew(&self) -> String {
        let readable =
            [self.best(), self.last()].into_iter().find(|it| Checkpoint::read(it).is_ok());
        let weights = readable.map_or_else(String::new, |checkpoint| {
            format!(" --weights {}", checkpoint.join("model.safetensors").display())
        });
        format!(
            "the run can't go on from here; begin a new one: kiln train {}{weights} --out DIR",
            self.recipe().display()
        )
    }

    /// Writes `results.csv`: a header and a line per epoch; absent values are empty.
    pub(crate) fn write_results(&self, history: &[EpochRow]) -> Result<(), Error> {
        let mut text = String::from(
            "epoch,train_loss,train_top1,validation_loss,validation_top1,learning_rate,\
             images_per_second,seconds,skipped,best,raw_top1,memory\n",
        );
        let optional = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.6}"));
        for row in history {
            writeln!(
                text,
                "{},{:.6},{:.6},{},{},{:e},{:.1},{:.2},{},{},{},{}",
                row.epoch,
                row.train_loss,
                row.train_top1,
                optional(row.validation_loss),
                optional(row.validation_top1),
                row.learning_rate,
                row.images_per_second,
                row.seconds,
                row.skipped,
                row.best,
                optional(row.raw_top1),
                row.memory.map_or(String::new(), |bytes| bytes.to_string()),
            )
            .expect("a string grows");
        }
        self.write("results.csv", text.as_bytes())
    }

    /// Writes `test.json`, with the keys of `kiln eval --json`.
    pub(crate) fn write_evaluation(&self, evaluation: &Evaluation) -> Result<(), Error> {
        let mut object = evaluation.json();
        object["run"] = self.path.display().to_string().into();
        self.write("test.json", format!("{object:#}\n").as_bytes())
    }

    /// Writes a file of the run so that a reader sees all of it or the old one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        write_atomically(&self.path.join(name), bytes)
    }

    /// An observer that writes `log.txt` and tells `watcher`.
    pub(crate) fn journal<'a>(&self, watcher: &'a mut dyn Observer) -> Result<Journal<'a>, Error> {
        let path = self.path.join("log.txt");
        let log =
            File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        Ok(Journal { log, watcher })
    }
}

/// Tees what happens into `log.txt`.
pub(crate) struct Journal<'a> {
    log: File,
    watcher: &'a mut dyn Observer,
}

impl Observer for Journal<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Some(line) = line(&event) {
            // A full disk must not end the run here: the next checkpoint reports it.
            let _ = writeln!(self.log, "{} {line}", now());
        }
        self.watcher.event(event);
    }

    fn interrupted(&self) -> bool {
        self.watcher.interrupted()
    }
}

/// The line of `log.txt` for an event, if it has one.
fn line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Started(start) => Some(format!(
            "started {} on {} ({}), {} parameters, {} training, {} validation, {} test samples, \
             {} epochs of {} steps, device {}{}",
            start.model,
            start.dataset,
            start.source,
            start.parameters,
            start.train,
            start.validation,
            start.test,
            start.epochs,
            start.steps_per_epoch,
            start.device,
            start.resumed_at.map_or(String::new(), |step| format!(", resumed at step {step}")),
        )),
        Event::Epoch(row) => Some(format!(
            "epoch {} train loss {:.4} top1 {:.4}, validation loss {:.4} top1 {:.4}, {:.1} s{}",
            row.epoch,
            row.train_loss,
            row.train_top1,
            row.validation_loss.unwrap_or(f64::NAN),
            row.validation_top1.unwrap_or(f64::NAN),
            row.seconds,
            if row.best { ", best" } else { "" },
        )),
        Event::Skipped { name, reason } => Some(format!("skipped {name}: {reason}")),
        Event::Stage(stage) => Some(stage.to_string()),
        Event::Note(note) => Some((*note).to_owned()),
        Event::Step(_) | Event::Evaluated { .. } | Event::Fetching { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_in_a_run_folder_names_the_run() {
        let run = Path::new("runs/a");
        assert_eq!(run_of(&run.join("checkpoints/best")), Some(run));
        assert_eq!(run_of(Path::new("best")), None);
    }
}
