//! `kiln predict`: what a network sees in image files.

mod detect;
mod folder;
mod segment;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::data::decode::{EXTENSIONS, is_image_name};
use kiln::models::Zoo;
use kiln::train::{Prediction, Use};
use serde_json::{Value, json};

use crate::device::On;
use crate::errors::{Failure, Verb};
use crate::memory;
use crate::numbers::{count, parse_fraction, parse_positive, percent, plural};
use crate::output::{self, Output};
use crate::progress::bar;
use crate::table::{BOLD, FAINT};
use crate::target::Force;
use crate::verbs::detector::is_detector;
use crate::verbs::segmenter;
use crate::verbs::subject::{SMALLER, Settings, is_model, subject};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln predict runs/lenet5-mnist 7.png               The run's best checkpoint
  kiln predict runs/lenet5-mnist photos/ '*.jpg'     Folders are searched recursively
  kiln predict runs/lenet5-mnist photos/ --out seen  Also write seen/predictions.{csv,json,png}
  kiln predict lenet5 --weights lenet5.safetensors 7.png
  kiln predict lenet5 --weights mine.pt --set preprocess.mean=[0] --set preprocess.std=[1] 7.png
  kiln predict resnet50 --weights pretrained photo.jpg
  kiln predict yolo.cfg --weights yolo.weights --names coco.names street.jpg --out seen
  kiln predict yolov3 --weights yolov3.weights --names coco.names street.jpg --out seen
  kiln predict fcn-resnet50 --weights fcn.pth --names voc.names street.jpg --out seen

Images are PNG, JPEG, GIF, BMP or WebP. They are resized to the network's input and normalized as in
training; lenet5 expects white digits on black. Transparency is ignored, as torchvision does with
convert('RGB'): the colours below it count. An image that can't be read is reported, the others are
still predicted, and the exit status is 1.

--weights pretrained downloads torchvision's weights once, below $KILN_CACHE/weights or in the
user's cache folder, and prepares images as those expect. $KILN_WEIGHTS_URL names another place
to get them from.

--out: predictions.csv has a line per image and class (path, rank, class, name, score), or an error;
predictions.png shows the images, predictions-1.png, -2.png and so on where they are more than 60.
Those of an earlier call are replaced with --force only.

A detector of kiln is named, with darknet's .weights or a .safetensors of kiln's; one of darknet is
named by its .cfg. The boxes are drawn into copies of the images below --out, with detections.json,
coco.json (image_id counts the images from 1, category_id the classes) and a .txt for each image:
class, middle, width and height as parts of the image, score. Images are stretched to the network's
input, or with --letterbox keep their shape; --set preprocess.width=608 and .height change the input
of a detector of kiln's. Its JSON: {images: [{path, width, height, detections: [{class, name, score,
box}]}], errors: [{path, error}]}, the box as left, top, right and bottom in pixels.

A network for segmentation is named, with weights of kiln's or PyTorch's. Images keep their size; those of more than
a megapixel are looked at in overlapping windows. Below --out are classes/ (PNGs whose numbers are the classes,
with a palette), colours/ (with a legend), overlays/ and segmentation.json. Its JSON: {images: [{path,
width, height, classes: [{class, name, pixels}]}], errors: [{path, error}]}.

JSON: {images: [{path, predictions: [{class, name, score}]}], errors: [{path, error}]}, with error
and hint where an image could not be read";

/// Predict the classes of images
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Predict {
    /// A checkpoint, a run folder, or a model's name or a darknet .cfg with --weights
    #[arg(value_name = "CHECKPOINT|MODEL|CFG")]
    subject: String,
    /// Images, folders or patterns
    #[arg(value_name = "IMAGE|DIR|GLOB", required = true)]
    images: Vec<String>,
    /// Weights for a model: safetensors or PyTorch, or the published ones; darknet's for a .cfg
    #[arg(long, value_name = "FILE|pretrained")]
    weights: Option<PathBuf>,
    /// Show the K likeliest classes
    #[arg(long, value_name = "K", default_value = "5", value_parser = parse_positive)]
    top: usize,
    /// Leave out what the network is less sure of, from 0 to 1
    #[arg(long, value_name = "SCORE", value_parser = parse_fraction)]
    conf: Option<f64>,
    /// Detectors only: boxes that overlap more than this are one object
    #[arg(long, value_name = "IOU", value_parser = parse_fraction)]
    iou: Option<f64>,
    /// Detectors only: keep the shape of images, between grey bars, instead of stretching them
    #[arg(long)]
    letterbox: bool,
    /// Detectors and segmentation only: a file with the name of a class per line
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Also write predictions.csv, predictions.json and contact sheets here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    /// Change an option of a model, preprocess.KEY or class_order for its weights,
    /// or batch_size; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    device: On,
}

/// What came of one image.
type Seen = (PathBuf, Result<Vec<Prediction>, String>);

impl Predict {
    /// Predicts and prints.
    pub fn run(self, output: Output) -> Verb {
        if is_detector(&self.subject) {
            return detect::run(&self, output);
        }
        if segmenter::is_segmenter(&self.subject) {
            return segment::run(&self, output);
        }
        if self.weights.is_none() && is_model(&self.subject) {
            return Err(Failure::usage(format!("{} needs weights", self.subject))
                .hint("add --weights FILE, or name a run folder or a checkpoint"));
        }
        if self.iou.is_some() || self.names.is_some() || self.letterbox {
            output::note(
                "--iou, --names and --letterbox are for detectors; a classifier draws no boxes",
            );
        }
        let files = expand(&self.images)?;
        let settings = Settings::parse(&self.set)?;
        let subject = subject(&self.subject, self.weights.as_deref(), &settings, output)?;
        if let Some(folder) = &self.out {
            folder::check(folder, self.force)?;
        }
        let opened = self.device.open()?;
        let device = &opened.device;
        let mut ready = subject.load(&Zoo, device)?;
        ready.batch = settings.batch.unwrap_or(ready.batch);
        let images = ready.input(files.len());
        memory::check(&ready.state.model, &ready.network, images, Use::Infer, &opened)
            .map_err(|failure| failure.hint(SMALLER))?;
        ready.notes.iter().for_each(|note| output::note(note));

        let progress =
            if output.quiet || files.len() < 100 { None } else { Some(bar(files.len() as u64)) };
        let mut seen: Vec<Seen> = Vec::with_capacity(files.len());
        let transparent = ready.predict(&files, self.top, device, &mut |path, result| {
            let result = result.map(|predictions| self.sure(predictions));
            let result = result.map_err(|error| reason(path, Failure::from(error).message()));
            seen.push((path.to_owned(), result));
            progress.iter().for_each(|bar| bar.inc(1));
        })?;
        progress.iter().for_each(indicatif::ProgressBar::finish_and_clear);

        if transparent > 0 {
            output::note(&format!(
                "{}: transparency is ignored, and the colours below it count",
                plural(transparent as u64, "image")
            ));
        }
        let mut object = object(&seen);
        if let Some(folder) = &self.out {
            folder::write(folder, &seen, &object)?;
        }
        let failure = failure(&seen);
        if let Some(failure) = &failure {
            object["error"] = failure.message().into();
            object["hint"] = failure.remedy().into();
        }
        // A single one is the error itself.
        for (path, result) in seen.iter().filter(|_| seen.len() > 1) {
            if let Err(reason) = result {
                output::note(&format!("{}: {reason}", path.display()));
            }
        }
        output.result(&object, |to| {
            for (path, result) in &seen {
                let Ok(predictions) = result else { continue };
                let (first, rest) =
                    predictions.split_first().map_or((None, &[][..]), |(a, b)| (Some(a), b));
                let first = first.map_or("–".to_owned(), |first| {
                    format!("{BOLD}{}{BOLD:#} {}", first.name, percent(first.score))
                });
                let rest: Vec<String> = rest
                    .iter()
                    .map(|other| format!("{} {}", other.name, percent(other.score)))
                    .collect();
                write!(to, "{}: {first}", path.display())?;
                if !rest.is_empty() {
                    write!(to, "  {FAINT}{}{FAINT:#}", rest.join(" · "))?;
                }
                writeln!(to)?;
            }
            if let Some(folder) = &self.out {
                writeln!(to, "written to {}", folder.display())?;
            }
            Ok(())
        })?;
        match failure {
            // The object has said it.
            Some(_) if output.json => Ok(1),
            Some(failure) => Err(failure),
            None => Ok(0),
        }
    }

    fn sure(&self, mut predictions: Vec<Prediction>) -> Vec<Prediction> {
        predictions.retain(|prediction| prediction.score >= self.conf.unwrap_or(0.0));
        predictions
    }
}

/// What is to be said of the images that could not be read, if there are any.
fn failure(seen: &[Seen]) -> Option<Failure> {
    let failed = seen.iter().filter(|(_, result)| result.is_err()).count();
    let message = match seen {
        _ if failed == 0 => return None,
        [(path, Err(reason))] => format!("{}: {reason}", path.display()),
        _ if failed == seen.len() => {
            format!("none of {} images could be read", count(failed as u64))
        }
        _ => format!(
            "{} of {} images could not be read",
            count(failed as u64),
            count(seen.len() as u64)
        ),
    };
    Some(Failure::failed(message).hint("give it PNG, JPEG, GIF, BMP or WebP files that are whole"))
}

fn object(seen: &[Seen]) -> Value {
    let images: Vec<Value> = seen
        .iter()
        .filter_map(|(path, result)| {
            let predictions = result.as_ref().ok()?.iter();
            let predictions: Vec<Value> = predictions
                .map(|p| json!({ "class": p.class, "name": p.name, "score": p.score }))
                .collect();
            Some(json!({ "path": path.display().to_string(), "predictions": predictions }))
        })
        .collect();
    let errors: Vec<Value> = seen
        .iter()
        .filter_map(|(path, result)| {
            let error = result.as_ref().err()?;
            Some(json!({ "path": path.display().to_string(), "error": error }))
        })
        .collect();
    json!({ "images": images, "errors": errors })
}

/// What `error` says after the path, which stands beside it anyway.
fn reason(path: &Path, error: &str) -> String {
    let after = format!("{}: ", path.display());
    let line = error.lines().next().unwrap_or_default();
    line.split_once(&after).map_or(line, |(_, reason)| reason).to_owned()
}

/// The files that the arguments mean, in order and each once: folders are searched recursively,
/// patterns expanded. A name that is nothing of it stays, so that its absence is reported.
fn expand(arguments: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for argument in arguments {
        let path = Path::new(argument);
        if path.is_dir() {
            let before = files.len();
            search(path, &mut files)?;
            if files.len() == before {
                return Err(Failure::failed(format!("no images in {argument}"))
                    .hint(format!("looked for {}", EXTENSIONS.join(", "))));
            }
        } else if path.exists() || !argument.contains(['*', '?', '[']) {
            files.push(path.to_owned());
        } else {
            let before = files.len();
            let found = glob::glob(argument).map_err(|error| {
                Failure::usage(format!("`{argument}` is no pattern: {}", error.msg))
            })?;
            for path in found.flatten() {
                if path.is_dir() { search(&path, &mut files)? } else { files.push(path) }
            }
            if files.len() == before {
                return Err(Failure::failed(format!("no file matches `{argument}`")));
            }
        }
    }
    let mut known = BTreeSet::new();
    files.retain(|file| known.insert(file.clone()));
    Ok(files)
}

/// Adds the images below `folder`, sorted by path. Links to folders aren't followed: they may lead
/// back.
fn search(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::file(folder, &error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_folder = path.is_dir() && !path.is_symlink();
        if is_folder {
            search(&path, files)?;
        } else if is_image_name(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_recursively_and_files_named_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["c.PNG", "b/a.jpg", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let all = folder.path().display().to_string();
        let files = expand(&[all.clone(), format!("{all}/*.PNG")]).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|file| file.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();

        assert_eq!(names, ["b/a.jpg", "c.PNG"]);
    }

    #[test]
    fn a_file_that_is_not_there_stays_for_the_report() {
        assert_eq!(expand(&["nowhere.png".into()]).unwrap(), [Path::new("nowhere.png")]);
        assert!(expand(&["nowhere/*.png".into()]).is_err());
    }

    #[test]
    fn a_reason_does_not_repeat_the_path() {
        let path = Path::new("a.png");
        assert_eq!(reason(path, "cannot decode a.png: it is a folder"), "it is a folder");
        assert_eq!(reason(path, "no path\nin here"), "no path");
    }
}
