//! `dataset.toml`: what a data set is, where its files are and how a right copy is known.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Preprocess, own};

/// The content of a `dataset.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub name: String,
    pub task: String,
    pub format: Format,
    pub summary: String,
    pub licence: String,
    pub homepage: String,
    /// Names of the classes, by number; none where the folders of a user name them.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The folder of each class where that is not its name; from `classes.txt`.
    #[serde(skip)]
    pub folders: Vec<String>,
    /// Where below a folder of data sets others keep this one, such as torchvision.
    #[serde(default)]
    pub places: Vec<String>,
    /// Samples of the complete set, per split.
    #[serde(default)]
    pub samples: BTreeMap<String, usize>,
    /// Samples of the embedded part, per split; empty without one.
    #[serde(default)]
    pub sample: BTreeMap<String, usize>,
    pub preprocess: Preprocess,
    /// Addresses of folders, tried in this order, to which the names of the files are added.
    #[serde(default)]
    pub mirrors: Vec<String>,
    #[serde(default)]
    pub files: Vec<Remote>,
}

/// The data set that is a user's own.
const OWN: &str = "folders";

/// How a data set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Four files as MNIST's, see [`crate::idx`].
    Idx,
    /// The binary batches of CIFAR-10, see [`crate::cifar`].
    Cifar,
    /// Image files in a folder per class, see [`crate::folders`].
    Folders,
    /// Made on the fly, see [`crate::scenes`].
    DigitScenes,
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remote {
    pub name: String,
    /// Size in bytes of the published file, where it is known.
    pub bytes: Option<u64>,
    /// SHA-256 of the published file, lower-case hexadecimal. Where no more is published, its beginning.
    pub sha256: String,
    /// SHA-256 of what is inside a `.gz`, so that a recompressed copy is known to be right too.
    pub content_sha256: Option<String>,
}

impl Manifest {
    /// Parses the text of a `dataset.toml`; `file` is for the message.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let manifest: Self =
            toml::from_str(text).map_err(|error| Error::malformed(file, error.message()))?;
        manifest.preprocess.check()?;
        let hashes = manifest
            .files
            .iter()
            .flat_map(|remote| std::iter::once(&remote.sha256).chain(&remote.content_sha256));
        for hash in hashes {
            if hash.len() != 64 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(Error::malformed(file, format!("`{hash}` is no SHA-256")));
            }
        }
        let odd =
            |name: &str| name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']);
        if let Some(remote) = manifest.files.iter().find(|remote| odd(&remote.name)) {
            return Err(Error::malformed(file, format!("`{}` is no plain file name", remote.name)));
        }
        Ok(manifest)
    }

    /// The same with the classes of a `classes.txt`, whose lines are `FOLDER NAME`.
    pub fn with_classes(self, text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let (folders, classes) =
            lines.map(|(folder, name)| (folder.to_owned(), name.to_owned())).unzip();
        Self { folders, classes, ..self }
    }

    /// The folders of the classes, by number.
    pub fn class_folders(&self) -> &[String] {
        if self.folders.is_empty() { &self.classes } else { &self.folders }
    }

    /// Whether a user's own data are meant, whatever their layout.
    pub fn is_own(&self) -> bool {
        self.name == OWN
    }

    /// Whether `data` may be a file.
    pub fn takes_file(&self, data: &Path) -> bool {
        match self.format {
            Format::Cifar => data.exists(),
            _ => self.is_own() && own::is_file_of_data(data),
        }
    }

    /// Whether the files can be downloaded.
    pub fn is_fetchable(&self) -> bool {
        !self.mirrors.is_empty() && !self.files.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../datasets/mnist/dataset.toml");

    fn refusal(text: &str) -> String {
        Manifest::parse(text, "dataset.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_one_of_mnist_is_complete() {
        let mnist = Manifest::parse(GOOD, "dataset.toml").unwrap();
        assert_eq!((mnist.name.as_str(), mnist.task.as_str()), ("mnist", "classification"));
        assert_eq!((mnist.classes.len(), mnist.files.len(), mnist.mirrors.len()), (10, 4, 2));
        assert!(mnist.files.iter().all(|file| file.content_sha256.is_some()));
        assert!(mnist.files.iter().all(|file| file.bytes.is_some()));
    }

    #[test]
    fn a_list_of_classes_gives_folders_and_names() {
        let mnist = Manifest::parse(GOOD, "dataset.toml").unwrap();
        assert_eq!(mnist.class_folders(), mnist.classes);
        let other = mnist.with_classes("n01 tench\nn02 great white shark\n");
        assert_eq!(other.classes, ["tench", "great white shark"]);
        assert_eq!(other.class_folders(), ["n01", "n02"]);
    }

    #[test]
    fn unknown_keys_bad_hashes_and_paths_are_refused() {
        assert!(refusal(&GOOD.replacen("task", "tusk", 1)).contains("unknown field `tusk`"));
        assert!(refusal(&GOOD.replace("440fcabf", "440fcabX")).contains("is no SHA-256"));
        assert!(
            refusal(&GOOD.replace("name = \"t10k-i", "name = \"../t10k-i"))
                .contains("no plain file name")
        );
    }
}
