//! `kiln predict` of a detector: the objects that it sees, drawn into the images and written as data.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::data::decode;
use kiln::metrics::Detection;
use serde_json::{Value, json};

use super::{Predict, expand, reason};
use crate::errors::{Failure, Verb};
use crate::numbers::{percent, plural};
use crate::output::{self, Output};
use crate::table::{BOLD, FAINT};
use crate::verbs::detector::{Detector, Plan, Times};

/// Least score of a box, unless `--conf` says otherwise.
const SURE: f64 = 0.25;
/// Most overlap of two boxes of a class, unless `--iou` says otherwise.
const OVERLAP: f64 = 0.45;
/// What `--out` writes beside the images.
const TABLES: [&str; 2] = ["detections.json", "coco.json"];

/// What came of one image.
struct Seen {
    path: PathBuf,
    size: [usize; 2],
    found: Result<Vec<Detection>, String>,
}

/// Detects, draws, writes and prints.
pub fn run(predict: &Predict, output: Output) -> Verb {
    let Some(weights) = &predict.weights else {
        return Err(Failure::usage(format!("{} needs weights", predict.subject))
            .hint("add --weights FILE.weights"));
    };
    let files = expand(&predict.images)?;
    let plan = Plan::of(&predict.subject, &predict.set)?;
    let classes = plan.names(predict.names.as_deref())?;
    if let Some(folder) = &predict.out {
        crate::target::folder(folder)?;
        for file in TABLES.iter().map(|name| folder.join(name)) {
            if file.exists() {
                predict.force.file(&file)?;
            }
        }
    }
    let device = predict.device.open()?.device;
    let limits = [predict.conf.unwrap_or(SURE), predict.iou.unwrap_or(OVERLAP)];
    let detector = plan.load(weights, classes, predict.letterbox, limits, device)?;

    let mut times = Times::default();
    let mut seen = Vec::with_capacity(files.len());
    for path in files {
        seen.push(look(&detector, path, predict.out.as_deref(), &mut times)?);
    }
    let object = object(&detector, &seen);
    if let Some(folder) = &predict.out {
        write(folder, &seen, &object)?;
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
        write_times(&times, seen.len() - failed, to)
    })?;
    match failed {
        0 => Ok(0),
        _ if output.json => Ok(1),
        _ => Err(Failure::failed(format!("{} could not be read", plural(failed as u64, "image")))
            .hint("give it PNG, JPEG, GIF, BMP or WebP files that are whole")),
    }
}

/// Detects what is in the image at `path`, and draws it into a copy in `out`.
fn look(
    detector: &Detector,
    path: PathBuf,
    out: Option<&Path>,
    times: &mut Times,
) -> Result<Seen, Failure> {
    let start = Instant::now();
    let prepared = decode(&path).and_then(|pixels| {
        let prepared = detector.prepare(&pixels)?;
        Ok((pixels, prepared))
    });
    times.decode += start.elapsed();
    let (pixels, (numbers, place)) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let error = reason(&path, Failure::from(error).message());
            return Ok(Seen { path, size: [0, 0], found: Err(error) });
        }
    };
    let size = [pixels.width, pixels.height];
    let found = detector.detect(numbers, place, size, times);

    if let Some(folder) = out {
        let start = Instant::now();
        let image = detector.drawn(&pixels, &found);
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        let file = folder.join(picture(&path));
        image
            .save(&file)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        times.draw += start.elapsed();
    }
    Ok(Seen { path, size, found: Ok(found) })
}

fn object(detector: &Detector, seen: &[Seen]) -> Value {
    let images = seen.iter().filter_map(|one| {
        let found = one.found.as_ref().ok()?.iter().map(|d| {
            json!({
                "class": d.class,
                "name": detector.classes[d.class],
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
fn write(folder: &Path, seen: &[Seen], object: &Value) -> Result<(), Failure> {
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

/// The name of the drawn copy.
fn picture(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}.png").into()
}

fn write_times(times: &Times, images: usize, to: &mut dyn Write) -> std::io::Result<()> {
    if images == 0 {
        return Ok(());
    }
    let each = |time: Duration| 1000.0 * time.as_secs_f64() / images as f64;
    let all = times.decode + times.network + times.boxes + times.draw;
    writeln!(
        to,
        "{FAINT}{}: decode {:.1} ms, network {:.1} ms, boxes {:.1} ms, draw and write {:.1} ms; {:.1} images/s{FAINT:#}",
        plural(images as u64, "image"),
        each(times.decode),
        each(times.network),
        each(times.boxes),
        each(times.draw),
        1000.0 / each(all),
    )
}
