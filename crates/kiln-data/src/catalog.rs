//! The built-in data sets: what there is, and how one is opened.
//!
//! A small real sample of each is embedded, so that everything can be tried without a network or a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde::Serialize;

use crate::idx::{Idx, IdxImages};
use crate::manifest::{Format, Manifest};
use crate::{Dataset, Error, Preprocess};

/// What is known about a built-in data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// Its name, as in recipes and on the command line.
    pub name: String,
    /// `classification`, and later other tasks.
    pub task: String,
    /// Names of the classes, by number.
    pub classes: Vec<String>,
    /// One line about it.
    pub summary: String,
    /// Samples of the complete set, per split.
    pub samples: BTreeMap<String, usize>,
    /// Samples of the embedded part, per split.
    pub sample: BTreeMap<String, usize>,
    /// Under which licence it may be used.
    pub licence: String,
    /// Where it comes from.
    pub homepage: String,
    /// Whether a sample is embedded, so that it opens without a folder.
    pub embedded: bool,
    /// Whether `kiln data fetch` can get the complete set.
    pub fetchable: bool,
    /// How its images are usually prepared.
    pub preprocess: Preprocess,
}

/// A data set, opened.
#[derive(Clone)]
pub struct Splits {
    /// Its name.
    pub name: String,
    /// Names of the classes, by number.
    pub classes: Vec<String>,
    /// The samples to learn from.
    pub train: Arc<dyn Dataset>,
    /// The samples to be judged by.
    pub test: Arc<dyn Dataset>,
    /// `embedded sample`, or the folder it was read from.
    pub source: String,
    /// How its images are usually prepared; recipes may say otherwise.
    pub preprocess: Preprocess,
}

impl Splits {
    /// The part called `train` or `test`.
    pub fn get(&self, split: &str) -> Option<&Arc<dyn Dataset>> {
        match split {
            "train" => Some(&self.train),
            "test" => Some(&self.test),
            _ => None,
        }
    }
}

/// A data set that comes with this crate.
pub(crate) struct BuiltIn {
    pub manifest: Manifest,
    /// Name and content of each embedded file.
    sample: &'static [(&'static str, &'static [u8])],
}

/// The embedded files of `datasets/<folder>/sample`.
macro_rules! sample {
    ($folder:literal: $($file:literal),+) => {
        &[$(($file, include_bytes!(concat!("../datasets/", $folder, "/sample/", $file)))),+]
    };
}

static BUILT_IN: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
    let built_in = |text, sample| BuiltIn {
        manifest: Manifest::parse(text, "the embedded dataset.toml").expect("tested in this crate"),
        sample,
    };
    vec![built_in(
        include_str!("../datasets/mnist/dataset.toml"),
        sample!("mnist": "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    )]
});

/// The built-in data sets, by name.
pub fn list() -> Vec<Info> {
    BUILT_IN.iter().map(BuiltIn::info).collect()
}

/// Opens the built-in data set `name`: from the folder `data`, or else its embedded sample.
///
/// The folder holds the files itself, or in a folder called like the data set, or as torchvision keeps them
/// (`MNIST/raw`). All files are checked against their headers and read into memory.
///
/// # Errors
///
/// [`Error::UnknownDataset`] with the nearest known name; [`Error::MissingFile`] with the file and the folder;
/// [`Error::Malformed`] for a damaged file.
pub fn open(name: &str, data: Option<&Path>) -> Result<Splits, Error> {
    let built_in = find(name)?;
    let Manifest { name, classes, preprocess, .. } = &built_in.manifest;
    let Format::Idx = built_in.manifest.format;
    let (train, test, source) = match data {
        Some(data) => {
            let folder = folder(name, data);
            let read = |prefix, part| idx_folder(name, &folder, prefix, part, classes.len());
            (read("train", "train")?, read("t10k", "test")?, folder.display().to_string())
        }
        None if built_in.sample.is_empty() => {
            return Err(Error::NoSample { name: name.clone() });
        }
        None => {
            let read = |prefix, part| built_in.idx_sample(prefix, part);
            (read("train", "train")?, read("t10k", "test")?, "embedded sample".into())
        }
    };
    let (name, classes, preprocess) = (name.clone(), classes.clone(), preprocess.clone());
    Ok(Splits { name, classes, train, test, source, preprocess })
}

/// The built-in data set `name`.
pub(crate) fn find(name: &str) -> Result<&'static BuiltIn, Error> {
    let found = BUILT_IN.iter().find(|built_in| built_in.manifest.name == name);
    found.ok_or_else(|| {
        let names = || BUILT_IN.iter().map(|built_in| built_in.manifest.name.as_str());
        let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
        let nearest = names().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        Error::UnknownDataset {
            name: name.into(),
            nearest: nearest.filter(|known| likeness(known) > 0.7).map(Into::into),
            known: names().collect::<Vec<_>>().join(", "),
        }
    })
}

impl BuiltIn {
    fn info(&self) -> Info {
        let manifest = self.manifest.clone();
        Info {
            name: manifest.name,
            task: manifest.task,
            classes: manifest.classes,
            summary: manifest.summary,
            samples: manifest.samples,
            sample: manifest.sample,
            licence: manifest.licence,
            homepage: manifest.homepage,
            embedded: !self.sample.is_empty(),
            fetchable: !manifest.mirrors.is_empty(),
            preprocess: manifest.preprocess,
        }
    }

    /// The split whose embedded files begin with `prefix`.
    fn idx_sample(&self, prefix: &str, part: &str) -> Result<Arc<dyn Dataset>, Error> {
        let Manifest { name, classes, .. } = &self.manifest;
        let parse = |kind: &str| {
            let file = format!("{prefix}-{kind}-ubyte.gz");
            let found = self.sample.iter().find(|(name, _)| *name == file);
            let bytes = found.map_or(&[][..], |(_, bytes)| bytes);
            Idx::parse(bytes, &format!("the embedded {file}"))
        };
        let label = format!("{name} sample {part}");
        Ok(IdxImages::new(&label, parse("images-idx3")?, parse("labels-idx1")?, classes.len())?
            .shared())
    }
}

/// Where below `data` the files are: the first likely folder that has one, else `data` itself.
fn folder(name: &str, data: &Path) -> PathBuf {
    let upper = name.to_uppercase();
    let likely = [data.into(), data.join(name), data.join("raw"), data.join(upper).join("raw")];
    let has_images = |folder: &&PathBuf| {
        spellings("train-images", 3).iter().any(|file| folder.join(file).is_file())
    };
    likely.iter().find(has_images).unwrap_or(&likely[0]).clone()
}

/// The spellings in use: mirrors write `-idx3`, unpacking by hand often `.idx3`.
fn spellings(stem: &str, rank: usize) -> [String; 4] {
    [
        format!("{stem}-idx{rank}-ubyte.gz"),
        format!("{stem}-idx{rank}-ubyte"),
        format!("{stem}.idx{rank}-ubyte"),
        format!("{stem}.idx{rank}-ubyte.gz"),
    ]
}

/// The split whose files in `folder` begin with `prefix`.
fn idx_folder(
    name: &str,
    folder: &Path,
    prefix: &str,
    part: &str,
    classes: usize,
) -> Result<Arc<dyn Dataset>, Error> {
    let read = |kind: &str, rank: usize| {
        let names = spellings(&format!("{prefix}-{kind}"), rank);
        let found = names.iter().map(|file| folder.join(file)).find(|path| path.is_file());
        let path = found.ok_or_else(|| Error::MissingFile {
            name: name.into(),
            file: format!("{}[.gz]", names[1]),
            folder: folder.into(),
        })?;
        Idx::read(&path)
    };
    let (images, labels) = (read("images", 3)?, read("labels", 1)?);
    Ok(IdxImages::new(&format!("{name} {part}"), images, labels, classes)?.shared())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idx::tests::{file, gzip};
    use std::fs;

    fn counts(dataset: &dyn Dataset, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        (0..dataset.len()).for_each(|index| counts[dataset.label(index)] += 1);
        counts
    }

    #[test]
    fn the_embedded_digits_are_as_their_card_says() {
        let digits = open("mnist", None).unwrap();
        assert_eq!(digits.source, "embedded sample");
        assert_eq!(digits.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(counts(&*digits.train, 10), [851, 966, 833, 864, 842, 735, 852, 910, 802, 845]);
        assert_eq!(counts(&*digits.test, 10), [150, 161, 158, 168, 138, 128, 162, 160, 142, 133]);
        assert_eq!(digits.train.name(7), "mnist sample train/7");

        let first = digits.train.sample(0).unwrap();
        assert_eq!((first.label, first.pixels.width, first.pixels.channels), (5, 28, 1));
    }

    #[test]
    fn what_is_listed_can_be_opened_and_has_the_listed_size() {
        for info in list() {
            assert!(info.fetchable && info.embedded);
            let splits = open(&info.name, None).unwrap();
            assert_eq!((splits.classes, splits.preprocess), (info.classes, info.preprocess));
            assert_eq!(splits.train.len(), info.sample["train"]);
            assert_eq!(splits.test.len(), info.sample["test"]);
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_known_one() {
        let message = |name| open(name, None).err().unwrap().to_string();
        assert_eq!(message("mnst"), "unknown dataset `mnst`; known: mnist; did you mean `mnist`?");
        assert_eq!(message("imagenet-22k"), "unknown dataset `imagenet-22k`; known: mnist");
    }

    /// A folder with a two-digit MNIST; `spell` names each file.
    fn write(folder: &Path, spell: impl Fn(&str, usize) -> String) {
        fs::create_dir_all(folder).unwrap();
        for (split, labels) in [("train", [3, 9]), ("t10k", [0, 1])] {
            let images = file(&[2, 28, 28], &[7; 2 * 784]);
            for (kind, rank, bytes) in [("images", 3, images), ("labels", 1, file(&[2], &labels))] {
                let name = spell(&format!("{split}-{kind}"), rank);
                let bytes = if name.ends_with(".gz") { gzip(&bytes) } else { bytes };
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
    }

    #[test]
    fn every_spelling_and_place_of_the_files_is_found() {
        let root = tempfile::tempdir().unwrap();
        for (number, place) in ["", "mnist", "raw", "MNIST/raw"].into_iter().enumerate() {
            let data = root.path().join(format!("data{number}"));
            write(&data.join(place), |stem, rank| spellings(stem, rank)[number].clone());
            let digits = open("mnist", Some(&data)).unwrap();
            assert_eq!(digits.train.label(1), 9, "{place}");
            assert_eq!(digits.test.name(0), "mnist test/0");
            assert!(digits.source.starts_with(&data.display().to_string()));
        }
    }

    #[test]
    fn a_missing_or_cut_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        let message = || open("mnist", Some(root.path())).err().unwrap().to_string();
        assert!(message().starts_with("no train-images-idx3-ubyte[.gz] in "), "{}", message());

        write(root.path(), |stem, rank| spellings(stem, rank)[0].clone());
        fs::remove_file(root.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
        assert!(message().starts_with("no t10k-labels-idx1-ubyte[.gz] in "), "{}", message());

        let images = root.path().join("train-images-idx3-ubyte.gz");
        let bytes = fs::read(&images).unwrap();
        fs::write(&images, &bytes[..bytes.len() / 2]).unwrap();
        let message = message();
        assert!(message.contains("train-images-idx3-ubyte.gz is damaged"), "{message}");
    }
}
