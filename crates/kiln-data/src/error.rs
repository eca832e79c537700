//! What can go wrong between a file and a batch.

use std::path::PathBuf;

/// An error of this crate; its text names the file, sample or key, and what to do where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "create" ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of a data set does not hold what its format promises.
    #[error("{file} is damaged or of another kind: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// An image file cannot be decoded.
    #[error("cannot decode {file}: {reason}")]
    Decode {
        /// The image file.
        file: String,
        /// Why.
        reason: String,
    },
    /// No built-in data set has this name.
    #[error("unknown dataset `{name}`; known: {known}{}", did_you_mean(.nearest))]
    UnknownDataset {
        /// The name that was asked for.
        name: String,
        /// The known name that resembles it.
        nearest: Option<String>,
        /// All known names.
        known: String,
    },
    /// A data set has no embedded sample, so its folder must be named.
    #[error(
        "dataset `{name}` has no embedded sample; name its folder with --data{}",
        or_fetch(name, *fetchable)
    )]
    NoSample {
        /// The data set.
        name: String,
        /// Whether it can be downloaded.
        fetchable: bool,
    },
    /// A data set is for another task.
    #[error("dataset `{name}` is for {task}; {wanted} are needed here")]
    Task {
        /// The data set.
        name: String,
        /// What it is for.
        task: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A data set can't be downloaded by a program.
    #[error("dataset `{name}` can't be downloaded by kiln; see {homepage}")]
    NotFetchable {
        /// The data set.
        name: String,
        /// Where it comes from.
        homepage: String,
    },
    /// A folder lacks a file of the data set.
    #[error("no {file} in {}; name the folder of `{name}` itself{}", folder.display(), or_fetch(name, true))]
    MissingFile {
        /// The data set.
        name: String,
        /// The file, with the spellings that were looked for.
        file: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is no such folder of data.
    #[error(
        "{} is {}; --data takes the folder of `{name}`{}",
        folder.display(),
        if folder.exists() { "no folder" } else { "not there" },
        or_fetch(name, *fetchable)
    )]
    NoFolder {
        /// The data set.
        name: String,
        /// The path that was named.
        folder: PathBuf,
        /// Whether the data set can be downloaded.
        fetchable: bool,
    },
    /// A folder of images has another layout.
    #[error(
        "{}: {reason}; expected DIR/train/CLASS/IMAGE with test/ or val/ beside train/, or DIR/CLASS/IMAGE",
        folder.display()
    )]
    Folders {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A place that should have images with boxes has another layout.
    #[error(
        "{}: {reason}; expected a folder with Annotations/*.xml (VOC), annotations/*.json (COCO) or data.yaml (YOLO)",
        path.display()
    )]
    Boxes {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A sample of a data set cannot be used.
    #[error("sample {name}: {reason}")]
    Sample {
        /// Name of the sample.
        name: String,
        /// Why.
        reason: String,
    },
    /// A setting has no meaning.
    #[error("{key}: {reason}")]
    Setting {
        /// The setting, as it is called in a recipe.
        key: &'static str,
        /// What is allowed and what was found.
        reason: String,
    },
    /// The code of a data set panicked. That is a bug, so it stops an epoch under either policy.
    #[error("sample {name}: its data set panicked: {message}")]
    Panicked {
        /// Name or number of the sample.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// An epoch gave fewer samples than the data set holds.
    #[error(
        "the epoch is incomplete: {expected} samples expected, {seen} seen, {skipped} skipped; please report this bug"
    )]
    ShortEpoch {
        /// Samples the epoch should have.
        expected: usize,
        /// Samples in its batches.
        seen: usize,
        /// Samples reported as unreadable.
        skipped: usize,
    },
    /// A file could not be downloaded from any of its addresses.
    #[error("cannot download {file}: {reason}")]
    Download {
        /// The file.
        file: String,
        /// What happened at each address.
        reason: String,
    },
    /// The disk is full. What has arrived is kept, and the next attempt goes on from there.
    #[error(
        "no space left for {}: {have} bytes of it are there; make room, or let KILN_CACHE name another folder",
        path.display()
    )]
    NoSpace {
        /// The file under way.
        path: PathBuf,
        /// Bytes that have arrived.
        have: u64,
    },
}

impl Error {
    /// The error of a sample, for [`Dataset`](crate::Dataset)s of your own.
    pub fn sample(name: impl Into<String>, reason: impl ToString) -> Self {
        Self::Sample { name: name.into(), reason: reason.to_string() }
    }

    /// The same, of the sample called `name`.
    pub(crate) fn named(self, name: impl FnOnce() -> String) -> Self {
        match self {
            Self::Sample { reason, .. } => Self::Sample { name: name(), reason },
            Self::Setting { key, reason } => {
                Self::Sample { name: name(), reason: format!("{key}: {reason}") }
            }
            other => other,
        }
    }

    /// Whether something was asked for that does not exist or has no meaning, rather than something
    /// that failed on the way.
    pub fn is_wrong_use(&self) -> bool {
        matches!(
            self,
            Self::UnknownDataset { .. }
                | Self::NoSample { .. }
                | Self::Task { .. }
                | Self::NotFetchable { .. }
                | Self::Setting { .. }
        )
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn malformed(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed { file: file.into(), reason: reason.to_string() }
    }

    pub(crate) fn decode(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Decode { file: file.into(), reason: reason.to_string() }
    }

    pub(crate) fn folders(folder: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Folders { folder: folder.into(), reason: reason.to_string() }
    }

    pub(crate) fn boxes(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Boxes { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn setting(key: &'static str, reason: impl ToString) -> Self {
        Self::Setting { key, reason: reason.to_string() }
    }
}

fn or_fetch(name: &str, fetchable: bool) -> String {
    if fetchable { format!(", or get it with `kiln data fetch {name}`") } else { String::new() }
}

/// As kiln-models says it, which this crate must not know.
fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
