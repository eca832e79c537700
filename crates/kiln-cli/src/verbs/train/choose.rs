//! From the arguments of `kiln train` to a recipe and a run folder.

use std::path::{Path, PathBuf, absolute};

use kiln::burn::tensor::Device;
use kiln::models::Zoo;
use kiln::train::{Job, PRETRAINED, Recipe, recipes};

use super::Train;
use crate::errors::Failure;
use crate::output;
use crate::verbs::data::info;

impl Train {
    /// The run folder, and whether it is to be continued.
    pub(super) fn folder(&self) -> Result<(PathBuf, bool), Failure> {
        if let Some(run) = &self.resume {
            return Ok((run.clone(), true));
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
        let free = (1..).map(|number| match number {
            1 => Path::new("runs").join(&name),
            _ => Path::new("runs").join(format!("{name}-{number}")),
        });
        Ok((free.into_iter().find(|folder| !folder.exists()).unwrap_or_default(), false))
    }

    /// The job for `folder`; its seed is the recipe's plus `number`.
    pub(super) fn job(
        &self,
        folder: &Path,
        resume: bool,
        device: &Device,
        number: u64,
    ) -> Result<Job, Failure> {
        let begun = resume && folder.join("recipe.toml").is_file();
        if resume && !begun {
            // Killed before it wrote its recipe: the command line still knows what to do.
            if self.recipe.is_none() {
                return Ok(Job::resume(&Zoo, folder, device.clone())?);
            }
            output::note(&format!(
                "{} holds no run yet; training starts from the beginning",
                folder.display()
            ));
        }
        let mut recipe = self.recipe_for(begun.then_some(folder))?;
        if !begun {
            recipe.seed = recipe.seed.wrapping_add(number);
        }
        Ok(Job { resume: begun, ..Job::new(recipe, folder, device.clone()) })
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
        let file = folder.join("recipe.toml");
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
            recipe.dataset.clone_from(dataset);
            recipe.data = None;
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

    /// A recipe file, or a recipe that kiln carries: `MODEL-DATASET` where --dataset names one.
    fn named(&self, name: &str) -> Result<Recipe, Failure> {
        let path = Path::new(name);
        if path.is_file() && path.extension().is_some_and(|extension| extension == "toml") {
            return Ok(Recipe::from_file(&Zoo, path)?);
        }
        if let Some(dataset) = &self.dataset {
            let both = format!("{name}-{dataset}");
            if recipes().iter().any(|(known, _)| *known == both) {
                return Ok(Recipe::named(&Zoo, &both)?);
            }
        }
        Ok(Recipe::named(&Zoo, name)?)
    }
}

/// The same folder or file from any working directory, for a recipe that outlives this one.
fn absolute_text(path: &Path) -> Result<String, Failure> {
    let path = absolute(path).map_err(|error| Failure::file(path, &error))?;
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{}: the name is not UTF-8", path.display())))
}
