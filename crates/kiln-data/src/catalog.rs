//! The data sets that kiln knows: what there is, and how one is opened.
//!
//! Where its licence and size allow it, a small real sample of a set is embedded, so that much can be tried without a
//! network or a folder.

mod built_in;
pub(crate) mod idx_files;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::manifest::Format;
use crate::{Dataset, Error, Preprocess, cifar, folders, own};
use built_in::BUILT_IN;
pub(crate) use built_in::BuiltIn;

/// What is known about a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// Its name, as in recipes and on the command line.
    pub name: String,
    /// `classification`, or what else it is for.
    pub task: String,
    /// Names of the classes, by number; none where the folders of a user name them.
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

impl Info {
    /// Whether it holds images with marked objects, which [`open_scenes`](crate::open_scenes) opens, and not images with one
    /// class each.
    pub fn has_scenes(&self) -> bool {
        self.task != "classification"
    }
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
    /// The samples to choose the best epoch by, where the set has its own. Where it has none, training splits some off.
    pub validation: Option<Arc<dyn Dataset>>,
    /// The samples to be judged by.
    pub test: Arc<dyn Dataset>,
    /// `embedded sample`, or the folder it was read from.
    pub source: String,
    /// How its images are usually prepared; recipes may say otherwise.
    pub preprocess: Preprocess,
}

impl Splits {
    /// The part called `train`, `validation` or `test`, if there is one.
    pub fn get(&self, split: &str) -> Option<&Arc<dyn Dataset>> {
        self.parts().find(|(name, _)| *name == split).map(|(_, part)| part)
    }

    /// The parts that there are, with their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Dataset>)> {
        let validation = self.validation.as_ref().map(|part| ("validation", part));
        [("train", &self.train)].into_iter().chain(validation).chain([("test", &self.test)])
    }

    /// The names of the parts, for a message: `train, test`.
    pub fn part_names(&self) -> String {
        self.parts().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }
}

/// What a format found in a folder.
pub(crate) struct Parts {
    pub classes: Vec<String>,
    pub train: Arc<dyn Dataset>,
    pub validation: Option<Arc<dyn Dataset>>,
    pub test: Arc<dyn Dataset>,
    /// Where they were read from.
    pub source: String,
}

/// The data sets that kiln knows.
pub fn list() -> Vec<Info> {
    BUILT_IN.iter().map(BuiltIn::info).collect()
}

/// What is known about the data set `name`.
///
/// # Errors
///
/// [`Error::UnknownDataset`] with the nearest known name.
pub fn info(name: &str) -> Result<Info, Error> {
    find(name).map(BuiltIn::info)
}

/// Opens the data set `name`: from the folder `data`, or else its embedded sample.
///
/// The folder holds the files itself, or in a folder called like the data set, or as torchvision keeps them
/// (`MNIST/raw`). Small images are checked against their headers and read into memory; image files are read one by one
/// when they are needed.
///
/// # Errors
///
/// [`Error::UnknownDataset`] with the nearest known name; [`Error::NoSample`] without a folder where no sample is
/// embedded; [`Error::Task`] for a set of [scenes](crate::scenes); [`Error::NoFolder`] for a folder that isn't there; [`Error::MissingFile`] with the file and the folder; [`Error::Folders`] for a folder of images with another
/// layout; [`Error::Malformed`] for a damaged file.
pub fn open(name: &str, data: Option<&Path>) -> Result<Splits, Error> {
    let built_in = find(name)?;
    let manifest = &built_in.manifest;
    if manifest.format == Format::DigitScenes {
        let (name, task) = (manifest.name.clone(), manifest.task.clone());
        return Err(Error::Task { name, task, wanted: "images with one class each" });
    }
    let parts = match data {
        // CIFAR's archive is read as it is, and so are tables and archives of one's own.
        Some(data) if !(data.is_dir() || manifest.takes_file(data)) => {
            let (name, fetchable) = (manifest.name.clone(), manifest.is_fetchable());
            return Err(Error::NoFolder { name, folder: data.to_owned(), fetchable });
        }
        Some(data) => match manifest.format {
            Format::Idx => idx_files::open(manifest, data),
            Format::Cifar => cifar::open(manifest, data),
            Format::Folders if manifest.is_own() => own::open(manifest, data),
            Format::Folders | Format::DigitScenes => folders::open(manifest, data, 0),
        }?,
        None if built_in.sample.is_empty() => {
            let (name, fetchable) = (manifest.name.clone(), manifest.is_fetchable());
            return Err(Error::NoSample { name, fetchable });
        }
        None => idx_files::embedded(built_in)?,
    };
    let Parts { classes, train, validation, test, source } = parts;
    let (name, preprocess) = (manifest.name.clone(), manifest.preprocess.clone());
    Ok(Splits { name, classes, train, validation, test, source, preprocess })
}

/// The data set `name`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_has_its_papers() {
        for info in list() {
            assert_eq!(info.has_scenes(), info.name == "digit-scenes");
            assert_eq!(info.embedded, !info.sample.is_empty(), "{}", info.name);
            let texts = [&info.summary, &info.licence, &info.homepage];
            assert!(texts.iter().all(|text| !text.is_empty()), "{}", info.name);
            assert_eq!(self::info(&info.name).unwrap(), info);
        }
        let count = |name: &str| info(name).unwrap().classes.len();
        let counts = ["mnist", "fashion-mnist", "cifar10", "imagenet", "clothing", "folders"];
        assert_eq!(counts.map(count), [10, 10, 10, 1000, 10, 0]);
        assert_eq!(count("digit-scenes"), 10);
        assert_eq!(list()[0].name, "mnist", "the set of the first command comes first");
    }

    #[test]
    fn an_embedded_sample_has_the_listed_size() {
        for info in list().into_iter().filter(|info| info.embedded && !info.has_scenes()) {
            let splits = open(&info.name, None).unwrap();
            assert_eq!((&splits.classes, &splits.preprocess), (&info.classes, &info.preprocess));
            assert_eq!(splits.train.len(), info.sample["train"]);
            assert_eq!(splits.test.len(), info.sample["test"]);
            assert_eq!(
                (splits.part_names().as_str(), splits.get("dev").is_none()),
                ("train, test", true)
            );
        }
    }

    #[test]
    fn imagenet_names_its_thousand_classes_in_the_order_of_their_folders() {
        let manifest = &find("imagenet").unwrap().manifest;
        assert!(manifest.folders.is_sorted() && manifest.folders.len() == 1000);
        let name = |folder: &str| {
            let at = manifest.folders.binary_search_by(|other| other.as_str().cmp(folder)).unwrap();
            (at, manifest.classes[at].as_str())
        };
        assert_eq!(name("n01440764"), (0, "tench"));
        assert_eq!(name("n02123045"), (281, "tabby"));
        assert_eq!(name("n15075141"), (999, "toilet tissue"));
        let mut names = manifest.classes.clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 1000, "no two classes have one name");
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_known_one() {
        let message = |name| open(name, None).err().unwrap().to_string();
        let known =
            "known: mnist, fashion-mnist, cifar10, imagenet, clothing, folders, digit-scenes";
        let expected = format!("unknown dataset `mnst`; {known}; did you mean `mnist`?");
        assert_eq!(message("mnst"), expected);
        assert_eq!(message("voc"), format!("unknown dataset `voc`; {known}"));
    }

    #[test]
    fn a_set_without_a_sample_says_how_to_get_it() {
        let message = |name| open(name, None).err().unwrap().to_string();
        assert!(message("cifar10").ends_with("or get it with `kiln data fetch cifar10`"));
        assert!(message("clothing").ends_with("no embedded sample; name its folder with --data"));
    }
}
