//! From the arguments of `kiln train` to a recipe and a run folder.

use std::fs;
use std::path::{Path, PathBuf, absolute};

use kiln::burn::tensor::Device;
use kiln::data::transform::Crop;
use kiln::models::{Zoo, nearest};
use kiln::train::{Job, PRETRAINED, Recipe, recipes, run_of, runs_in};

use super::Train;
use crate::errors::Failure;
use crate::output::{self, argument};
use crate::target;
use crate::verbs::data::info;
use crate::verbs::subject::{is_model, looks_like_a_path, refuse_others};

/// The file that makes a folder a run.
const RECIPE: &str = "recipe.toml";
/// The data set of photos of one's own.
const OWN: &str = "folders";

impl Train {
    /// The run folder, and whether it is to be continued.
    pub(super) fn folder(&self) -> Result<(PathBuf, bool), Failure> {
        if let Some(run) = &self.resume {
            return Ok((self.resumed(run)?, true));
        }
        if let Some(out) = &self.out {
            return Ok((out.clone(), false));
        }
        let recipe = self.recipe_for(None)?;
        let stem = Path::new(self.recipe.as_deref().unwrap_or_default()).file_stem();
        let stem = stem.unwrap_or_default().to_string_lossy().into_owned();
        let name = if stem == recipe.model || self.dataset.is_some() {
            format!("{}-{}", recipe.model, recipe.dataset)
        } else {
            stem
        };
        Ok((target::numbered(&Path::new("runs").join(name), ""), false))
    }

    /// The job for `folder`; `fresh` is the recipe of a run that isn't begun, if not the command
    /// line's.
    pub(super) fn job(
        &self,
        folder: &Path,
        resume: bool,
        device: &Device,
        fresh: Option<&Recipe>,
    ) -> Result<Job, Failure> {
        let begun = resume && folder.join(RECIPE).is_file();
        if resume && !begun {
            // Killed before it wrote its recipe: the command line still knows what to do.
            if (self.recipe.is_none() && fresh.is_none()) || !is_untouched(folder) {
                return Ok(Job::resume(&Zoo, folder, device.clone())?);
            }
            output::note(&format!(
                "{} holds no run yet; training starts from the beginning",
                folder.display()
            ));
        }
        let recipe = match fresh {
            Some(recipe) if !begun => recipe.clone(),
            _ => self.recipe_for(begun.then_some(folder))?,
        };
        let insisted = self.insisted();
        Ok(Job { resume: begun, insisted, ..Job::new(recipe, folder, device.clone()) })
    }

    /// The recipe that a dry run is about.
    pub(super) fn planned(&self) -> Result<Recipe, Failure> {
        match &self.resume {
            None => self.recipe_for(None),
            Some(run) => {
                let run = self.resumed(run)?;
                if self.seeds.is_some() { self.base(&run) } else { self.recipe_for(Some(&run)) }
            }
        }
    }

    /// The recipe of the first of the seeds whose runs are in `folder`: the command line's, or of
    /// runs that were begun their own.
    pub(super) fn base(&self, folder: &Path) -> Result<Recipe, Failure> {
        match runs_in(folder).first().filter(|_| self.resume.is_some() && self.recipe.is_none()) {
            Some(first) => self.recipe_for(Some(first)),
            None => self.recipe_for(None),
        }
    }

    /// The folder that `--resume RUN` means: a run, the run of a last checkpoint, or with --seeds the
    /// folder of their runs.
    fn resumed(&self, run: &Path) -> Result<PathBuf, Failure> {
        let shown = run.display();
        if !run.is_dir() {
            let what = if run.exists() { "no folder" } else { "not there" };
            return Err(Failure::usage(format!("--resume: {shown} is {what}")).hint(
                "name the folder that `kiln train` wrote, or begin a new run without --resume",
            ));
        }
        if let Some(owner) = run_of(run).filter(|owner| owner.join(RECIPE).is_file()) {
            return if run.ends_with("last") {
                Ok(owner.to_owned())
            } else {
                Err(Failure::usage(format!(
                    "{shown} can't be continued: only checkpoints/last knows the optimizer's state"
                ))
                .hint(format!("name the run itself: --resume {}", argument(owner))))
            };
        }
        let single = run.join(RECIPE).is_file();
        let runs = runs_in(run);
        match self.seeds {
            Some(_) if single => Err(Failure::usage(format!("--seeds: {shown} is a single run"))
                .hint("leave --seeds out, or name the folder that holds the runs of the seeds")),
            None if !single && !runs.is_empty() => {
                let names = runs.iter().filter_map(|run| run.file_name());
                let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
                Err(Failure::usage(format!(
                    "{shown} is no run, but a folder of them: {}",
                    names.join(", ")
                ))
                .hint(format!(
                    "go on with one, --resume {}, or with all, --resume {} --seeds {}",
                    argument(&runs[0]),
                    argument(run),
                    runs.len()
                )))
            }
            _ => Ok(run.to_owned()),
        }
    }

    /// What --set says of values that the data or published weights may decide otherwise.
    pub(super) fn insisted(&self) -> Vec<String> {
        let keys = self.set.iter().filter_map(|assignment| assignment.split_once('='));
        keys.map(|(key, _)| key.trim().to_owned()).collect()
    }

    /// Says that a model has no recipe to train by, and what takes its place.
    pub(super) fn remark_on_defaults(&self) {
        let Some(name) =
            self.recipe.as_deref().filter(|name| self.resume.is_none() && is_model(name))
        else {
            return;
        };
        let both = format!("{name}-{}", self.dataset.as_deref().unwrap_or_default());
        if Recipe::carried(&Zoo, name).is_none() && Recipe::carried(&Zoo, &both).is_none() {
            output::note(&format!(
                "kiln carries no recipe for {name}: it starts from the defaults, which --dry-run shows"
            ));
        }
    }

    /// The recipe that the command line describes, or of a run that was begun its own.
    ///
    /// A resumed run ends with the weights of an uninterrupted one only if nothing changes on the
    /// way, so an argument that contradicts the run's recipe is refused. The data may have moved.
    pub(super) fn recipe_for(&self, begun: Option<&Path>) -> Result<Recipe, Failure> {
        let Some(folder) = begun else {
            let name = self.recipe.as_ref().ok_or_else(|| Failure::usage("RECIPE is missing"))?;
            return self.changed(self.named(name)?);
        };
        let file = folder.join(RECIPE);
        if !file.is_file() {
            return Err(kiln::train::Error::NoRun(folder.to_owned()).into());
        }
        let own = Recipe::from_file(&Zoo, &file)?;
        if let Some(name) = &self.recipe {
            let named = self.named(name)?;
            if named.model != own.model {
                return Err(Failure::usage(format!(
                    "--resume: {} trains {}, not {}",
                    file.display(),
                    own.model,
                    named.model
                ))
                .hint("leave RECIPE out"));
            }
        }

        let mut changed = self.changed(own.clone())?;
        let own = Recipe { data: changed.data.clone(), ..own };
        if self.seeds.is_some() {
            // Each run of --seeds has its own.
            changed.seed = own.seed;
        }
        if changed == own {
            return Ok(own);
        }
        let (before, after) = (own.to_toml(), changed.to_toml());
        let differs = before.lines().find(|line| !after.lines().any(|other| other == *line));
        let differs = differs.unwrap_or_default();
        let weights = folder.join("checkpoints/last/model.safetensors");
        Err(Failure::usage(format!(
            "--resume goes on with the run's own recipe, and {} has `{differs}`",
            file.display()
        ))
        .hint(format!(
            "leave that argument out, or begin a new run from its weights: --weights {}",
            weights.display()
        )))
    }

    /// `recipe` with what the other arguments change.
    fn changed(&self, mut recipe: Recipe) -> Result<Recipe, Failure> {
        if let Some(dataset) = self.dataset.as_ref().filter(|name| **name != recipe.dataset) {
            info(dataset)?;
            recipe.take(dataset);
        }
        if self.means_own_photos(&recipe)? {
            recipe.take(OWN);
            if recipe.augment.is_identity() {
                // What photos of one's own bear without harm.
                recipe.augment.crop = Crop::Resized;
                recipe.augment.crop_area = [0.35, 1.0];
                recipe.augment.flip = 0.5;
            }
        }
        if let Some(data) = &self.data {
            recipe.data = Some(absolute_text(data)?);
        }
        match &self.weights {
            Some(weights) if weights == Path::new(PRETRAINED) => {
                recipe.weights = Some(PRETRAINED.to_owned());
            }
            Some(weights) => recipe.weights = Some(absolute_text(weights)?),
            None => {}
        }
        if let Some(epochs) = self.epochs {
            recipe.epochs = epochs;
        }
        if let Some(seed) = self.seed {
            recipe.seed = seed;
        }
        recipe.set_all(&self.set)?;
        Ok(recipe)
    }

    /// Whether --data holds no copy of the recipe's data set, but photos of the user's own, and only a model was named.
    fn means_own_photos(&self, recipe: &Recipe) -> Result<bool, Failure> {
        use kiln::data::{Error, open};

        let (Some(name), Some(data)) = (&self.recipe, &self.data) else { return Ok(false) };
        let chosen = self.dataset.is_some() || recipe.dataset == OWN || !is_model(name);
        if chosen || open(&recipe.dataset, Some(data)).is_ok() {
            return Ok(false);
        }
        let photos = info(&recipe.dataset).is_ok_and(|info| info.preprocess.channels == 3);
        match open(OWN, Some(data)) {
            Ok(_) => Ok(true),
            // What is wrong with photos is worth more than what they aren't.
            Err(error @ Error::Malformed { .. }) => Err(error.into()),
            Err(error @ Error::Folders { .. }) if photos => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// A recipe file, or a recipe that kiln carries: `MODEL-DATASET` where --dataset names one.
    fn named(&self, name: &str) -> Result<Recipe, Failure> {
        let path = Path::new(name);
        if path.is_file() && path.extension().is_some_and(|extension| extension == "toml") {
            return Ok(Recipe::from_file(&Zoo, path)?);
        }
        if let Some(dataset) = &self.dataset {
            let both = format!("{name}-{dataset}");
            if Recipe::carried(&Zoo, &both).is_some() {
                return Ok(Recipe::named(&Zoo, &both)?);
            }
        }
        if Recipe::carried(&Zoo, name).is_some() || is_model(name) {
            return Ok(Recipe::named(&Zoo, name)?);
        }
        if path.is_file() {
            return Ok(Recipe::from_file(&Zoo, path)?);
        }
        if path.is_dir() {
            let failure = Failure::usage(format!("{name} is a folder, not a recipe file"));
            return Err(if path.join(RECIPE).is_file() {
                let (recipe, run) = (argument(&path.join(RECIPE)), argument(path));
                failure.hint(format!("name {recipe}, or continue the run with --resume {run}"))
            } else {
                failure.hint("name a TOML file, or a recipe or model that kiln carries")
            });
        }
        if looks_like_a_path(name) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let names = recipes().iter().map(|(known, _)| *known);
            return Err(Failure::usage(format!("{name}: no such recipe file")).hint(
                match nearest(&stem, names) {
                    Some(known) => format!("check the path; kiln itself carries `{known}`"),
                    None => "check the path; `kiln models` lists what needs no file".to_owned(),
                },
            ));
        }
        refuse_others(name)?;
        Ok(Recipe::named(&Zoo, name)?)
    }
}

/// Whether `folder` holds nothing but what a run leaves that was killed before it wrote its recipe.
fn is_untouched(folder: &Path) -> bool {
    const LEFT: [&str; 4] = [".lock", ".recipe.toml.new", "checkpoints", "log.txt"];
    let names = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name())
    };
    names(folder).all(|name| LEFT.iter().any(|left| name == *left))
        && names(&folder.join("checkpoints")).next().is_none()
}

/// The same folder or file from any working directory, for a recipe that outlives this one.
fn absolute_text(path: &Path) -> Result<String, Failure> {
    let path = absolute(path).map_err(|error| Failure::file(path, &error))?;
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{}: the name is not UTF-8", path.display())))
}
