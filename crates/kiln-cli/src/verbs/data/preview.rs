//! `kiln data preview`: a sheet of samples as training sees them.

use std::path::{Path, PathBuf};

use clap::Args;
use image::RgbImage;
use kiln::data::Random;
use kiln::models::Zoo;
use kiln::train::{Recipe, recipes};
use kiln::viz::{Card, contact_sheet};
use serde_json::json;

use super::info;
use crate::errors::{Failure, Verb};
use crate::numbers::parse_positive;
use crate::output::{self, Output};
use crate::target::{self, Force};
use crate::verbs::thumbnail::thumbnail;

#[derive(Args, Debug)]
pub struct Preview {
    /// Data set
    name: String,
    /// Folder with the data set; without it the embedded sample is shown
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

impl Preview {
    /// Draws the sheet.
    pub fn run(self, output: Output) -> Verb {
        info(&self.name)?;
        let out =
            self.out.clone().unwrap_or_else(|| target::numbered(Path::new("preview"), ".png"));
        if out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
            return Err(Failure::usage(format!("{}: a preview is a PNG picture", out.display()))
                .hint("end the file's name with .png"));
        }
        self.force.file(&out)?;
        let (mut recipe, named) = self.recipe_to_show()?;
        for assignment in &self.set {
            recipe.set(assignment)?;
        }
        let splits = kiln::data::open(&self.name, self.data.as_deref())?;
        let part = splits.get(&self.split).ok_or_else(|| {
            Failure::usage(format!("{} has no split `{}`", splits.name, self.split))
                .hint(format!("it has {}", splits.part_names()))
        })?;
        let augment = &recipe.augment;
        augment.check()?;
        if augment.is_identity() {
            output::note("this recipe changes nothing; try --set augment.rotate=15");
        }

        let shown = self.count.min(part.len());
        let mut random = Random::new(&[recipe.seed]);
        let mut cards = Vec::with_capacity(shown);
        for number in 0..shown {
            // Spread over the split, so that sorted data sets show all their classes.
            let index = number * part.len() / shown;
            let caption = splits.classes.get(part.label(index)).cloned().unwrap_or_default();
            // One that can't be read is shown as such: finding those is what a preview is for.
            let card = match part.sample(index) {
                Ok(sample) => {
                    let pixels = augment.apply(&sample.pixels, &mut random);
                    Card::new(thumbnail(&pixels), caption)
                }
                Err(error) => {
                    output::note(&error.to_string());
                    Card { note: "unreadable".into(), ..Card::new(RgbImage::new(1, 1), caption) }
                }
            };
            cards.push(card);
        }
        let title = format!("{} {}", splits.name, self.split);
        contact_sheet(&title, &cards).save(&out)?;

        let object = json!({
            "name": splits.name,
            "recipe": named,
            "split": self.split,
            "count": shown,
            "augment": recipe.json()["augment"],
            "file": out.display().to_string(),
        });
        output.result(&object, |to| {
            let who = named.map_or(String::new(), |recipe| format!(" as {recipe} shows them"));
            let (name, source, file) = (&splits.name, &splits.source, out.display());
            writeln!(to, "{shown} samples of {name} ({source}){who}: {file}")
        })
    }

    /// The recipe asked for, else one of the data set's, preferably one that augments, and its name. Where no recipe
    /// trains on the set, one that changes nothing and has no name.
    fn recipe_to_show(&self) -> Result<(Recipe, Option<String>), Failure> {
        if let Some(name) = &self.recipe {
            let path = Path::new(name);
            let is_file = path.is_file() && path.extension().is_some_and(|kind| kind == "toml");
            let recipe =
                if is_file { Recipe::from_file(&Zoo, path)? } else { Recipe::named(&Zoo, name)? };
            return Ok((recipe, Some(name.clone())));
        }
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
            None => Ok((Recipe::defaults(&Zoo, "lenet5")?, None)),
        }
    }
}
