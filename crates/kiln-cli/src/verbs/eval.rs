//! `kiln eval`: how well a network does on a split of a data set.

mod detect;

use std::path::PathBuf;

use clap::Args;
use kiln::models::Zoo;
use kiln::train::{Subject, Use, Weights, run_of};
use serde_json::json;

use crate::device::On;
use crate::errors::Verb;
use crate::memory;
use crate::numbers::{percent, seconds};
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::table::{Side, Table};
use crate::target::Force;
use crate::verbs::data::info;
use crate::verbs::detector::is_detector;
use crate::verbs::subject::{SMALLER, Settings, subject, write_evaluation};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln eval runs/lenet5-mnist                        The run's best checkpoint
  kiln eval runs/lenet5-mnist/checkpoints/last --split train
  kiln eval runs/lenet5-mnist --data mnist/          On the complete MNIST
  kiln eval lenet5 --weights lenet5.safetensors      Somebody else's weights
  kiln eval resnet50 --weights pretrained --data imagenet/
  kiln eval lenet5 --weights mine.pt --set preprocess.mean=[0] --set preprocess.std=[1]
  kiln eval runs/photos --dataset folders --data new/  The same classes, other photos
  kiln eval yolo.cfg --weights yolo.weights --names coco.names --data street/ --out report/

Images go through the network as many at a time as in the run's training, else 32; --set batch_size=N
changes it. A file of weights doesn't say how its images were normalized: a note tells what is taken.

JSON: {model, dataset, source, split, samples, metrics: {top1, top5, loss}, seconds, run,
checkpoint, skipped, confusion, calibration_error, roc_auc, average_precision, classes}; `source` is a folder or `embedded sample`, `confusion` has a row
per true and a column per predicted class; the areas are those of two classes' confidence in the
second, and null for others; `classes` has {name, images, precision, recall, f1} of each.

A detector, named as for `kiln predict`, is measured on --data DIR, a set with boxes in the format of VOC, COCO or YOLO:
COCO's twelve figures, average precision per class, confusion with background, and in --out a report with the worst images
first. Its JSON: {model, dataset, split, samples, skipped, seconds, metrics: {ap, ap50, ap75, …}, classes: [{name, objects,
ap, ap50, right, wrong}], confusion, milliseconds, findings, report}; ap50 of a class is VOC's, over all points; a figure
without a value is null.";

/// Measure a network on a split of its data set
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Eval {
    /// A run folder, a checkpoint or a model's name
    #[arg(value_name = "RUN|CHECKPOINT|MODEL")]
    subject: String,
    /// Weights for a model: safetensors or PyTorch, or the published ones
    #[arg(long, value_name = "FILE|pretrained")]
    weights: Option<PathBuf>,
    /// Data set, if not the one that it was trained on
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder with the data set; without it a run is measured on its own data, and anything else
    /// on kiln's embedded sample
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which part of the data set: test, train or, where it has one, validation
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    #[command(flatten)]
    device: On,
    /// Look at the mirror image of each image too, and take the mean of both
    #[arg(long)]
    mirrored: bool,
    /// Detectors only: a file with the name of a class per line
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Detectors only: keep the shape of images, between grey bars, instead of stretching them
    #[arg(long)]
    letterbox: bool,
    /// Detectors only: write report.html here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    /// Change an option of a model, preprocess.KEY or class_order for its weights,
    /// or batch_size; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Eval {
    /// Measures and prints.
    pub fn run(self, output: Output) -> Verb {
        if is_detector(&self.subject) {
            return detect::run(&self, output);
        }
        if self.names.is_some() || self.letterbox || self.out.is_some() {
            output::note("--names, --letterbox and --out are for detectors");
        }
        if let Some(dataset) = &self.dataset {
            info(dataset)?;
        }
        let settings = Settings::parse(&self.set)?;
        let subject = subject(&self.subject, self.weights.as_deref(), &settings, output)?;
        if let Subject::Model { weights: Weights::Random, name, .. } = &subject {
            output::note(&format!("{name} has random weights; --weights FILE loads better ones"));
        }
        let opened = self.device.open()?;
        let mut progress = Progress::new(output, opened.words());
        let mut ready = subject.load(&Zoo, &opened.device)?;
        ready.batch = settings.batch.unwrap_or(ready.batch);
        ready.mirrored = self.mirrored;
        let splits = ready.splits(&Zoo, self.dataset.as_deref(), self.data.as_deref())?;
        if let Some(part) = splits.get(&self.split) {
            let images = ready.input(part.len().max(1));
            memory::check(&ready.state.model, &ready.network, images, Use::Infer, &opened)
                .map_err(|failure| failure.hint(SMALLER))?;
        }
        let evaluation = ready.evaluate(&splits, &self.split, &opened.device, &mut progress)?;
        drop(progress);

        let mut object = evaluation.json();
        let checkpoint = evaluation.checkpoint.as_deref();
        object["run"] = checkpoint.and_then(run_of).map(|run| run.display().to_string()).into();
        let confusion = &evaluation.confusion;
        object["confusion"] = (0..confusion.classes()).map(|class| confusion.row(class)).collect();
        let name = |class: usize| {
            evaluation.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
        };
        let row = |class: usize| {
            json!({
                "name": name(class),
                "images": confusion.support(class),
                "precision": confusion.precision(class),
                "recall": confusion.recall(class),
                "f1": confusion.f1(class),
            })
        };
        object["classes"] = (0..confusion.classes()).map(row).collect();
        object["checkpoint"] = checkpoint.map(|folder| folder.display().to_string()).into();
        output.result(&object, |to| {
            write_evaluation(&evaluation, to)?;
            if let Some(folder) = &evaluation.checkpoint {
                writeln!(to, "checkpoint  {}", folder.display())?;
            }
            writeln!(to, "measured in {} on {}", seconds(evaluation.seconds), opened.words())?;
            writeln!(to)?;
            let mut table = Table::new(&[
                ("class", Side::Left),
                ("images", Side::Right),
                ("precision", Side::Right),
                ("recall", Side::Right),
                ("F1", Side::Right),
            ]);
            for class in 0..confusion.classes() {
                table.row([
                    name(class),
                    confusion.support(class).to_string(),
                    percent(confusion.precision(class)),
                    percent(confusion.recall(class)),
                    percent(confusion.f1(class)),
                ]);
            }
            table.write(to)
        })
    }
}
