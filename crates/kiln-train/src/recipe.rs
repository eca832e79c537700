//! Recipes: everything a run depends on, as TOML laid over defaults.

use std::path::Path;
use std::{fs, io};

use kiln_data::{Augment, MAX_WORKERS, Preprocess, info};
use kiln_models::{Registry, nearest, options};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Curve, Ema, Error, Group, Loss, Optimizer, Reading, Schedule};

/// More is a slip of the finger.
pub const MOST_EPOCHS: usize = 1_000_000;
/// No larger batch can be meant.
pub const LARGEST_BATCH: usize = 1 << 20;
/// TOML's integers end here, and a run's recipe is written as TOML.
pub const LARGEST_SEED: u64 = i64::MAX as u64;

/// The recipes that ship with kiln, as `(name, TOML)`, sorted by name.
pub fn recipes() -> &'static [(&'static str, &'static str)] {
    include!(concat!(env!("OUT_DIR"), "/recipes.rs"))
}

/// Everything a run depends on besides the code and the data's bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Registry name of the model.
    pub model: String,
    /// Name of the data set.
    pub dataset: String,
    /// Folder with the data; absent: the embedded sample.
    pub data: Option<String>,
    /// Weights to start from, a head for other classes excepted: a file, or `pretrained` for those that are published;
    /// absent: random ones.
    pub weights: Option<String>,
    /// Seed of every random number in the run.
    pub seed: u64,
    /// Passes over the training part.
    pub epochs: usize,
    /// Images per optimizer step.
    pub batch_size: usize,
    /// Parts that a batch is computed in, one after the other, where its maps don't fit into memory at once. The step is
    /// that of the whole batch; norms see each part alone.
    pub accumulate: usize,
    /// Gradient checkpointing: cheap maps are computed again in the backward pass, not kept.
    pub recompute: bool,
    /// Fraction of the training part that is used at all, for a quick look or a learning curve.
    pub fraction: f64,
    /// Fraction of the training part held out to choose the best epoch; 0 takes the last one. A data set that has a
    /// validation part of its own lends that instead, unless this is 0.
    pub validation: f64,
    /// Options of the model, laid over its defaults.
    pub options: Map<String, Value>,
    /// How an image becomes the network's input.
    pub preprocess: Preprocess,
    /// Random changes of training images.
    pub augment: Augment,
    /// The objective.
    pub loss: Loss,
    /// The optimizer and its constants.
    pub optimizer: Optimizer,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// The moving average of the weights, which is validated, tested and used for prediction where there is one.
    pub ema: Ema,
    /// Parameters that are frozen for a while or learn at a rate of their own.
    pub groups: Vec<Group>,
    /// Early stopping.
    pub stop: Stop,
    /// How samples are read.
    pub loader: Reading,
}

/// When a run ends before its last epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Epochs without a better validation result after which the run ends; 0 never ends it.
    pub patience: usize,
}

impl Recipe {
    /// The recipe that kiln carries under `name`, as `(name, TOML)`, or the one that trains model
    /// `name` on its default data set: `lenet5` is `lenet5-mnist`.
    pub fn carried<R: Registry>(
        registry: &R,
        name: &str,
    ) -> Option<&'static (&'static str, &'static str)> {
        let stem = name.strip_suffix(".toml").unwrap_or(name);
        let entry = registry.entries().iter().find(|entry| entry.name == stem);
        let default = entry.map(|entry| format!("{}-{}", entry.name, entry.dataset));
        recipes().iter().find(|(known, _)| *known == stem || Some(*known) == default.as_deref())
    }

    /// The recipe that kiln [carries](Self::carried) under `name`, or of a model that has none the
    /// [defaults](Self::defaults).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecipe`] with the nearest name if there is neither.
    pub fn named<R: Registry>(registry: &R, name: &str) -> Result<Recipe, Error> {
        if let Some((known, text)) = Recipe::carried(registry, name) {
            return Recipe::parse(registry, known, text);
        }
        let stem = name.strip_suffix(".toml").unwrap_or(name);
        let models = || registry.entries().iter().map(|entry| entry.name);
        if models().any(|known| known == name) {
            return Recipe::defaults(registry, name);
        }
        let names = recipes().iter().map(|(known, _)| *known).chain(models());
        Err(Error::UnknownRecipe {
            name: name.to_owned(),
            nearest: nearest(stem, names).map(str::to_owned),
            known: recipes().iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", "),
        })
    }

    /// The recipe in the file `path`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no recipe; the message names the key.
    pub fn from_file<R: Registry>(registry: &R, path: &Path) -> Result<Recipe, Error> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                Error::recipe(&name, "it isn't UTF-8, as TOML must be; save it as UTF-8 text")
            }
            _ => Error::io(path)(error),
        })?;
        Recipe::parse(registry, &name, &text)
    }

    /// The recipe written as TOML in `text`; `name` stands in messages.
    ///
    /// # Errors
    ///
    /// If a key is unknown, a value has the wrong type or cannot be used.
    pub fn parse<R: Registry>(registry: &R, name: &str, text: &str) -> Result<Recipe, Error> {
        let over: Value = toml::from_str(text)
            .map_err(|error| Error::recipe(name, error.to_string().trim_end()))?;
        let Some(model) = over.get("model").and_then(Value::as_str) else {
            return Err(Error::recipe(name, "the key `model` is missing; name a registry model"));
        };
        let mut defaults = Recipe::defaults(registry, model)?;
        // What the text leaves out is that of its own data set and image, not of the model's usual ones.
        let side =
            |key: &str| -> Option<usize> { over["preprocess"].get(key)?.as_u64()?.try_into().ok() };
        let [channels, height, width] = ["channels", "height", "width"].map(side);
        let channels = channels.filter(|channels| [1, 3].contains(channels));
        let Preprocess { channels: c, height: h, width: w, .. } = defaults.preprocess;
        let image = [channels.unwrap_or(c), height.unwrap_or(h), width.unwrap_or(w)];
        let dataset = over.get("dataset").and_then(Value::as_str).unwrap_or(&defaults.dataset);
        defaults.preprocess = usual(dataset, image);
        let mut base = defaults.to_value();
        options::overlay(&mut base, over).map_err(|error| Error::recipe(name, error))?;
        Recipe::from_value(name, base)
    }

    /// What a recipe that only names `model` says.
    ///
    /// # Errors
    ///
    /// If the registry has no such model.
    pub fn defaults<R: Registry>(registry: &R, model: &str) -> Result<Recipe, Error> {
        let options = registry.defaults(model)?;
        let entry = registry.entries().iter().find(|entry| entry.name == model);
        let (dataset, image) =
            entry.map_or(("", [3, 224, 224]), |entry| (entry.dataset, entry.input));

        Ok(Recipe {
            model: model.to_owned(),
            dataset: dataset.to_owned(),
            data: None,
            weights: None,
            seed: 1,
            epochs: 10,
            batch_size: 64,
            accumulate: 1,
            recompute: false,
            fraction: 1.0,
            validation: 0.1,
            options,
            preprocess: usual(dataset, image),
            augment: Augment::default(),
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            ema: Ema::default(),
            groups: Vec::new(),
            stop: Stop::default(),
            loader: Reading::default(),
        })
    }

    /// Takes another data set, from kiln's sample of it; how its images are normalized goes with it, unless that isn't
    /// what the old one says.
    pub fn take(&mut self, dataset: &str) {
        let Preprocess { channels, height, width, .. } = self.preprocess;
        let image = [channels, height, width];
        let agrees = info(dataset).is_ok_and(|info| info.preprocess.channels == channels);
        if agrees && self.preprocess == usual(&self.dataset, image) {
            self.preprocess = usual(dataset, image);
        }
        dataset.clone_into(&mut self.dataset);
        self.data = None;
    }

    /// Changes one value: `assignment` is `key.path=value`, as after `--set`.
    ///
    /// # Errors
    ///
    /// If the key does not exist (the nearest one is named) or the value does not fit.
    pub fn set(&mut self, assignment: &str) -> Result<(), Error> {
        self.set_all(&[assignment])
    }

    /// Changes several values at once, so that values which depend on each other may change
    /// together; see [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set); nothing is changed then.
    pub fn set_all<S: AsRef<str>>(&mut self, assignments: &[S]) -> Result<(), Error> {
        let mut value = self.to_value();
        for assignment in assignments {
            options::set(&mut value, assignment.as_ref()).map_err(|error| {
                // TOML's inline tables are no JSON, and nothing in the message would say so.
                let hint = match assignment.as_ref().trim_start().starts_with("groups") {
                    true => r#"; write groups=[{"match": "backbone", "frozen": true}], or [[groups]] in a recipe file"#,
                    false => "",
                };
                Error::recipe("--set", format!("{error}{hint}"))
            })?;
        }
        let keys = assignments.iter().filter_map(|assignment| assignment.as_ref().split_once('='));
        if !keys
            .map(|(key, _)| key.trim())
            .any(|key| ["preprocess", "preprocess.resize"].contains(&key))
        {
            self.follow(&mut value["preprocess"]);
        }
        *self = Recipe::from_value("--set", value)?;
        Ok(())
    }

    /// Brings `resize` to the image size that `preprocess` has now, if it is the data set's own for the size before.
    fn follow(&self, preprocess: &mut Value) {
        let usual = |height, width| usual(&self.dataset, [self.preprocess.channels, height, width]);
        let before = usual(self.preprocess.height, self.preprocess.width).resize;
        let side = |key: &str| preprocess[key].as_u64()?.try_into().ok();
        if let Some((height, width)) = side("height").zip(side("width"))
            && self.preprocess.resize == before
        {
            preprocess["resize"] = usual(height, width).resize.into();
        }
    }

    /// The whole recipe as TOML, every default written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.json()).expect("a recipe holds only numbers, texts, lists and tables")
    }

    /// The whole recipe as JSON: the tables, keys and numbers of [`to_toml`](Self::to_toml).
    pub fn json(&self) -> Value {
        let mut value = self.to_value();
        polish(&mut value);
        value
    }

    /// Shape of a batch of `batch` images: `[batch, channels, height, width]`.
    pub fn input(&self, batch: usize) -> [usize; 4] {
        [batch, self.preprocess.channels, self.preprocess.height, self.preprocess.width]
    }

    /// The learning rate of optimizer step `step`, counted from 0, after epochs with these validation losses.
    pub fn learning_rate(&self, step: u64, steps_per_epoch: usize, losses: &[f64]) -> f64 {
        let factor = self.schedule.factor(step, steps_per_epoch, self.epochs, losses);
        self.optimizer.learning_rate * factor
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a recipe holds only numbers, texts, lists and tables")
    }

    fn from_value(name: &str, mut value: Value) -> Result<Recipe, Error> {
        Group::complete(&mut value["groups"]).map_err(|reason| Error::recipe(name, reason))?;
        let recipe: Recipe = options::read(value).map_err(|error| Error::recipe(name, error))?;
        recipe.check().map_err(|reason| Error::recipe(name, reason))?;
        Ok(recipe)
    }

    /// Says which value cannot be used, if one cannot.
    fn check(&self) -> Result<(), String> {
        for (key, value, least, most) in [
            ("seed", self.seed, 0, LARGEST_SEED),
            ("epochs", self.epochs as u64, 1, MOST_EPOCHS as u64),
            ("batch_size", self.batch_size as u64, 1, LARGEST_BATCH as u64),
            ("accumulate", self.accumulate as u64, 1, self.batch_size as u64),
            ("stop.patience", self.stop.patience as u64, 0, MOST_EPOCHS as u64),
            ("loader.workers", self.loader.workers as u64, 0, MAX_WORKERS as u64),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("{key} must lie in [{least}, {most}], found {value}"));
            }
        }
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return Err(format!("fraction must lie in (0, 1], found {}", self.fraction));
        }
        if !(0.0..1.0).contains(&self.validation) {
            return Err(format!("validation must lie in [0, 1), found {}", self.validation));
        }
        if self.stop.patience > 0 && self.validation == 0.0 {
            return Err("stop.patience needs a validation part; set validation above 0".into());
        }
        if self.schedule.name == Curve::Plateau && self.validation == 0.0 {
            return Err("plateau needs a validation part; set validation above 0".into());
        }
        self.preprocess.check().map_err(|error| error.to_string())?;
        self.augment.check().map_err(|error| error.to_string())?;
        self.loss.check()?;
        self.optimizer.check()?;
        self.schedule.check()?;
        self.ema.check()?;
        self.groups.iter().try_for_each(Group::check)
    }
}

/// How an image of `dataset` becomes one of `[channels, height, width]`: as the data set says, if its channels are these.
fn usual(dataset: &str, [channels, height, width]: [usize; 3]) -> Preprocess {
    let own = info(dataset).ok().map(|info| info.preprocess);
    let Some(own) = own.filter(|own| own.channels == channels) else {
        let half = vec![0.5; channels];
        let std = half.clone();
        return Preprocess { channels, height, width, resize: 0, pad: 0, mean: half, std };
    };
    // As large a part is cut out of an image of another size.
    let resize = own.resize.saturating_mul(height.max(width)).div_ceil(own.height.max(own.width));
    Preprocess { channels, height, width, resize, ..own }
}

/// Says that `value` of the setting `key` does not lie between `least` and `most`, if it doesn't.
pub(crate) fn within(key: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    // `{:?}` writes 1e300 as that, and not in three hundred digits.
    Err(format!("{key} must lie in [{least}, {most}], found {value:?}"))
}

/// Drops what is absent, which TOML cannot say, and writes single-precision numbers as people do:
/// 0.1307, not the nearest f32 in seventeen digits.
fn polish(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(polish);
        }
        Value::Array(items) => items.iter_mut().for_each(polish),
        Value::Number(number) => {
            let single = number.as_f64().map(|wide| (wide, wide as f32));
            if let Some((wide, single)) = single.filter(|&(wide, single)| f64::from(single) == wide)
                && number.is_f64()
            {
                *value = single.to_string().parse().unwrap_or(wide).into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
