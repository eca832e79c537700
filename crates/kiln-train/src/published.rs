//! Where a network's weights come from, and those that torchvision publishes: downloaded once, verified, and used with
//! the images and classes that they belong to.
//!
//! PyTorch writes the first eight digits of a file's SHA-256 into its name, and more of it is published nowhere. As
//! `torch.hub` does with `check_hash`, those digits are checked: they tell a damaged file, and not a forged one, which is
//! why the address is an `https` one.

use std::env;
use std::path::{Path, PathBuf};

use kiln_data::Preprocess;
use kiln_models::Registry;
use kiln_models::weights::Pretrained;

use crate::{Error, Observer, Recipe};

/// What a recipe and the command line call published weights.
pub const PRETRAINED: &str = "pretrained";

/// The data set that they were trained on.
pub(crate) const DATASET: &str = "imagenet";

/// Names another folder with the files by its address, such as a copy in a network without internet.
const ADDRESS: &str = "KILN_WEIGHTS_URL";

/// Where the weights of a registry model come from.
#[derive(Clone, Debug, Default)]
pub enum Weights {
    /// They are drawn at random.
    #[default]
    Random,
    /// A file in any format that the model reads. One that is called like a published file is taken for it.
    File(PathBuf),
    /// Published weights.
    Published(Published),
}

/// Published weights that are on this machine.
#[derive(Clone, Debug)]
pub struct Published {
    entry: &'static Pretrained,
    file: PathBuf,
}

impl Published {
    /// The best weights that `registry` has published for `model`, downloaded into the cache folder if they aren't there. Without a folder in
    /// `$KILN_CACHE` that is where downloaded data sets are, below `weights`; `$KILN_WEIGHTS_URL` names another place to
    /// get them from.
    ///
    /// # Errors
    ///
    /// [`Error::NotPublished`] if there are none; what [`kiln_data::fetch::fetch_file`] says.
    pub fn fetch<R: Registry>(
        registry: &R,
        model: &str,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let entry = best(registry, model)?;
        Ok(Self { entry, file: download(entry, observer)? })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Weights {
    /// The file to read, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Weights::Random => None,
            Weights::File(file) | Weights::Published(Published { file, .. }) => Some(file),
        }
    }

    /// What is known about them if they are published weights of `model`.
    pub(crate) fn published<R: Registry>(
        &self,
        registry: &R,
        model: &str,
    ) -> Option<&'static Pretrained> {
        match self {
            Weights::Random => None,
            Weights::File(file) => called(registry, model, file),
            Weights::Published(published) => Some(published.entry),
        }
    }
}

/// How the images of published weights are prepared.
pub(crate) fn preprocess(entry: &Pretrained) -> Preprocess {
    let Pretrained { resize, crop, mean, std, .. } = *entry;
    let (mean, std) = (mean.to_vec(), std.to_vec());
    Preprocess { channels: 3, height: crop, width: crop, resize, pad: 0, mean, std }
}

/// The published weights that a recipe starts from, if it does.
pub(crate) fn of<R: Registry>(registry: &R, recipe: &Recipe) -> Option<&'static Pretrained> {
    match recipe.weights.as_deref()? {
        PRETRAINED => best(registry, &recipe.model).ok(),
        file => called(registry, &recipe.model, Path::new(file)),
    }
}

/// Refuses a recipe that starts from published weights where there are none.
pub(crate) fn check<R: Registry>(registry: &R, recipe: &Recipe) -> Result<(), Error> {
    match recipe.weights.as_deref() {
        Some(PRETRAINED) => best(registry, &recipe.model).map(|_| ()),
        _ => Ok(()),
    }
}

/// The file that a recipe's `weights` means.
pub(crate) fn file<R: Registry>(
    registry: &R,
    model: &str,
    weights: &str,
    observer: &mut dyn Observer,
) -> Result<PathBuf, Error> {
    match weights {
        PRETRAINED => Ok(Published::fetch(registry, model, observer)?.file),
        file => Ok(file.into()),
    }
}

/// The published weights that a run of `recipe` would have to download first.
pub(crate) fn pending<R: Registry>(registry: &R, recipe: &Recipe) -> Option<&'static Pretrained> {
    let entry = of(registry, recipe).filter(|_| recipe.weights.as_deref() == Some(PRETRAINED))?;
    (!is_here(entry)).then_some(entry)
}

/// Whether nothing has to be downloaded for `entry`, or nothing can be.
#[cfg(feature = "fetch")]
fn is_here(entry: &Pretrained) -> bool {
    kiln_data::fetch::cache_folder("weights").is_ok_and(|folder| folder.join(entry.file).exists())
}

#[cfg(not(feature = "fetch"))]
fn is_here(_: &Pretrained) -> bool {
    true
}

/// The best weights published for `model`.
fn best<R: Registry>(registry: &R, model: &str) -> Result<&'static Pretrained, Error> {
    registry.pretrained(model).pop().ok_or_else(|| {
        let models = registry.entries().iter().map(|entry| entry.name);
        let known: Vec<_> = models.filter(|name| !registry.pretrained(name).is_empty()).collect();
        Error::NotPublished { model: model.to_owned(), known: known.join(", ") }
    })
}

/// The published weights of `model` that are called like `file`.
fn called<R: Registry>(registry: &R, model: &str, file: &Path) -> Option<&'static Pretrained> {
    let name = file.file_name()?;
    registry.pretrained(model).into_iter().find(|entry| name == entry.file)
}

#[cfg(feature = "fetch")]
fn download(entry: &Pretrained, observer: &mut dyn Observer) -> Result<PathBuf, Error> {
    let published = || entry.url().trim_end_matches(entry.file).to_owned();
    let address = env::var(ADDRESS).ok().filter(|address| !address.is_empty());
    let folder = kiln_data::fetch::cache_folder("weights")?;
    download_from(address.unwrap_or_else(published), entry, &folder, observer)
}

/// Downloads the file of `entry` from the folder at `address` into `folder`.
#[cfg(feature = "fetch")]
fn download_from(
    mut address: String,
    entry: &Pretrained,
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<PathBuf, Error> {
    use crate::Event;
    use kiln_data::fetch::{Progress, fetch_file};

    if !address.ends_with('/') {
        address.push('/');
    }
    let mut told = false;
    let mut tell = |progress: Progress<'_>| match progress {
        Progress::Started { file, url, have, total } => {
            if !std::mem::replace(&mut told, true) {
                observer.event(Event::Note(&format!("downloading {url}")));
            }
            observer.event(Event::Fetching { file, have, total });
        }
        Progress::Received { file, have, total } => {
            observer.event(Event::Fetching { file, have, total });
        }
        Progress::Failed { url, reason, .. } => {
            observer.event(Event::Note(&format!("{url}: {reason}")));
        }
        Progress::Present { .. } | Progress::Done { .. } => {}
    };
    Ok(fetch_file(&[address], entry.file, entry.sha256_start(), folder, &mut tell)?)
}

#[cfg(not(feature = "fetch"))]
fn download(entry: &Pretrained, _: &mut dyn Observer) -> Result<PathBuf, Error> {
    Err(Error::NoDownloads(env::var(ADDRESS).map_or_else(|_| entry.url(), |at| at + entry.file)))
}

#[cfg(test)]
mod tests;
