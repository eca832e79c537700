//! The data of a run: what is trained on, what chooses the best epoch, what is held out.

use std::path::Path;
use std::sync::Arc;

use kiln_data::{Dataset, Loader, LoaderConfig, Splits};

use crate::{Error, Event, Observer, Recipe};

/// The recipe with the number of classes that the data set has.
pub(crate) fn fitted(recipe: &Recipe, splits: &Splits, observer: &mut dyn Observer) -> Recipe {
    let mut recipe = recipe.clone();
    let classes = splits.classes.len();
    if let Some(found) = recipe.options.get_mut("num_classes").filter(|found| **found != classes) {
        let note = format!("options.num_classes is {classes}, as `{}` has", splits.name);
        *found = classes.into();
        observer.event(Event::Note(&note));
    }
    recipe
}

/// The data of a run.
pub(crate) struct Parts {
    pub(crate) splits: Splits,
    pub(crate) train: Arc<dyn Dataset>,
    pub(crate) validation: Option<Arc<dyn Dataset>>,
}

impl Parts {
    pub(crate) fn open(recipe: &Recipe) -> Result<Parts, Error> {
        let splits = kiln_data::open(&recipe.dataset, recipe.data.as_ref().map(Path::new))?;
        let hold_out = |part, fraction| kiln_data::split_off(part, fraction, recipe.seed);
        let [train, _] = hold_out(splits.train.clone(), 1.0 - recipe.fraction)?;
        let [train, validation] = hold_out(train, recipe.validation)?;
        let validation = Some(validation).filter(|held| !held.is_empty());
        for (part, what) in [(&train, "the training part"), (&splits.test, "the test part")] {
            if part.is_empty() {
                return Err(Error::Empty { dataset: splits.name.clone(), what: what.into() });
            }
        }
        Ok(Parts { splits, train, validation })
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
            ..LoaderConfig::default()
        };
        let (preprocess, augment) = (recipe.preprocess.clone(), Some(recipe.augment));
        Ok(Loader::new(self.train.clone(), config, preprocess, augment)?)
    }
}
