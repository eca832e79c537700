//! `kiln predict` of a network that gives every pixel a class: masks, colours with a legend, and photos with both.

use std::fs;
use std::path::{Path, PathBuf};

use kiln::burn::tensor::{Device, Tensor, TensorData};
use kiln::data::{Pixels, Preprocess, decode};
use kiln::models::{AnySegmenter, Options, Segmenters, Windows};
use kiln::viz::{Classes, png};
use serde_json::{Value, json};

use super::{Predict, expand, reason};
use crate::errors::{Failure, Verb};
use crate::memory;
use crate::numbers::{percent, plural};
use crate::output::{self, Output};
use crate::table::{BOLD, FAINT};
use crate::verbs::segmenter;
use crate::verbs::subject::{Settings, class_names};

/// What is written of each image below --out.
const FOLDERS: [&str; 3] = ["classes", "colours", "overlays"];
/// The table beside them.
const TABLE: &str = "segmentation.json";
/// How dense the colours lie over a photo.
const OPACITY: f32 = 0.5;
/// Images of more pixels are looked at in windows.
const WHOLE: usize = 1 << 20;

/// What came of one image.
struct Seen {
    path: PathBuf,
    size: [usize; 2],
    found: Result<Vec<u8>, String>,
}

/// A network and how its images are prepared.
struct Ready {
    network: AnySegmenter,
    preprocess: Preprocess,
    classes: Vec<String>,
}

/// Predicts, writes and prints.
pub fn run(predict: &Predict, output: Output) -> Verb {
    let name = &predict.subject;
    let Some(weights) = &predict.weights else {
        return Err(Failure::usage(format!("{name} needs weights")).hint("add --weights FILE"));
    };
    let files = expand(&predict.images)?;
    let settings = Settings::parse(&predict.set)?;
    let options = segmenter::changed(name, &settings.options)?;
    let wanted = number(&options, "num_classes");
    let classes = class_names(predict.names.as_deref(), wanted)?;
    if wanted > 256 {
        return Err(Failure::usage(format!(
            "{wanted} classes are more than a mask has numbers for"
        ))
        .hint("256 are possible"));
    }
    if let Some(folder) = &predict.out {
        check(predict, folder, &files)?;
    }
    let channels = number(&options, "in_channels");
    let preprocess = settings.over(&usual(name, channels))?;
    if preprocess.channels != channels {
        return Err(Failure::usage(format!(
            "{name} takes images of {}, not of {}",
            plural(channels as u64, "channel"),
            preprocess.channels
        ))
        .hint(format!("add --set in_channels={}", preprocess.channels)));
    }

    let opened = predict.device.open()?;
    let network = Segmenters.build(name, &options, &opened.device)?;
    let windows = Windows::new();
    let side = windows.middle + 2 * windows.margin;
    memory::check_segmenter(name, &network, [1, channels, side, side], &opened)?;
    let keys = Segmenters.keys(name, &options)?;
    let (network, _) = segmenter::load(network, weights, keys)?;
    let ready = Ready { network, preprocess, classes };

    let mut seen = Vec::with_capacity(files.len());
    for path in files {
        let one = ready.look(path, predict.out.as_deref(), &opened.device)?;
        if let Err(error) = &one.found {
            output::note(&format!("{}: {error}", one.path.display()));
        }
        seen.push(one);
    }
    let object = ready.object(&seen);
    if let Some(folder) = &predict.out {
        let text = format!("{object:#}\n");
        kiln::train::write_atomically(&folder.join(TABLE), text.as_bytes())?;
    }
    let failed = seen.iter().filter(|one| one.found.is_err()).count();
    output.result(&object, |to| {
        for one in &seen {
            let Ok(found) = &one.found else { continue };
            let words: Vec<String> = ready
                .counted(found)
                .into_iter()
                .take(predict.top)
                .map(|(class, pixels)| {
                    let share = pixels as f64 / found.len().max(1) as f64;
                    format!("{BOLD}{}{BOLD:#} {}", ready.classes[class], percent(share))
                })
                .collect();
            writeln!(to, "{}: {}", one.path.display(), words.join(" · "))?;
        }
        if let Some(folder) = &predict.out {
            writeln!(to, "{FAINT}written to {}{FAINT:#}", folder.display())?;
        }
        Ok(())
    })?;
    match failed {
        0 => Ok(0),
        _ if output.json => Ok(1),
        _ => Err(Failure::failed(format!("{} could not be read", plural(failed as u64, "image")))
            .hint("give it PNG, JPEG, GIF, BMP or WebP files that are whole")),
    }
}

fn number(options: &Options, key: &str) -> usize {
    options.get(key).and_then(Value::as_u64).unwrap_or(0) as usize
}

/// How images are prepared, unless somebody says otherwise: as torchvision's weights expect where the network is
/// torchvision's, as they are elsewhere. The sides are the image's own.
fn usual(name: &str, channels: usize) -> Preprocess {
    let plain = Preprocess::plain(channels, 1, 1);
    if name.starts_with("fcn-resnet") && channels == 3 {
        let (mean, std) = (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]);
        return Preprocess { mean, std, ..plain };
    }
    plain
}

/// Refuses a folder that can't be written, files of an earlier call without --force, and images whose pictures would have
/// one name.
fn check(predict: &Predict, folder: &Path, files: &[PathBuf]) -> Result<(), Failure> {
    crate::target::folder(folder)?;
    let mut names = std::collections::BTreeSet::new();
    for file in files {
        if !names.insert(picture(file)) {
            return Err(Failure::usage(format!(
                "two images would both become {}",
                picture(file).display()
            ))
            .hint("give them names of their own, or call once for each folder"));
        }
    }
    let pictures = FOLDERS.iter().flat_map(|kind| names.iter().map(move |name| (kind, name)));
    let mut targets: Vec<PathBuf> =
        pictures.map(|(kind, name)| folder.join(kind).join(name)).collect();
    targets.push(folder.join(TABLE));
    targets.iter().filter(|file| file.exists()).try_for_each(|file| predict.force.file(file))
}

/// The name of what is written of an image.
fn picture(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}.png").into()
}

impl Ready {
    /// Predicts the classes of the image at `path`, and writes what can be seen of them below `out`.
    fn look(&self, path: PathBuf, out: Option<&Path>, device: &Device) -> Result<Seen, Failure> {
        let prepared = decode(&path).and_then(|pixels| {
            let (height, width) = (pixels.height, pixels.width);
            let preprocess = Preprocess { height, width, ..self.preprocess.clone() };
            Ok((preprocess.apply(&pixels)?, pixels))
        });
        let (numbers, pixels) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let error = reason(&path, Failure::from(error).message());
                return Ok(Seen { path, size: [0, 0], found: Err(error) });
            }
        };
        let size = [pixels.width, pixels.height];
        let found = match self.classes(numbers, size, device) {
            Ok(found) => found,
            Err(error) => {
                return Ok(Seen { path, size, found: Err(error.message().to_owned()) });
            }
        };
        if let Some(folder) = out {
            self.write(folder, &picture(&path), &pixels, &found)?;
        }
        Ok(Seen { path, size, found: Ok(found) })
    }

    /// The likeliest class of each pixel.
    fn classes(
        &self,
        numbers: Vec<f32>,
        [width, height]: [usize; 2],
        device: &Device,
    ) -> Result<Vec<u8>, Failure> {
        let data = TensorData::new(numbers, [1, self.preprocess.channels, height, width]);
        let image = Tensor::<4>::from_data(data, device);
        let whole = width * height <= WHOLE;
        let windows = match whole {
            // One window, whose middle is all there is.
            true => Windows::new().with_middle(width.max(height).next_multiple_of(32)),
            false => Windows::new(),
        };
        let mut classes = vec![0; width * height];
        windows.scores(&self.network, &image, |part, scores| {
            let best: Vec<u8> = scores.argmax(1).into_data().iter::<u8>().collect();
            for (row, best) in part.rows.zip(best.chunks_exact(part.columns.len())) {
                classes[row * width..][part.columns.clone()].copy_from_slice(best);
            }
        })?;
        Ok(classes)
    }

    fn write(
        &self,
        folder: &Path,
        name: &Path,
        photo: &Pixels,
        found: &[u8],
    ) -> Result<(), Failure> {
        let width = photo.width as u32;
        let classes = Classes { width, pixels: found, names: &self.classes };
        let over = classes.over(&photo.to_rgb(), OPACITY);
        let files = [classes.numbers()?, png(&classes.with_legend()), png(&over)];
        for (kind, bytes) in FOLDERS.iter().zip(files) {
            let folder = folder.join(kind);
            fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
            kiln::train::write_atomically(&folder.join(name), &bytes)?;
        }
        Ok(())
    }

    /// The classes that are there with their pixels, the largest first.
    fn counted(&self, found: &[u8]) -> Vec<(usize, u64)> {
        let mut counts = vec![0_u64; self.classes.len()];
        found.iter().for_each(|&class| counts[usize::from(class)] += 1);
        let mut counted: Vec<_> = counts.into_iter().enumerate().filter(|(_, n)| *n > 0).collect();
        counted.sort_by_key(|&(class, pixels)| (std::cmp::Reverse(pixels), class));
        counted
    }

    fn object(&self, seen: &[Seen]) -> Value {
        let images = seen.iter().filter_map(|one| {
            let found = one.found.as_ref().ok()?;
            let classes = self.counted(found).into_iter().map(|(class, pixels)| {
                json!({ "class": class, "name": self.classes[class], "pixels": pixels })
            });
            Some(json!({
                "path": one.path.display().to_string(),
                "width": one.size[0],
                "height": one.size[1],
                "classes": classes.collect::<Vec<_>>(),
            }))
        });
        let errors = seen.iter().filter_map(|one| {
            let error = one.found.as_ref().err()?;
            Some(json!({ "path": one.path.display().to_string(), "error": error }))
        });
        json!({ "images": images.collect::<Vec<_>>(), "errors": errors.collect::<Vec<_>>() })
    }
}
