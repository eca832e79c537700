//! What can go wrong between a recipe and a report.

use std::path::{Path, PathBuf};

/// An error of training, evaluation, prediction or of the files around them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data set could not be opened or read.
    #[error(transparent)]
    Data(#[from] kiln_data::Error),
    /// The model, its options or its weights are at fault.
    #[error(transparent)]
    Model(#[from] kiln_models::Error),
    /// A picture of the report could not be drawn.
    #[error(transparent)]
    Picture(#[from] kiln_viz::Error),
    /// A file or folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder of a new run could not be made.
    #[error("the run folder {path} can't be made: {source}; name another one with --out")]
    Out {
        /// The run folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No recipe has this name.
    #[error(
        "unknown recipe or model `{name}`{}",
        match nearest {
            Some(_) => kiln_models::did_you_mean(nearest.as_deref()),
            None => format!("; `kiln models` lists the models, and there are the recipes {known}"),
        }
    )]
    UnknownRecipe {
        /// What was asked for.
        name: String,
        /// The recipe or model whose name is most like it.
        nearest: Option<String>,
        /// The names that exist.
        known: String,
    },
    /// A recipe cannot be used as it stands.
    #[error("recipe {name}: {reason}")]
    Recipe {
        /// The recipe's name or file.
        name: String,
        /// Which key, what was found and what was expected.
        reason: String,
    },
    /// A checkpoint is damaged, foreign or missing.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The folder already holds a run.
    #[error(
        "{0} already holds a run; continue it with --resume, or name another folder with --out"
    )]
    RunExists(PathBuf),
    /// Another process works on the run.
    #[error("another process is training in {0}; wait for it, or name another folder with --out")]
    RunBusy(PathBuf),
    /// The folder holds no run to continue.
    #[error("{0} holds no run: it has no recipe.toml; name the folder that `train` wrote")]
    NoRun(PathBuf),
    /// Nobody publishes weights of the model.
    #[error("no weights of `{model}` are published; name a file, or take one of: {known}")]
    NotPublished {
        /// Registry name of the model.
        model: String,
        /// The models that there are weights of.
        known: String,
    },
    /// A download was asked for, and this program has none.
    #[error(
        "{0} can't be downloaded: kiln was built without it; name a file that you have, or build it with the feature `fetch`"
    )]
    NoDownloads(String),
    /// Training left the finite numbers.
    #[error(
        "{what} in epoch {epoch}, step {step}; {}; \
         lower optimizer.learning_rate or raise schedule.warmup_epochs",
        if *saved { "the last checkpoint is intact" } else { "there is no checkpoint yet" }
    )]
    Diverged {
        /// What is no number any more.
        what: String,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1.
        step: usize,
        /// Whether the run has a checkpoint.
        saved: bool,
    },
    /// There is nothing to train or measure on.
    #[error(
        "{what} of data set `{dataset}` is empty; `kiln data check` lists what each part of a data set holds"
    )]
    Empty {
        /// Data set name.
        dataset: String,
        /// Which part.
        what: String,
    },
    /// No sample of a part could be read.
    #[error(
        "none of {samples} images could be read, and nothing can be said of nothing; \
         `kiln data check` tells what is wrong with each"
    )]
    Unreadable {
        /// Samples of the part.
        samples: usize,
    },
    /// Model and data set do not fit each other.
    #[error("{0}")]
    Mismatch(String),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.to_owned(), source }
    }

    pub(crate) fn recipe(name: impl Into<String>, reason: impl std::fmt::Display) -> Error {
        Error::Recipe { name: name.into(), reason: reason.to_string() }
    }

    pub(crate) fn checkpoint(path: &Path, reason: impl std::fmt::Display) -> Error {
        Error::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
    }

    /// Whether the caller asked for something that does not exist or cannot be, rather than
    /// something that failed on the way.
    pub fn is_wrong_use(&self) -> bool {
        match self {
            Error::UnknownRecipe { .. }
            | Error::Recipe { .. }
            | Error::RunExists(_)
            | Error::RunBusy(_)
            | Error::NoRun(_)
            | Error::NotPublished { .. }
            | Error::NoDownloads(_)
            | Error::Mismatch(_) => true,
            Error::Model(error) => error.is_wrong_use(),
            Error::Data(error) => error.is_wrong_use(),
            _ => false,
        }
    }
}
