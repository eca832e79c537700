//! `kiln compare`: runs side by side.

use std::path::{Path, PathBuf};

use clap::Args;
use kiln::metrics::Spread;
use kiln::models::Zoo;
use kiln::train::{Compared, Variant, compare, picture, write_atomically};
use serde_json::{Value, json};

use crate::errors::{Failure, Verb};
use crate::numbers::{percent, seconds};
use crate::output::Output;
use crate::table::{Side, Table};
use crate::target::{self, Force};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln compare runs/lenet5-mnist runs/lenet5-mnist-plain
  kiln compare runs/with-mixup runs/without        Folders that train --seeds has filled
  kiln compare runs/* --out curves.png

Runs whose recipes differ in nothing but their seeds are one row and one line: their mean, and ± their
standard deviation. Without --out the picture takes a free name, comparison.png first.

JSON: {variants: [{name, model, dataset, runs: [{run, seed, epochs, validation_top1, test_top1, test_loss,
seconds}], validation_top1, test_top1, test_loss, seconds}], picture}; a variant's own numbers are
{mean, std} over its runs, and null where no run has them.";

/// Compare runs: one table, one picture, mean and spread over seeds
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Compare {
    /// Run folders, or folders of runs
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Where to write the picture
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// A number of a run, and what it is called.
type Number = (&'static str, fn(&Compared) -> Option<f64>);

const NUMBERS: [Number; 4] = [
    ("validation_top1", Compared::validation_top1),
    ("test_top1", |it| it.test.map(|[top1, _]| top1)),
    ("test_loss", |it| it.test.map(|[_, loss]| loss)),
    ("seconds", |it| Some(it.seconds())),
];

impl Compare {
    /// Reads the runs, prints the table, draws the picture.
    pub fn run(self, output: Output) -> Verb {
        let out = self.out.unwrap_or_else(|| target::numbered(Path::new("comparison"), ".png"));
        if out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
            return Err(Failure::usage(format!("{}: the picture is a PNG", out.display()))
                .hint("end the file's name with .png"));
        }
        self.force.file(&out)?;
        let variants = compare(&Zoo, &self.runs)?;
        write_atomically(&out, &kiln::viz::png(&picture(&variants)))?;

        let object = json!({
            "variants": variants.iter().map(variant).collect::<Vec<_>>(),
            "picture": out.display().to_string(),
        });
        output.result(&object, |to| {
            let mut table = Table::new(&[
                ("run", Side::Left),
                ("model", Side::Left),
                ("data", Side::Left),
                ("seeds", Side::Right),
                ("epochs", Side::Right),
                ("validation top-1", Side::Right),
                ("test top-1", Side::Right),
                ("test loss", Side::Right),
                ("time", Side::Right),
            ]);
            for it in &variants {
                let epochs: Vec<usize> = it.runs.iter().map(|run| run.history.len()).collect();
                let (least, most) = (epochs.iter().min(), epochs.iter().max());
                let epochs = match least.zip(most) {
                    Some((least, most)) if least != most => format!("{least}–{most}"),
                    _ => epochs.first().map_or(String::new(), usize::to_string),
                };
                let [validation, test, loss, time] = NUMBERS.map(|(_, of)| it.spread(of));
                let rate = |spread| shown(spread, percent);
                table.row([
                    it.name.clone(),
                    it.recipe.model.clone(),
                    it.recipe.dataset.clone(),
                    it.runs.len().to_string(),
                    epochs,
                    rate(validation),
                    rate(test),
                    shown(loss, |loss| format!("{loss:.4}")),
                    time.map_or(String::new(), |time| seconds(time.mean)),
                ]);
            }
            table.write(to)?;
            writeln!(to, "picture  {}", out.display())
        })
    }
}

/// A mean, and ± where it is one of several.
fn shown(spread: Option<Spread>, number: impl Fn(f64) -> String) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { mean, std }) if std > 0.0 => format!("{} ± {}", number(mean), number(std)),
        Some(Spread { mean, .. }) => number(mean),
    }
}

fn variant(it: &Variant) -> Value {
    let mut object = json!({
        "name": it.name,
        "model": it.recipe.model,
        "dataset": it.recipe.dataset,
        "runs": it.runs.iter().map(run).collect::<Vec<_>>(),
    });
    for (name, of) in NUMBERS {
        object[name] = it
            .spread(of)
            .map_or(Value::Null, |spread| json!({ "mean": spread.mean, "std": spread.std }));
    }
    object
}

fn run(it: &Compared) -> Value {
    let mut object = json!({
        "run": it.run.display().to_string(),
        "seed": it.seed,
        "epochs": it.history.len(),
    });
    for (name, of) in NUMBERS {
        object[name] = of(it).into();
    }
    object
}
