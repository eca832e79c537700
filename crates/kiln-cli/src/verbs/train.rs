//! `kiln train`: a recipe in, a run folder out.

mod choose;
mod plan;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use kiln::metrics::Spread;
use kiln::models::Zoo;
use kiln::train::{Evaluation, Job, Outcome, Recipe, Stopped, train};
use serde_json::{Value, json};

use crate::device::{On, Opened};
use crate::errors::{Failure, Verb};
use crate::numbers::{parse_positive, percent, seconds};
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::table::BOLD;
use crate::verbs::subject::write_evaluation;
use crate::{interrupt, memory};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln train lenet5                                  The digits that kiln carries
  kiln train lenet5 --data mnist/ --out runs/full    The complete MNIST, in its IDX files
  kiln train lenet5 --epochs 5 --set optimizer.learning_rate=0.02
  kiln train my-recipe.toml --seeds 3                Mean and spread over three seeds
  kiln train --resume runs/lenet5-mnist              Go on where a run was stopped
  kiln train lenet5 --dry-run                        What would it do?
  kiln train my-recipe.toml --dataset folders --data photos/   Photos in a folder per class

Ctrl-C stops after the current step and writes a checkpoint (exit status 130).

JSON: {model, dataset, source, split, samples, metrics: {top1, top5, loss}, seconds, run, checkpoint,
stopped, skipped}; `stopped` is finished, early or interrupted, and an interrupted run has no
metrics. With --seeds, metrics are means, `spread` holds their standard deviations, and `runs`
holds each seed's own object; `seconds` is the sum.
--dry-run: {model, dataset, parameters, input, samples: {train, validation, test}, epochs,
steps_per_epoch, learning_rates, stages: [{first, last, learning, frozen}], parameter_bytes,
activation_bytes, recipe}; a stage has its epochs, the numbers that learn and the frozen groups";

/// Train a network, measure it, and write a report
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Train {
    /// A recipe file, or the name of a recipe or model that kiln carries
    #[arg(value_name = "RECIPE|MODEL", required_unless_present = "resume")]
    recipe: Option<String>,
    /// Weights to start from: safetensors or PyTorch, kiln's names or torchvision's, or the published ones
    #[arg(long, value_name = "FILE|pretrained")]
    weights: Option<PathBuf>,
    /// Data set, if not the recipe's
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder with the data set; without it kiln's embedded sample is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    device: On,
    /// Passes over the training data
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    epochs: Option<usize>,
    /// Change any value of the recipe; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    set: Vec<String>,
    /// Train K times, with this seed and the next ones, and report mean and spread
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    seeds: Option<u16>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// The run folder [default: runs/RECIPE, numbered if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Train {
    /// Trains, or says what training would do.
    pub fn run(self, output: Output) -> Verb {
        let opened = self.device.open()?;
        if self.dry_run {
            let out = self.resume.clone().or(self.out.clone()).unwrap_or_default();
            let recipe = self.recipe_for(self.resume.as_deref())?;
            let job = Job::new(recipe, out, opened.device.clone());
            memory::check_job(&job, &opened)?;
            return plan::show(&kiln::train::plan(&Zoo, &job)?, &opened.words(), output);
        }

        interrupt::listen();
        match self.seeds {
            None => self.once(&opened, output),
            Some(seeds) => self.repeatedly(seeds, &opened, output),
        }
    }

    fn once(&self, opened: &Opened, output: Output) -> Verb {
        let (out, resume) = self.folder()?;
        let job = self.job(&out, resume, &opened.device, 0)?;
        let outcome = go(&job, opened, output)?;
        if outcome.stopped == Stopped::Interrupted {
            output::note(&format!("stopped; go on with: kiln train --resume {}", out.display()));
        }

        output.result(&object(&job.recipe, &outcome), |to| match &outcome.evaluation {
            None => Ok(()),
            Some(evaluation) => {
                write_evaluation(evaluation, to)?;
                writeln!(
                    to,
                    "trained in {}{}",
                    seconds(outcome.seconds),
                    match outcome.stopped {
                        Stopped::Early => ", stopped early",
                        _ => "",
                    }
                )?;
                writeln!(to, "report      {}", outcome.run.join("report.html").display())?;
                writeln!(to, "checkpoint  {}", outcome.checkpoint.display())
            }
        })?;
        Ok(status(outcome.stopped))
    }

    fn repeatedly(&self, seeds: u16, opened: &Opened, output: Output) -> Verb {
        let (out, resume) = self.folder()?;
        let base = self.recipe_for(None)?.seed;
        let mut results: Vec<(Recipe, Outcome)> = Vec::new();
        for number in 0..seeds {
            let folder = out.join(format!("seed-{}", base.wrapping_add(number.into())));
            let job = self.job(&folder, resume, &opened.device, number.into())?;
            output.line(&format!(
                "{BOLD}seed {} ({} of {seeds}){BOLD:#}",
                job.recipe.seed,
                number + 1
            ));
            let outcome = go(&job, opened, output)?;
            let stopped = outcome.stopped;
            if let Some(evaluation) = &outcome.evaluation {
                output.line(&format!("top-1 {}\n", percent(evaluation.top1)));
            }
            results.push((job.recipe, outcome));
            if stopped == Stopped::Interrupted {
                output::note(&format!(
                    "stopped; go on with the same command and --resume {}",
                    out.display()
                ));
                break;
            }
        }

        let spread = |of: fn(&Evaluation) -> f64| {
            let values: Vec<f64> = results
                .iter()
                .filter_map(|(_, outcome)| outcome.evaluation.as_ref().map(of))
                .collect();
            Spread::of(&values)
        };
        let (top1, top5, loss) = (spread(|e| e.top1), spread(|e| e.top5), spread(|e| e.loss));
        let Some(((recipe, first), (_, last))) = results.first().zip(results.last()) else {
            return Ok(0);
        };
        let mut object = object(recipe, first);
        object["stopped"] = word(last.stopped).into();
        let measured = results.iter().filter(|(_, outcome)| outcome.evaluation.is_some()).count();
        if measured > 0 {
            object["metrics"] = json!({ "top1": top1.mean, "top5": top5.mean, "loss": loss.mean });
            object["spread"] = json!({ "top1": top1.std, "top5": top5.std, "loss": loss.std });
        }
        object["seconds"] = results.iter().map(|(_, outcome)| outcome.seconds).sum::<f64>().into();
        object["run"] = out.display().to_string().into();
        object["runs"] =
            results.iter().map(|(recipe, outcome)| self::object(recipe, outcome)).collect();
        object["seeds"] = results.iter().map(|(recipe, _)| recipe.seed).collect();

        output.result(&object, |to| {
            if measured == 0 {
                return writeln!(to, "no seed was finished; runs  {}", out.display());
            }
            writeln!(to, "{BOLD}mean of {measured} seeds ± standard deviation{BOLD:#}")?;
            writeln!(to, "top-1  {} ± {}", percent(top1.mean), percent(top1.std))?;
            writeln!(to, "top-5  {} ± {}", percent(top5.mean), percent(top5.std))?;
            writeln!(to, "loss   {:.4} ± {:.4}", loss.mean, loss.std)?;
            writeln!(to, "runs   {}", out.display())
        })?;
        Ok(status(last.stopped))
    }
}

/// Trains. A run that fails before its first step leaves no folder behind, so that the mended
/// command can use the same one.
fn go(job: &Job, opened: &Opened, output: Output) -> Result<Outcome, Failure> {
    memory::check_job(job, opened)?;
    let fresh = !job.out.exists();
    let mut progress = Progress::new(output, opened.words());
    let result = train(&Zoo, job, &mut progress);
    if result.is_err() && fresh && !progress.has_started() {
        // What went wrong is told below; a folder that stays is no second failure.
        let _ = fs::remove_dir_all(&job.out);
    }
    Ok(result?)
}

fn status(stopped: Stopped) -> u8 {
    if stopped == Stopped::Interrupted { interrupt::STATUS } else { 0 }
}

fn object(recipe: &Recipe, outcome: &Outcome) -> Value {
    let mut object = match &outcome.evaluation {
        Some(evaluation) => evaluation.json(),
        None => json!({
            "model": recipe.model,
            "dataset": recipe.dataset,
            "source": null,
            "split": null,
            "samples": 0,
            "metrics": null,
        }),
    };
    object["seconds"] = outcome.seconds.into();
    object["run"] = outcome.run.display().to_string().into();
    object["checkpoint"] = outcome.checkpoint.display().to_string().into();
    object["stopped"] = word(outcome.stopped).into();
    object
}

fn word(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Finished => "finished",
        Stopped::Early => "early",
        Stopped::Interrupted => "interrupted",
    }
}
