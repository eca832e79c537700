//! Checkpoints: a folder that holds a network and everything needed to use or continue it.
//!
//! ```text
//! last/
//! ├── model.safetensors   parameters and running statistics, by path; equal networks give equal bytes
//! ├── ema.safetensors     their moving average, if the run keeps one
//! ├── optimizer.bpk       optimizer state, by a hash of the path (absent in `best/`)
//! ├── state.toml          architecture, options, classes, preprocessing, progress
//! └── SHA256SUMS          of the others, as `sha256sum -c` reads it
//! ```
//!
//! A checkpoint is written under a temporary name, synced and renamed, so that a reader sees the old
//! one or the new one. Anything that does not match its sum is refused.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use kiln_data::Preprocess;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::folder::named;
use crate::{EpochRow, Error};

/// Version of the layout; a reader refuses any other.
const FORMAT: u32 = 1;
const MODEL: &str = "model.safetensors";
const AVERAGE: &str = "ema.safetensors";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "state.toml";
const SUMS: &str = "SHA256SUMS";
/// How often a reader looks again while a writer is at work.
const LOOKS: usize = 3;

/// A network at one moment of its training.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What the network is and how far it has come.
    pub state: State,
    /// The parameters, as the bytes of a safetensors file.
    pub model: Vec<u8>,
    /// The moving average of the parameters, likewise, if there is one.
    pub average: Option<Vec<u8>>,
    /// The optimizer's state, if training can go on from here.
    pub optimizer: Option<Vec<u8>>,
}

/// What a checkpoint says about its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the layout.
    format: u32,
    /// Registry name.
    pub model: String,
    /// Name of the data set it was trained on.
    pub dataset: String,
    /// Class names, in the order of the scores.
    pub classes: Vec<String>,
    /// How far training has come.
    pub progress: Progress,
    /// How an image becomes the network's input.
    pub preprocess: Preprocess,
    /// Every option of the architecture.
    pub options: Map<String, Value>,
    /// What each finished epoch gave.
    #[serde(default)]
    pub history: Vec<EpochRow>,
}

/// The version alone, so that a state of another one is refused by its number.
#[derive(Deserialize)]
struct Layout {
    format: u32,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Finished epochs.
    pub epochs: usize,
    /// Finished steps of the epoch under way.
    pub steps_in_epoch: usize,
    /// Optimizer steps since the beginning.
    pub steps: u64,
    /// The best epoch so far, from 1; 0 before there is one.
    pub best_epoch: usize,
    /// Running totals of the epoch under way.
    pub running: Running,
}

/// Totals over the finished steps of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Sum over samples of the loss.
    pub loss_sum: f64,
    /// Samples predicted right.
    pub right: usize,
    /// Samples trained on.
    pub seen: usize,
    /// Samples that could not be read.
    pub skipped: usize,
    /// Seconds spent.
    pub seconds: f64,
}

impl State {
    /// The state of a network that has not been trained.
    pub fn new(
        model: impl Into<String>,
        options: Map<String, Value>,
        dataset: impl Into<String>,
        classes: Vec<String>,
        preprocess: Preprocess,
    ) -> State {
        State {
            format: FORMAT,
            model: model.into(),
            dataset: dataset.into(),
            classes,
            progress: Progress::default(),
            preprocess,
            options,
            history: Vec::new(),
        }
    }
}

impl Checkpoint {
    /// Writes the folder `folder`, replacing an older checkpoint only when the new one is complete.
    ///
    /// # Errors
    ///
    /// If the disk is full or the folder cannot be written; the older checkpoint is then intact.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let state = toml::to_string(&self.state)
            .map_err(|error| Error::checkpoint(folder, format!("cannot be described: {error}")))?;
        // The optional files first: a truncated list of sums then always lacks a required one.
        let mut files: Vec<(&str, &[u8])> = Vec::new();
        files.extend(self.optimizer.as_deref().map(|bytes| (OPTIMIZER, bytes)));
        files.extend(self.average.as_deref().map(|bytes| (AVERAGE, bytes)));
        files.extend([(MODEL, self.model.as_slice()), (STATE, state.as_bytes())]);

        let mut sums = String::new();
        for (name, bytes) in &files {
            writeln!(sums, "{}  {name}", sum(bytes)).expect("a string grows");
        }
        files.push((SUMS, sums.as_bytes()));

        let fresh = sibling(folder, "new");
        remove(&fresh)?;
        fs::create_dir_all(&fresh).map_err(Error::io(&fresh))?;
        for (name, bytes) in files {
            let path = fresh.join(name);
            write_synced(&path, bytes).map_err(Error::io(&path))?;
        }
        sync_folder(&fresh)?;
        replace(&fresh, folder)
    }

    /// Reads the checkpoint in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] if a file is missing, truncated, altered, or of another version.
    pub fn read(folder: &Path) -> Result<Checkpoint, Error> {
        // A writer may be putting a new checkpoint in this one's place: look again before refusing.
        let mut result = Checkpoint::read_once(folder);
        for _ in 0..LOOKS {
            if result.is_ok() {
                break;
            }
            result = Checkpoint::read_once(folder);
        }
        result
    }

    fn read_once(folder: &Path) -> Result<Checkpoint, Error> {
        // Between the writer's two renames, or if it was killed there, the old one stands aside.
        let old = sibling(folder, "old");
        let folder = if !folder.exists() && old.exists() { &old } else { folder };

        let sums = read_sums(folder)?;
        let read = |name: &str| -> Result<Option<Vec<u8>>, Error> {
            let Some((expected, _)) = sums.iter().find(|(_, listed)| listed == name) else {
                return Ok(None);
            };
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(|error| unread(folder, name, &error))?;
            if sum(&bytes) != *expected {
                let reason = format!(
                    "{name} is damaged: its SHA-256 differs from the one in {SUMS}; \
                     use another checkpoint"
                );
                return Err(Error::checkpoint(folder, reason));
            }
            Ok(Some(bytes))
        };
        let listed = |name: &str| {
            read(name)?.ok_or_else(|| {
                Error::checkpoint(folder, format!("{SUMS} is damaged: it does not list {name}"))
            })
        };

        let state = String::from_utf8(listed(STATE)?)
            .map_err(|_| Error::checkpoint(folder, format!("{STATE} is not UTF-8")))?;
        let unreadable = |error| Error::checkpoint(folder, format!("{STATE}: {error}"));
        let Layout { format } = toml::from_str(&state).map_err(unreadable)?;
        if format != FORMAT {
            let reason = format!("layout {format} is not layout {FORMAT} of this kiln");
            return Err(Error::checkpoint(folder, reason));
        }
        let state: State = toml::from_str(&state).map_err(unreadable)?;
        let (average, optimizer) = (read(AVERAGE)?, read(OPTIMIZER)?);
        Ok(Checkpoint { state, model: listed(MODEL)?, average, optimizer })
    }

    /// The same checkpoint error with `remedy` in the place of its own.
    pub(crate) fn remedied(error: Error, remedy: &str) -> Error {
        match error {
            Error::Checkpoint { path, reason } => {
                let fault = reason.split_once("; ").map_or(&*reason, |(fault, _)| fault);
                Error::checkpoint(&path, format!("{fault}; {remedy}"))
            }
            other => other,
        }
    }

    /// Whether something was once written to `folder`, readable or not.
    pub(crate) fn exists(folder: &Path) -> bool {
        folder.exists() || sibling(folder, "old").exists()
    }

    /// The checkpoint folder that `path` means: itself, or of a run folder the best, else the last. A damaged best is not
    /// passed over: reading it says what it lacks.
    ///
    /// # Errors
    ///
    /// If neither is there.
    pub fn locate(path: &Path) -> Result<PathBuf, Error> {
        let candidates = ["", "checkpoints/best", "checkpoints/last", "best", "last"];
        candidates
            .into_iter()
            .map(|inside| if inside.is_empty() { path.to_owned() } else { path.join(inside) })
            .find(|folder| holds_any(folder) || sibling(folder, "old").is_dir())
            .ok_or_else(|| {
                let runs = crate::runs_in(path);
                let reason = if !path.exists() {
                    "no such folder".to_owned()
                } else if runs.is_empty() {
                    "no checkpoint here; name a run folder or one of its checkpoints/ folders"
                        .into()
                } else {
                    format!("it is a folder of runs; name one of them: {}", named(&runs))
                };
                Error::checkpoint(path, reason)
            })
    }
}

/// Whether `folder` has any file of a checkpoint, or is the place in a run where one belongs.
fn holds_any(folder: &Path) -> bool {
    let place = folder.parent().is_some_and(|parent| parent.ends_with("checkpoints"));
    [SUMS, MODEL, STATE].iter().any(|file| folder.join(file).is_file()) || place && folder.is_dir()
}

/// Says that the file `name` of the checkpoint `folder` is missing, or why it can't be read.
fn unread(folder: &Path, name: &str, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Error::checkpoint(folder, format!("{name} {reason}; use another checkpoint"))
}

/// The lines of `SHA256SUMS`, as `(sum, file)`.
fn read_sums(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let text =
        fs::read_to_string(folder.join(SUMS)).map_err(|error| unread(folder, SUMS, &error))?;
    let lines = text.ends_with('\n').then(|| {
        text.lines()
            .map(|line| line.split_once("  "))
            .map(|line| line.filter(|(_, name)| [MODEL, AVERAGE, OPTIMIZER, STATE].contains(name)))
            .map(|line| line.map(|(sum, name)| (sum.to_owned(), name.to_owned())))
            .collect::<Option<Vec<_>>>()
    });
    lines.flatten().ok_or_else(|| Error::checkpoint(folder, format!("{SUMS} is damaged")))
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string grows");
        text
    })
}

/// `folder` with `.name.tag` in place of `name`: beside it, hidden, on the same file system.
fn sibling(folder: &Path, tag: &str) -> PathBuf {
    let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    folder.with_file_name(format!(".{name}.{tag}"))
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// Puts `fresh` in the place of `folder`. Killed in between, `folder` is still there as `.old`.
fn replace(fresh: &Path, folder: &Path) -> Result<(), Error> {
    let old = sibling(folder, "old");
    if folder.exists() {
        remove(&old)?;
        fs::rename(folder, &old).map_err(Error::io(folder))?;
    }
    fs::rename(fresh, folder).map_err(Error::io(folder))?;
    if let Some(parent) = folder.parent() {
        sync_folder(parent)?;
    }
    remove(&old)
}

/// Writes a file and waits until the disk has it.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes `path` so that a reader sees the old contents or the new, never a part.
///
/// # Errors
///
/// What the system refuses, with the file that it was refused for.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fresh = sibling(path, "new");
    write_synced(&fresh, bytes).map_err(Error::io(&fresh))?;
    fs::rename(&fresh, path).map_err(Error::io(path))
}

/// Makes renames inside `folder` last; a no-op where folders cannot be synced.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let (mean, std) = (vec![0.1], vec![0.3]);
        let preprocess = Preprocess { mean, std, ..Preprocess::plain(1, 2, 3) };
        let mut state =
            State::new("lenet5", Map::new(), "mnist", vec!["0".into(), "1".into()], preprocess);
        state.progress.running.loss_sum = 0.1 + 0.2;
        Checkpoint {
            state,
            model: vec![7; 300],
            average: Some(vec![8; 300]),
            optimizer: Some(vec![9; 200]),
        }
    }

    #[test]
    fn reads_back_what_it_wrote_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let last = folder.path().join("last");
        let written = checkpoint();
        written.write(&last).unwrap();
        written.write(&last).unwrap();

        let read = Checkpoint::read(&last).unwrap();
        assert_eq!((read.state, read.model), (written.state, written.model));
        assert_eq!((read.average, read.optimizer), (written.average, written.optimizer));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no leftovers");
    }

    #[test]
    fn every_truncated_or_altered_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let last = folder.path().join("last");
        checkpoint().write(&last).unwrap();
        for name in [MODEL, AVERAGE, OPTIMIZER, STATE, SUMS] {
            let path = last.join(name);
            let whole = fs::read(&path).unwrap();
            for at in (0..whole.len()).step_by(whole.len().div_ceil(40)) {
                fs::write(&path, &whole[..at]).unwrap();
                assert!(Checkpoint::read(&last).is_err(), "{name} cut at {at}");

                let mut altered = whole.clone();
                altered[at] ^= 0x10;
                fs::write(&path, &altered).unwrap();
                assert!(Checkpoint::read(&last).is_err(), "{name} altered at {at}");
            }
            fs::remove_file(&path).unwrap();
            assert!(Checkpoint::read(&last).is_err(), "{name} missing");
            fs::write(&path, whole).unwrap();
        }
        assert!(Checkpoint::read(&last).is_ok());
    }

    #[test]
    fn a_writer_killed_at_any_point_leaves_a_readable_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let last = folder.path().join("last");
        checkpoint().write(&last).unwrap();

        // Killed while writing the new files.
        fs::create_dir(sibling(&last, "new")).unwrap();
        fs::write(sibling(&last, "new").join(MODEL), b"half").unwrap();
        assert!(Checkpoint::read(&last).is_ok());
        checkpoint().write(&last).unwrap();

        // Killed between the two renames.
        fs::rename(&last, sibling(&last, "old")).unwrap();
        assert_eq!(Checkpoint::locate(folder.path()).unwrap(), last);
        assert!(Checkpoint::read(&last).is_ok());
    }

    #[test]
    fn a_reader_beside_a_writer_sees_a_whole_checkpoint_and_never_stops_it() {
        let folder = tempfile::tempdir().unwrap();
        let last = folder.path().join("last");
        checkpoint().write(&last).unwrap();
        std::thread::scope(|threads| {
            let writer = threads.spawn(|| (0..200).all(|_| checkpoint().write(&last).is_ok()));
            while !writer.is_finished() {
                Checkpoint::read(&last).unwrap();
            }
            assert!(writer.join().unwrap());
        });
    }

    #[test]
    fn another_layout_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut future = checkpoint();
        future.state.format = 2;
        future.write(folder.path().join("last").as_path()).unwrap();
        let error = Checkpoint::read(&folder.path().join("last")).unwrap_err().to_string();
        assert!(error.contains("layout 2 is not layout 1"), "{error}");
    }

    #[test]
    fn a_missing_checkpoint_says_what_to_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Checkpoint::locate(folder.path()).unwrap_err().to_string();
        assert!(error.contains("name a run folder"), "{error}");
    }
}
