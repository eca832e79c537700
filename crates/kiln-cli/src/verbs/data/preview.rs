//! `kiln data preview`: a sheet of samples as training sees them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use image::RgbImage;
use kiln::data::{Batch, Loader, LoaderConfig, Policy, Subset};
use kiln::models::Zoo;
use kiln::train::{Recipe, recipes};
use kiln::viz::{Card, contact_sheet};
use serde_json::json;

use super::{info, scenes};
use crate::errors::{Failure, Verb};
use crate::numbers::parse_positive;
use crate::output::{self, Output};
use crate::target::{self, Force};
use crate::verbs::thumbnail::thumbnail;

#[derive(Args, Debug)]
pub struct Preview {
    /// Data set, or a recipe, whose data set is shown as it trains with it
    #[arg(value_name = "NAME|RECIPE")]
    name: String,
    /// Folder with the data set; without it the recipe's, or the embedded sample
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Recipe whose augmentation is shown [default: the data set's, one that augments if any]
    #[arg(long, value_name = "RECIPE|MODEL")]
    recipe: Option<String>,
    /// Change a value of the recipe, such as augment.rotate=15; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    set: Vec<String>,
    /// Which part of the data set: train, test or, where it has one, validation
    #[arg(long, value_name = "NAME", default_value = "train")]
    split: String,
    /// Samples on the sheet
    #[arg(long, value_name = "N", default_value = "40", value_parser = parse_positive)]
    count: usize,
    /// The file to write [default: preview.png, numbered if it exists]
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// What is on a sheet.
struct Shown {
    /// The data set's name, and where it was read from.
    name: String,
    source: String,
    cards: Vec<Card>,
    /// How many samples they show.
    count: usize,
}

impl Preview {
    /// Draws the sheet.
    pub fn run(self, output: Output) -> Verb {
        let (mut recipe, named) = self.recipe_to_show()?;
        let out =
            self.out.clone().unwrap_or_else(|| target::numbered(Path::new("preview"), ".png"));
        if out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
            return Err(Failure::usage(format!("{}: a preview is a PNG picture", out.display()))
                .hint("end the file's name with .png"));
        }
        self.force.file(&out)?;
        for assignment in &self.set {
            recipe.set(assignment)?;
        }
        recipe.augment.check()?;
        if recipe.augment.is_identity() {
            output::note("this recipe changes nothing; try --set augment.rotate=15");
        }
        let shown = match info(&recipe.dataset)?.has_scenes() {
            true => self.scenes(&recipe)?,
            false => self.images(&recipe)?,
        };
        let Shown { name, source, cards, count } = shown;
        let title = format!("{name} {}", self.split);
        contact_sheet(&title, &cards).save(&out)?;

        let object = json!({
            "name": name,
            "recipe": named,
            "split": self.split,
            "count": count,
            "augment": recipe.json()["augment"],
            "file": out.display().to_string(),
        });
        output.result(&object, |to| {
            let who = named.map_or(String::new(), |recipe| format!(" as {recipe} shows them"));
            let file = out.display();
            writeln!(to, "{count} samples of {name} ({source}){who}: {file}")
        })
    }

    /// Images, changed and prepared as the recipe does.
    fn images(&self, recipe: &Recipe) -> Result<Shown, Failure> {
        let own = recipe.data.as_ref().map(Path::new);
        let splits = kiln::data::open(&recipe.dataset, self.data.as_deref().or(own))?;
        let part = splits
            .get(&self.split)
            .ok_or_else(|| self.no_split(&splits.name, &splits.part_names()))?;
        let augment = recipe.augment;

        let shown = self.count.min(part.len());
        // Spread over the split, so that sorted data sets show all their classes.
        let indices = (0..shown).map(|number| number * part.len() / shown).collect();
        let part = Arc::new(Subset::new(Arc::clone(part), indices)?);
        let config = LoaderConfig {
            batch: shown.max(1),
            workers: 0,
            seed: recipe.seed,
            policy: Policy::Skip,
            classes: splits.classes.len(),
            ..LoaderConfig::default()
        };
        let loader = Loader::new(part, config, recipe.preprocess.clone(), Some(augment))?;
        let mut cards = Vec::with_capacity(shown);
        for batch in loader.epoch(0, 0) {
            let batch = batch?;
            let images = batch.images.chunks_exact(recipe.preprocess.len());
            for (number, image) in images.enumerate() {
                let pixels = recipe.preprocess.pixels(image);
                cards.push(Card::new(thumbnail(&pixels), caption(&batch, number, &splits.classes)));
            }
            // Those that can't be read are shown as such: finding them is what a preview is for.
            for skipped in &batch.skipped {
                output::note(&skipped.reason);
                let name = Path::new(&skipped.name).file_name().unwrap_or_default();
                let card = Card::new(RgbImage::new(1, 1), name.display().to_string());
                cards.push(Card { note: "unreadable".into(), ..card });
            }
        }
        Ok(Shown { name: splits.name, source: splits.source, cards, count: shown })
    }

    /// Scenes, changed as the recipe does.
    fn scenes(&self, recipe: &Recipe) -> Result<Shown, Failure> {
        let splits = kiln::data::open_scenes(&recipe.dataset)?;
        let parts: Vec<&str> = splits.parts().map(|(name, _)| name).collect();
        let part = splits
            .get(&self.split)
            .ok_or_else(|| self.no_split(&splits.name, &parts.join(", ")))?;
        let count = self.count.min(part.len());
        let cards = scenes::cards(&splits, &**part, Some(recipe), count)?;
        Ok(Shown { name: splits.name, source: splits.source, cards, count })
    }

    fn no_split(&self, name: &str, parts: &str) -> Failure {
        Failure::usage(format!("{name} has no split `{}`", self.split))
            .hint(format!("it has {parts}"))
    }

    /// The recipe asked for, else one of the data set's, preferably one that augments, and its name. Where no recipe
    /// trains on the set, one that changes nothing and has no name.
    fn recipe_to_show(&self) -> Result<(Recipe, Option<String>), Failure> {
        let known = kiln::data::list().iter().any(|info| info.name == self.name);
        if let Some(name) = &self.recipe {
            info(&self.name)?;
            let mut recipe = read(name)?;
            if recipe.dataset != self.name {
                recipe.take(&self.name);
            }
            return Ok((recipe, Some(name.clone())));
        }
        let names_a_recipe = Recipe::carried(&Zoo, &self.name).is_some() || is_recipe(&self.name);
        if !known && names_a_recipe {
            return Ok((read(&self.name)?, Some(self.name.clone())));
        }
        info(&self.name)?;
        let mut fitting: Vec<(Recipe, String)> = recipes()
            .iter()
            .filter_map(|(name, text)| {
                Some((Recipe::parse(&Zoo, name, text).ok()?, (*name).to_owned()))
            })
            .filter(|(recipe, _)| recipe.dataset == self.name)
            .collect();
        fitting.sort_by_key(|(recipe, _)| recipe.augment.is_identity());
        match fitting.into_iter().next() {
            Some((recipe, name)) => Ok((recipe, Some(name))),
            None => {
                let photos = info(&self.name)?.preprocess.channels == 3;
                let model = if photos { "resnet18" } else { "lenet5" };
                let mut recipe = Recipe::defaults(&Zoo, model)?;
                recipe.take(&self.name);
                Ok((recipe, None))
            }
        }
    }
}

/// Whether `name` is a file with a recipe.
fn is_recipe(name: &str) -> bool {
    let path = Path::new(name);
    path.is_file() && path.extension().is_some_and(|kind| kind == "toml")
}

/// The recipe in the file `name`, or the one that kiln carries under it.
fn read(name: &str) -> Result<Recipe, Failure> {
    Ok(match is_recipe(name) {
        true => Recipe::from_file(&Zoo, Path::new(name))?,
        false => Recipe::named(&Zoo, name)?,
    })
}

/// The class of a sample, or the shares of those it is blended of: `dress 70 %, hat 30 %`.
fn caption(batch: &Batch, sample: usize, classes: &[String]) -> String {
    let name = |class: usize| classes.get(class).map_or("", String::as_str);
    let Some(targets) = &batch.targets else { return name(batch.labels[sample]).to_owned() };
    let row = &targets.values[sample * targets.classes..][..targets.classes];
    let mut shares: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
    shares.retain(|(_, share)| *share >= 0.005);
    shares.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let words = shares.iter().map(|&(class, share)| match share >= 0.995 {
        true => name(class).to_owned(),
        false => format!("{} {:.0} %", name(class), share * 100.0),
    });
    words.collect::<Vec<_>>().join(", ")
}
