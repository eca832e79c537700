//! `kiln predict NETWORK.cfg`: the objects that a darknet detector sees, drawn into the images and written as data.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::burn::tensor::{Device, Tensor, TensorData};
use kiln::data::{Pixels, Preprocess, decode};
use kiln::metrics::{BoundingBox, Detection, suppress_grouped};
use kiln::models::darknet_cfg::{CfgNetwork, DarknetCfg};
use kiln::models::weights::darknet;
use kiln::viz::{Labelled, draw_boxes};
use serde_json::{Value, json};

use super::{Predict, expand, reason};
use crate::errors::{Failure, Verb};
use crate::numbers::{percent, plural};
use crate::output::{self, Output};
use crate::table::{BOLD, FAINT};

/// Least score of a box, unless `--conf` says otherwise.
const SURE: f64 = 0.25;
/// Most overlap of two boxes of a class, unless `--iou` says otherwise.
const OVERLAP: f64 = 0.45;
/// What `--out` writes beside the images.
const TABLES: [&str; 2] = ["detections.json", "coco.json"];

/// Whether the first argument names a network of darknet.
pub fn is_cfg(subject: &str) -> bool {
    Path::new(subject).extension().is_some_and(|ending| ending == "cfg")
}

/// What came of one image.
struct Seen {
    path: PathBuf,
    size: [usize; 2],
    found: Result<Vec<Detection>, String>,
}

/// Time that each stage took, over all images.
#[derive(Default)]
struct Times {
    decode: Duration,
    network: Duration,
    boxes: Duration,
    draw: Duration,
}

/// A detector and how its images are prepared.
struct Detector {
    network: CfgNetwork,
    preprocess: Preprocess,
    classes: Vec<String>,
    sure: f32,
    overlap: f32,
}

/// Detects, draws, writes and prints.
pub fn run(predict: &Predict, output: Output) -> Verb {
    let Some(weights) = &predict.weights else {
        return Err(Failure::usage(format!("{} needs weights", predict.subject))
            .hint("add --weights FILE.weights"));
    };
    let files = expand(&predict.images)?;
    let cfg = DarknetCfg::open(Path::new(&predict.subject))?;
    if cfg.heads().is_empty() {
        return Err(Failure::failed(format!("{} has no [yolo] or [region]", predict.subject))
            .hint("kiln predict takes detectors in darknet's format, no classifiers"));
    }
    let classes = names(predict, cfg.heads()[0].classes)?;
    if let Some(folder) = &predict.out {
        crate::target::folder(folder)?;
        for file in TABLES.iter().map(|name| folder.join(name)) {
            if file.exists() {
                predict.force.file(&file)?;
            }
        }
    }
    let device = predict.device.open()?.device;
    let (network, read) = darknet::load(cfg.init(&device), weights)?;
    if read.layers < read.of {
        return Err(Failure::failed(format!(
            "{} ends after {} of the {} layers that have weights",
            weights.display(),
            read.layers,
            read.of
        ))
        .hint("it is the backbone alone; name the file of the whole network"));
    }
    let [channels, height, width] = cfg.input();
    let detector = Detector {
        network,
        preprocess: Preprocess::plain(channels, height, width),
        classes,
        sure: predict.conf.unwrap_or(SURE) as f32,
        overlap: predict.iou.unwrap_or(OVERLAP) as f32,
    };

    let mut times = Times::default();
    let mut seen = Vec::with_capacity(files.len());
    for path in files {
        seen.push(detector.look(path, predict.out.as_deref(), &device, &mut times)?);
    }
    let object = detector.object(&seen);
    if let Some(folder) = &predict.out {
        detector.write(folder, &seen, &object)?;
    }
    let failed = seen.iter().filter(|one| one.found.is_err()).count();
    for one in &seen {
        if let Err(error) = &one.found {
            output::note(&format!("{}: {error}", one.path.display()));
        }
    }
    output.result(&object, |to| {
        for one in &seen {
            let Ok(found) = &one.found else { continue };
            let words: Vec<String> = found
                .iter()
                .map(|d| {
                    format!("{BOLD}{}{BOLD:#} {}", detector.classes[d.class], percent(d.score))
                })
                .collect();
            let words = if words.is_empty() { "–".to_owned() } else { words.join(" · ") };
            writeln!(to, "{}: {words}", one.path.display())?;
        }
        if let Some(folder) = &predict.out {
            writeln!(to, "written to {}", folder.display())?;
        }
        times.write(seen.len() - failed, to)
    })?;
    match failed {
        0 => Ok(0),
        _ if output.json => Ok(1),
        _ => Err(Failure::failed(format!("{} could not be read", plural(failed as u64, "image")))
            .hint("give it PNG, JPEG, GIF, BMP or WebP files that are whole")),
    }
}

/// The names of the classes: a line each of the file that `--names` gives, else numbers.
pub fn names(predict: &Predict, classes: usize) -> Result<Vec<String>, Failure> {
    let Some(file) = &predict.names else {
        return Ok((0..classes).map(|class| format!("class {class}")).collect());
    };
    let text = fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() == classes {
        return Ok(names);
    }
    let (file, found) = (file.display(), names.len());
    Err(Failure::usage(format!("{file} names {found} classes, and the network has {classes}"))
        .hint("a line per class, in the network's order"))
}

impl Detector {
    /// Detects what is in the image at `path`, and draws it into a copy in `out`.
    fn look(
        &self,
        path: PathBuf,
        out: Option<&Path>,
        device: &Device,
        times: &mut Times,
    ) -> Result<Seen, Failure> {
        let start = Instant::now();
        let prepared = decode(&path).and_then(|pixels| {
            let numbers = self.preprocess.apply(&pixels)?;
            Ok((pixels, numbers))
        });
        times.decode += start.elapsed();
        let (pixels, numbers) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let error = reason(&path, Failure::from(error).message());
                return Ok(Seen { path, size: [0, 0], found: Err(error) });
            }
        };

        let start = Instant::now();
        let Preprocess { channels, height, width, .. } = self.preprocess;
        let data = TensorData::new(numbers, [1, channels, height, width]);
        let maps = self.network.forward(Tensor::<4>::from_data(data, device));
        times.network += start.elapsed();

        let start = Instant::now();
        let size = [pixels.width, pixels.height];
        let heads = self.network.heads().iter().zip(maps);
        let found: Vec<Detection> = heads
            .flat_map(|(head, map)| head.candidates(map, self.sure).remove(0))
            .map(|one| {
                let [w, h] = size.map(|side| side as f64);
                let [left, top, right, bottom] = one.bounds.map(f64::from);
                let bounds = BoundingBox {
                    left: left * w,
                    top: top * h,
                    right: right * w,
                    bottom: bottom * h,
                };
                Detection {
                    class: one.class,
                    score: f64::from(one.score),
                    bounds: bounds.clipped(w, h),
                }
            })
            .collect();
        let boxes: Vec<BoundingBox> = found.iter().map(|one| one.bounds).collect();
        let scores: Vec<f32> = found.iter().map(|one| one.score as f32).collect();
        let classes: Vec<usize> = found.iter().map(|one| one.class).collect();
        let kept = suppress_grouped(&boxes, &scores, &classes, self.overlap);
        let found: Vec<Detection> = kept.into_iter().map(|at| found[at]).collect();
        times.boxes += start.elapsed();

        if let Some(folder) = out {
            let start = Instant::now();
            self.draw(&pixels, &found, &folder.join(picture(&path)))?;
            times.draw += start.elapsed();
        }
        Ok(Seen { path, size, found: Ok(found) })
    }

    fn draw(&self, pixels: &Pixels, found: &[Detection], file: &Path) -> Result<(), Failure> {
        let mut image = pixels.to_rgb();
        // The surest is drawn last and lies on top.
        let labelled: Vec<Labelled> = found
            .iter()
            .rev()
            .map(|one| Labelled {
                bounds: one.bounds.to_corners(),
                class: one.class,
                label: format!("{} {:.0} %", self.classes[one.class], 100.0 * one.score),
            })
            .collect();
        draw_boxes(&mut image, &labelled);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        }
        image.save(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
    }

    fn object(&self, seen: &[Seen]) -> Value {
        let images = seen.iter().filter_map(|one| {
            let found = one.found.as_ref().ok()?.iter().map(|d| {
                json!({
                    "class": d.class,
                    "name": self.classes[d.class],
                    "score": d.score,
                    "box": d.bounds.to_corners(),
                })
            });
            Some(json!({
                "path": one.path.display().to_string(),
                "width": one.size[0],
                "height": one.size[1],
                "detections": found.collect::<Vec<_>>(),
            }))
        });
        let errors = seen.iter().filter_map(|one| {
            let error = one.found.as_ref().err()?;
            Some(json!({ "path": one.path.display().to_string(), "error": error }))
        });
        json!({ "images": images.collect::<Vec<_>>(), "errors": errors.collect::<Vec<_>>() })
    }

    /// The tables, and a text file per image as YOLO's trainers read them.
    fn write(&self, folder: &Path, seen: &[Seen], object: &Value) -> Result<(), Failure> {
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        let coco: Vec<Value> = (1..)
            .zip(seen)
            .flat_map(|(image, one)| {
                let found = one.found.iter().flatten();
                found.map(move |d| {
                    json!({
                        "image_id": image,
                        "category_id": d.class + 1,
                        "bbox": d.bounds.to_origin(),
                        "score": d.score,
                    })
                })
            })
            .collect();
        let texts = [format!("{object:#}\n"), format!("{}\n", Value::from(coco))];
        for (name, text) in TABLES.iter().zip(texts) {
            kiln::train::write_atomically(&folder.join(name), text.as_bytes())?;
        }
        for one in seen {
            let Ok(found) = &one.found else { continue };
            let [width, height] = one.size.map(|side| side as f64);
            let lines: String = found
                .iter()
                .map(|d| {
                    let [x, y, w, h] = d.bounds.to_centre();
                    let [x, y, w, h] = [x / width, y / height, w / width, h / height];
                    format!("{} {x:.6} {y:.6} {w:.6} {h:.6} {:.6}\n", d.class, d.score)
                })
                .collect();
            let file = folder.join(picture(&one.path)).with_extension("txt");
            kiln::train::write_atomically(&file, lines.as_bytes())?;
        }
        Ok(())
    }
}

/// The name of the drawn copy.
fn picture(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}.png").into()
}

impl Times {
    fn write(&self, images: usize, to: &mut dyn Write) -> std::io::Result<()> {
        if images == 0 {
            return Ok(());
        }
        let each = |time: Duration| 1000.0 * time.as_secs_f64() / images as f64;
        let all = self.decode + self.network + self.boxes + self.draw;
        writeln!(
            to,
            "{FAINT}{}: decode {:.1} ms, network {:.1} ms, boxes {:.1} ms, draw and write {:.1} ms; {:.1} images/s{FAINT:#}",
            plural(images as u64, "image"),
            each(self.decode),
            each(self.network),
            each(self.boxes),
            each(self.draw),
            1000.0 / each(all),
        )
    }
}
