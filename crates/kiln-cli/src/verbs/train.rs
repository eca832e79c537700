//! `kiln train`: a recipe in, a run folder out.

mod choose;
mod plan;
mod seeds;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use kiln::models::Zoo;
use kiln::train::{Job, LARGEST_SEED, MOST_EPOCHS, Outcome, Recipe, Stopped, train};
use serde_json::{Value, json};

use crate::device::{On, Opened};
use crate::errors::{Failure, Verb};
use crate::numbers::{parse_within, seconds};
use crate::output::{self, Output, argument};
use crate::progress::Progress;
use crate::verbs::subject::write_evaluation;
use crate::{interrupt, memory};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln train lenet5                                  The digits that kiln carries
  kiln train lenet5 --data mnist/ --out runs/full    The complete MNIST, in its IDX files
  kiln train lenet5 --epochs 5 --set optimizer.learning_rate=0.02
  kiln train my-recipe.toml --seeds 3                Mean and spread over three seeds
  kiln train --resume runs/lenet5-mnist              Go on where a run was stopped
  kiln train --resume runs/my-recipe --seeds 3       Go on where several were stopped
  kiln train lenet5 --dry-run                        What would it do?
  kiln train resnet18 --data photos/                 Your photos: a folder per class, or one and a CSV

Ctrl-C stops after the current step and writes a checkpoint (exit status 130).

JSON: {model, dataset, source, split, samples, metrics: {top1, top5, loss}, seconds, run, checkpoint,
stopped, skipped}; `stopped` is finished, early or interrupted, and an interrupted run has no
metrics. With --seeds, metrics are means, `spread` holds their standard deviations, and `runs`
holds each seed's own object; `seconds` is the sum. The same object stands in summary.json, and a
line per seed in summary.csv, in the folder that holds the runs.
--dry-run: {run, seeds, model, dataset, parameters, input, samples: {train, validation, test}, epochs,
steps_per_epoch, learning_rates, curve, shapes, stages: [{first, last, learning, frozen}],
parameter_bytes, activation_bytes, recipe}; a stage has its epochs, the numbers that learn and the
frozen groups; `curve` has the learning rate at steps evenly over the run, `shapes` the layers";

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
    /// Folder with the data set, or with your own photos; without it kiln's embedded sample is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    device: On,
    /// Passes over the training data, 1 to 1000000
    #[arg(long, value_name = "N", value_parser = parse_epochs)]
    epochs: Option<usize>,
    /// Change any value of the recipe; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    set: Vec<String>,
    /// Train K times (1 to 1000), with this seed and the next ones, and report mean and spread
    #[arg(long, value_name = "K", value_parser = parse_seeds)]
    seeds: Option<u64>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// The run folder [default: runs/RECIPE, numbered if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of everything random, 0 to 9223372036854775807
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    seed: Option<u64>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Train {
    /// Trains, or says what training would do.
    pub fn run(self, output: Output) -> Verb {
        let opened = self.device.open()?;
        self.remark_on_defaults();
        if self.dry_run {
            let (out, resume) = self.folder()?;
            if !resume && self.seeds.is_none() && out.join("recipe.toml").exists() {
                return Err(kiln::train::Error::RunExists(out).into());
            }
            let recipe = self.planned()?;
            let insisted = self.insisted();
            let job = Job { insisted, ..Job::new(recipe, out, opened.device.clone()) };
            memory::check_job(&job, &opened)?;
            let plan = kiln::train::plan(&Zoo, &job)?;
            return plan::show(&plan, &job.out, self.seeds, &opened.words(), output);
        }

        interrupt::listen();
        match self.seeds {
            None => self.once(&opened, output),
            Some(seeds) => self.repeatedly(seeds, &opened, output),
        }
    }

    fn once(&self, opened: &Opened, output: Output) -> Verb {
        let (out, resume) = self.folder()?;
        let job = self.job(&out, resume, &opened.device, None)?;
        let outcome = go(&job, opened, output)?;
        if outcome.stopped == Stopped::Interrupted {
            let out = argument(&out);
            output::note(&format!("stopped; go on with: kiln train --resume {out}"));
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
}

/// More seeds than this are a slip of the finger.
const MOST_SEEDS: u64 = 1000;

fn parse_epochs(text: &str) -> Result<usize, String> {
    parse_within(text, 1..=MOST_EPOCHS as u64).map(|epochs| epochs as usize)
}

fn parse_seeds(text: &str) -> Result<u64, String> {
    parse_within(text, 1..=MOST_SEEDS)
}

fn parse_seed(text: &str) -> Result<u64, String> {
    parse_within(text, 0..=LARGEST_SEED)
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
