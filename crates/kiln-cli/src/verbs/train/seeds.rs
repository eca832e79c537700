//! `kiln train --seeds`: the same recipe with several seeds, and what they have in common.

use std::fmt::Write as _;
use std::path::Path;

use kiln::metrics::Spread;
use kiln::train::{Evaluation, LARGEST_SEED, Outcome, Recipe, Stopped};
use serde_json::{Value, json};

use super::{Train, go, object, status, word};
use crate::device::Opened;
use crate::errors::{Failure, Verb};
use crate::numbers::percent;
use crate::output::{self, Output, argument};
use crate::table::{BOLD, Side, Table};

/// The files beside the runs.
const SUMMARY: &str = "summary.json";
const LINES: &str = "summary.csv";

/// The runs so far, each with its recipe.
struct Runs<'a> {
    out: &'a Path,
    done: Vec<(Recipe, Outcome)>,
}

impl Train {
    pub(super) fn repeatedly(&self, seeds: u64, opened: &Opened, output: Output) -> Verb {
        let (out, resume) = self.folder()?;
        let base = self.base(&out)?;
        if base.seed > LARGEST_SEED - (seeds - 1) {
            return Err(Failure::usage(format!("--seeds: seed {} has no {seeds} next", base.seed))
                .hint(format!(
                    "the largest seed is {LARGEST_SEED}; name a smaller one with --seed"
                )));
        }
        let mut runs = Runs { out: &out, done: Vec::new() };
        for number in 0..seeds {
            let recipe = Recipe { seed: base.seed + number, ..base.clone() };
            let folder = out.join(format!("seed-{}", recipe.seed));
            let job = self.job(&folder, resume, &opened.device, Some(&recipe))?;
            let (seed, which) = (recipe.seed, number + 1);
            output.line(&format!("{BOLD}seed {seed} ({which} of {seeds}){BOLD:#}"));
            let outcome = go(&job, opened, output)?;
            if let Some(evaluation) = &outcome.evaluation {
                output.line(&format!("top-1 {}\n", percent(evaluation.top1)));
            }
            let interrupted = outcome.stopped == Stopped::Interrupted;
            runs.done.push((job.recipe, outcome));
            runs.write()?;
            if interrupted {
                let out = argument(&out);
                output::note(&format!(
                    "stopped; go on with: kiln train --resume {out} --seeds {seeds}"
                ));
                break;
            }
        }

        output.result(&runs.object(), |to| runs.table(to))?;
        Ok(runs.done.last().map_or(0, |(_, outcome)| status(outcome.stopped)))
    }
}

impl Runs<'_> {
    fn measured(&self) -> impl Iterator<Item = (&Recipe, &Evaluation)> {
        self.done.iter().filter_map(|(recipe, it)| Some((recipe, it.evaluation.as_ref()?)))
    }

    fn spread(&self, of: fn(&Evaluation) -> f64) -> Spread {
        Spread::of(&self.measured().map(|(_, evaluation)| of(evaluation)).collect::<Vec<_>>())
    }

    fn spreads(&self) -> [Spread; 3] {
        [self.spread(|it| it.top1), self.spread(|it| it.top5), self.spread(|it| it.loss)]
    }

    fn object(&self) -> Value {
        let Some(((recipe, first), (_, last))) = self.done.first().zip(self.done.last()) else {
            return json!({});
        };
        let mut object = object(recipe, first);
        object["stopped"] = word(last.stopped).into();
        if self.measured().next().is_some() {
            let [top1, top5, loss] = self.spreads();
            object["metrics"] = json!({ "top1": top1.mean, "top5": top5.mean, "loss": loss.mean });
            object["spread"] = json!({ "top1": top1.std, "top5": top5.std, "loss": loss.std });
        }
        let seconds: f64 = self.done.iter().map(|(_, outcome)| outcome.seconds).sum();
        object["seconds"] = seconds.into();
        object["run"] = self.out.display().to_string().into();
        object["runs"] = self.done.iter().map(|(recipe, it)| super::object(recipe, it)).collect();
        object["seeds"] = self.done.iter().map(|(recipe, _)| recipe.seed).collect();
        object
    }

    /// Writes the summary beside the runs, after each of them.
    fn write(&self) -> Result<(), Failure> {
        let mut lines = String::from("seed,top1,top5,loss,seconds,stopped\n");
        for (recipe, outcome) in &self.done {
            let metrics = outcome.evaluation.as_ref().map_or(",,".to_owned(), |it| {
                format!("{:.6},{:.6},{:.6}", it.top1, it.top5, it.loss)
            });
            let (seed, seconds, stopped) = (recipe.seed, outcome.seconds, word(outcome.stopped));
            writeln!(lines, "{seed},{metrics},{seconds:.2},{stopped}").expect("a string grows");
        }
        for (name, text) in [(LINES, lines), (SUMMARY, format!("{:#}\n", self.object()))] {
            kiln::train::write_atomically(&self.out.join(name), text.as_bytes())?;
        }
        Ok(())
    }

    fn table(&self, to: &mut dyn std::io::Write) -> std::io::Result<()> {
        let measured = self.measured().count();
        if measured == 0 {
            return writeln!(to, "no seed was finished; runs  {}", self.out.display());
        }
        let heads = ["seed", "top-1", "top-5", "loss"].map(|head| (head, Side::Right));
        let mut table = Table::new(&heads);
        for (recipe, it) in self.measured() {
            let loss = format!("{:.4}", it.loss);
            table.row([recipe.seed.to_string(), percent(it.top1), percent(it.top5), loss]);
        }
        table.write(to)?;
        let [top1, top5, loss] = self.spreads();
        writeln!(to, "\n{BOLD}mean of {measured} seeds ± standard deviation{BOLD:#}")?;
        writeln!(to, "top-1    {} ± {}", percent(top1.mean), percent(top1.std))?;
        writeln!(to, "top-5    {} ± {}", percent(top5.mean), percent(top5.std))?;
        writeln!(to, "loss     {:.4} ± {:.4}", loss.mean, loss.std)?;
        writeln!(to, "summary  {}", self.out.join(LINES).display())?;
        writeln!(to, "runs     {}", self.out.display())
    }
}
