//! The data of a run: what is trained on, what chooses the best epoch, what is held out.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_data::{Dataset, Loader, LoaderConfig, Preprocess, Splits};
use kiln_models::{Classifier, Registry};

use crate::groups::Groups;
use crate::{Error, Event, Job, Observer, Recipe, Stage, published};

/// A job that can be done.
pub(crate) struct Prepared {
    pub(crate) parts: Parts,
    pub(crate) recipe: Recipe,
    pub(crate) stages: Vec<Stage>,
}

/// Opens the data of `job` and fits its recipe to it; everything that can be refused is refused here,
/// before anything is written.
pub(crate) fn prepare<R: Registry>(
    registry: &R,
    job: &Job,
    observer: &mut dyn Observer,
) -> Result<Prepared, Error> {
    published::check(registry, &job.recipe)?;
    let parts = Parts::open(job)?;
    for (class, count) in parts.small_classes(FEW) {
        observer.event(Event::Note(&format!(
            "class `{class}` has {count} images to learn from: add some, {FEW} at the least"
        )));
    }
    let recipe = fitted(registry, job, &parts.splits, observer)?;
    recipe
        .loss
        .check_classes(parts.splits.classes.len())
        .map_err(|reason| Error::recipe(&recipe.model, reason))?;
    // Parameters are drawn when they are first needed, so this costs nothing.
    let device = job.device.clone().inner();
    let network = registry
        .build(&recipe.model, &recipe.options, &device)
        .map_err(|error| error.within("options"))?;
    let [_, image @ ..] = recipe.input(1);
    network.check_input(image)?;
    let stages = Groups::of(&recipe, &network)?.stages();
    Ok(Prepared { parts, recipe, stages })
}

/// The recipe with the options that the data decides, and the colours that published weights expect.
fn fitted<R: Registry>(
    registry: &R,
    job: &Job,
    splits: &Splits,
    observer: &mut dyn Observer,
) -> Result<Recipe, Error> {
    let mut recipe = job.recipe.clone();
    let mut decide = |key: &str, found: &dyn Debug, value: &dyn Debug, why: &str| {
        if job.insisted.iter().any(|insisted| insisted == key) {
            return Err(Error::Mismatch(format!(
                "{key} is {found:?}, but {why} make it {value:?}; leave it out, then it follows them"
            )));
        }
        observer.event(Event::Note(&format!("{key} is {value:?}: {why}")));
        Ok(())
    };
    for (option, value, why) in [
        ("num_classes", splits.classes.len(), "the classes of the data set"),
        ("in_channels", recipe.preprocess.channels, "the images (preprocess.channels)"),
    ] {
        if let Some(found) = recipe.options.get_mut(option).filter(|found| **found != value) {
            let key = format!("options.{option}");
            decide(&key, &format_args!("{found}"), &value, why)?;
            *found = value.into();
        }
    }
    let published = published::of(registry, &recipe);
    if let Some(entry) = published.filter(|_| recipe.preprocess.channels == 3) {
        let Preprocess { mean, std, .. } = &mut recipe.preprocess;
        for (key, own, theirs) in [("mean", mean, entry.mean), ("std", std, entry.std)] {
            if own[..] != theirs {
                let why = format!("the images that {} was trained on", entry.file);
                decide(&format!("preprocess.{key}"), &*own, &theirs, &why)?;
                *own = theirs.to_vec();
            }
        }
    }
    Ok(recipe)
}

/// A class with fewer images than this to learn from is too small.
const FEW: usize = 10;

/// The data set that is a user's own.
const OWN: &str = "folders";

/// The file of a run that says which image is in which part.
pub(crate) const SPLIT: &str = "split.csv";

/// Where the paths of a run's own images start.
pub(crate) fn root(recipe: &Recipe) -> PathBuf {
    let data = PathBuf::from(recipe.data.as_deref().unwrap_or_default());
    match data.is_file() {
        true => data.parent().map(Path::to_owned).unwrap_or_default(),
        false => data,
    }
}

/// The data of a run.
pub(crate) struct Parts {
    pub(crate) splits: Splits,
    pub(crate) train: Arc<dyn Dataset>,
    pub(crate) validation: Option<Arc<dyn Dataset>>,
}

impl Parts {
    fn open(job: &Job) -> Result<Parts, Error> {
        let recipe = &job.recipe;
        let splits = match &job.data {
            Some(splits) => splits.clone(),
            None => kiln_data::open(&recipe.dataset, recipe.data.as_ref().map(Path::new))?,
        };
        let classes = splits.classes.len();
        for (_, part) in splits.parts() {
            if let Some(index) = (0..part.len()).find(|&index| part.label(index) >= classes) {
                return Err(Error::Mismatch(format!(
                    "sample {} has label {}, but data set `{}` names only {classes} classes",
                    part.name(index),
                    part.label(index),
                    splits.name
                )));
            }
        }
        if let Some(path) = job.resume.then(|| job.out.join(SPLIT)).filter(|path| path.is_file()) {
            let splits = kiln_data::resplit(splits, &root(recipe), &path)?;
            let (train, validation) = (splits.train.clone(), splits.validation.clone());
            return Parts { splits, train, validation }.filled();
        }
        let hold_out = |part, fraction| kiln_data::split_off(part, fraction, recipe.seed);
        let [train, _] = hold_out(splits.train.clone(), 1.0 - recipe.fraction)?;
        let own = splits.validation.clone().filter(|_| recipe.validation > 0.0);
        let (train, validation) = match own {
            Some(own) => (train, own),
            None => hold_out(train, recipe.validation)?.into(),
        };
        let validation = Some(validation).filter(|held| !held.is_empty());
        Parts { splits, train, validation }.filled()
    }

    /// The same, if nothing is empty that is needed.
    fn filled(self) -> Result<Self, Error> {
        let Self { splits, train, .. } = &self;
        for (part, what) in [(train, "the training part"), (&splits.test, "the test part")] {
            if part.is_empty() {
                return Err(Error::Empty { dataset: splits.name.clone(), what: what.into() });
            }
        }
        Ok(self)
    }

    /// The classes with fewer than `least` images to learn from, and how many each has.
    fn small_classes(&self, least: usize) -> Vec<(&str, usize)> {
        let mut counts = vec![0; self.splits.classes.len()];
        (0..self.train.len()).for_each(|index| counts[self.train.label(index)] += 1);
        let classes = self.splits.classes.iter().map(String::as_str).zip(counts);
        classes.filter(|&(_, count)| count < least).collect()
    }

    /// Which image is in which part, where the data are a user's own and may grow.
    pub(crate) fn table(&self, recipe: &Recipe) -> Option<String> {
        let mut parts: Vec<(&str, &dyn Dataset)> = vec![("train", &*self.train)];
        parts.extend(self.validation.iter().map(|part| ("validation", &**part)));
        parts.push(("test", &*self.splits.test));
        let own = recipe.dataset == OWN && recipe.data.is_some();
        own.then(|| kiln_data::split_table(&parts, &self.splits.classes, &root(recipe)))
    }

    pub(crate) fn samples(&self) -> [usize; 3] {
        let validation = self.validation.as_ref().map_or(0, |part| part.len());
        [self.train.len(), validation, self.splits.test.len()]
    }

    pub(crate) fn loader(&self, recipe: &Recipe) -> Result<Loader, Error> {
        let config = LoaderConfig {
            batch: recipe.batch_size,
            workers: recipe.loader.workers,
            shuffle: true,
            seed: recipe.seed,
            policy: recipe.loader.on_error,
            sampling: recipe.loader.sampling,
            classes: self.splits.classes.len(),
            ..LoaderConfig::default()
        };
        let (preprocess, augment) = (recipe.preprocess.clone(), Some(recipe.augment));
        Ok(Loader::new(self.train.clone(), config, preprocess, augment)?)
    }
}
