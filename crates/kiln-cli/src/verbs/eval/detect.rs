//! `kiln eval` of a detector: its boxes against those of a set, as COCO and Pascal VOC measure them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln::data::boxes::{BoxImage, BoxSet, MarkedBox};
use kiln::data::decode;
use kiln::metrics::{
    BoundingBox, CocoConfig, Confusion, Detection, Detections, Points, Truth, Voc, VocConfig,
};
use kiln::viz::{Card, Chart, Metric, Report, confusion};
use serde_json::{Value, json};

use super::Eval;
use crate::errors::{Failure, Verb};
use crate::numbers::{count, percent, plural, seconds};
use crate::output::{self, Output};
use crate::progress::bar;
use crate::table::{BOLD, Side, Table};
use crate::target;
use crate::verbs::detector::{Detector, Plan, Times};

/// Least score of a box that is measured at all; average precision looks at unsure ones too.
const LEAST: f64 = 0.001;
/// Most overlap of two boxes of a class.
const OVERLAP: f64 = 0.45;
/// Least score of a box that would be drawn: what counts as a mistake of an image, and in the confusion matrix.
const SURE: f64 = 0.25;
/// Least overlap of a box that is right.
const RIGHT: f64 = 0.5;
/// Images that the report shows.
const SHOWN: usize = 24;

/// What was measured, and what for the report is kept of each image.
#[derive(Default)]
struct Measured {
    all: Detections,
    images: Vec<Seen>,
    skipped: usize,
    times: Times,
    seconds: f64,
}

/// An image with what was found in it.
struct Seen {
    file: PathBuf,
    name: String,
    missed: u64,
    made_up: u64,
    found: Vec<Detection>,
}

/// Measures, prints, and writes the report.
pub fn run(eval: &Eval, output: Output) -> Verb {
    let needs = |what: &str, hint: &str| {
        Err(Failure::usage(format!("{} needs {what}", eval.subject)).hint(hint))
    };
    let Some(weights) = &eval.weights else {
        return needs("weights", "add --weights FILE.weights");
    };
    let Some(data) = &eval.data else {
        return needs(
            "images with boxes",
            "add --data DIR: a set of VOC's, COCO's or YOLO's format",
        );
    };
    if eval.mirrored || eval.dataset.is_some() {
        output::note("--mirrored and --dataset are for classifiers");
    }
    let plan = Plan::of(&eval.subject, &eval.set)?;
    let classes = plan.names(eval.names.as_deref())?;
    let report = eval.out.as_ref().map(|folder| folder.join("report.html"));
    if let Some(file) = &report {
        target::folder(file.parent().unwrap_or(Path::new(".")))?;
        if file.exists() {
            eval.force.file(file)?;
        }
    }
    let mut set = BoxSet::open(data)?;
    let parts: Vec<String> = set.parts.iter().map(|part| part.name.clone()).collect();
    let Some(at) = parts.iter().position(|part| *part == eval.split) else {
        return Err(Failure::usage(format!("{} has no split `{}`", data.display(), eval.split))
            .hint(format!("--split names one of: {}", parts.join(", "))));
    };
    let number = numbers(&set.classes, &classes, eval.names.is_some())?;
    let images = set.parts.swap_remove(at).images;

    let opened = eval.device.open()?;
    let limits = [LEAST, OVERLAP];
    let detector = plan.load(weights, classes, eval.letterbox, limits, opened.device.clone())?;
    let measured = measure(&detector, images, &number, output)?;
    let coco = measured.all.coco(CocoConfig::default());
    let voc = measured.all.voc(VocConfig { iou: RIGHT, points: Points::All, whole_pixels: false });
    let confused = measured.all.confusion(SURE, RIGHT);
    let figures = coco.figures();

    let names = [
        "ap",
        "ap50",
        "ap75",
        "ap_small",
        "ap_medium",
        "ap_large",
        "ar1",
        "ar10",
        "ar100",
        "ar_small",
        "ar_medium",
        "ar_large",
    ];
    let metrics: serde_json::Map<String, Value> =
        names.iter().map(|&name| name.to_owned()).zip(figures.map(Value::from)).collect();
    let rows: Vec<Value> = detector
        .classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let one = &voc.classes[class];
            json!({
                "name": name,
                "objects": one.objects,
                "ap": coco.class_ap(class),
                "ap50": one.ap,
                "right": one.right,
                "wrong": one.wrong,
            })
        })
        .collect();
    let each = |time: std::time::Duration| {
        1000.0 * time.as_secs_f64() / measured.images.len().max(1) as f64
    };
    let times = json!({
        "decode": each(measured.times.decode),
        "network": each(measured.times.network),
        "boxes": each(measured.times.boxes),
    });
    let object = json!({
        "model": eval.subject,
        "dataset": data.display().to_string(),
        "split": eval.split,
        "samples": measured.images.len(),
        "skipped": measured.skipped,
        "seconds": measured.seconds,
        "metrics": metrics,
        "classes": rows,
        "confusion": (0..confused.classes()).map(|row| confused.row(row).to_vec()).collect::<Vec<_>>(),
        "milliseconds": times,
        "findings": set.findings,
        "report": report.as_ref().map(|file| file.display().to_string()),
    });
    if let Some(file) = &report {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        let title = format!("{} on {}", eval.subject, data.display());
        let page = page(&title, &detector, &measured, &figures, &voc, &confused)?;
        page.save(file).map_err(|error| Failure::failed(error.to_string()))?;
    }
    output.result(&object, |to| {
        writeln!(
            to,
            "{BOLD}{} on {} ({}, {}){BOLD:#}",
            eval.subject,
            data.display(),
            eval.split,
            plural(measured.images.len() as u64, "image")
        )?;
        for (name, figure) in [
            ("AP@[.5:.95]", figures[0]),
            ("AP50", figures[1]),
            ("AP75", figures[2]),
            ("AR100", figures[8]),
        ] {
            writeln!(to, "{name:<12}{}", shown(figure))?;
        }
        if measured.skipped > 0 {
            writeln!(to, "left out    {}", plural(measured.skipped as u64, "unreadable image"))?;
        }
        writeln!(
            to,
            "measured in {} on {}: decode {:.1} ms, network {:.1} ms, boxes {:.1} ms an image\n",
            seconds(measured.seconds),
            opened.words(),
            each(measured.times.decode),
            each(measured.times.network),
            each(measured.times.boxes)
        )?;
        let mut table = Table::new(&[
            ("class", Side::Left),
            ("objects", Side::Right),
            ("AP", Side::Right),
            ("AP50", Side::Right),
        ]);
        for (class, one) in voc.classes.iter().enumerate() {
            table.row([
                detector.classes[class].clone(),
                count(one.objects as u64),
                shown(coco.class_ap(class)),
                shown(one.ap),
            ]);
        }
        table.write(to)?;
        match &report {
            Some(file) => writeln!(to, "\nreport      {}", file.display()),
            None => Ok(()),
        }
    })?;
    Ok(0)
}

/// A figure, or that it has no value.
fn shown(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), percent)
}

/// The network's number of each class of the set: by name, or by place where the network has no names.
fn numbers(set: &[String], network: &[String], named: bool) -> Result<Vec<usize>, Failure> {
    if !named {
        if set.len() <= network.len() {
            if set.len() < network.len() {
                output::note(
                    "without --names the classes of the set are taken for the network's first ones",
                );
            }
            return Ok((0..set.len()).collect());
        }
        return Err(Failure::usage(format!(
            "the set has {} classes, and the network {}",
            set.len(),
            network.len()
        )));
    }
    let find = |name: &String| {
        network.iter().position(|other| other.to_lowercase() == name.to_lowercase()).ok_or_else(
            || {
                Failure::usage(format!("the network has no class `{name}`")).hint(
                    "--names has the network's names, and those of the set must be among them",
                )
            },
        )
    };
    set.iter().map(find).collect()
}

fn measure(
    detector: &Detector,
    images: Vec<BoxImage>,
    number: &[usize],
    output: Output,
) -> Result<Measured, Failure> {
    let start = Instant::now();
    let bar =
        if output.quiet { indicatif::ProgressBar::hidden() } else { bar(images.len() as u64) };
    let mut measured =
        Measured { all: Detections::new(detector.classes.len()), ..Measured::default() };
    for BoxImage { file, name, boxes, .. } in images {
        bar.inc(1);
        let begun = Instant::now();
        let prepared = decode(&file).and_then(|pixels| {
            let prepared = detector.prepare(&pixels)?;
            Ok((prepared, [pixels.width, pixels.height]))
        });
        measured.times.decode += begun.elapsed();
        let ((numbers, place), size) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                output::note(&error.to_string());
                measured.skipped += 1;
                continue;
            }
        };
        let found = detector.detect(numbers, place, size, &mut measured.times);
        let truths: Vec<Truth> = boxes.iter().map(|one| truth(one, number)).collect();
        let mut alone = Detections::new(detector.classes.len());
        alone.record(truths.clone(), found.clone());
        let (missed, made_up) = mistakes(&alone.confusion(SURE, RIGHT));
        measured.all.record(truths, found.clone());
        let found = found.into_iter().filter(|one| one.score >= SURE).collect();
        measured.images.push(Seen { file, name, missed, made_up, found });
    }
    bar.finish_and_clear();
    measured.seconds = start.elapsed().as_secs_f64();
    Ok(measured)
}

fn truth(one: &MarkedBox, number: &[usize]) -> Truth {
    let bounds = BoundingBox::from_corners(one.corners);
    Truth { ignored: one.difficult, crowd: one.crowd, ..Truth::new(number[one.class], bounds) }
}

/// Objects that were not found as what they are, and boxes that are of no object or of another class.
fn mistakes(confusion: &Confusion) -> (u64, u64) {
    let background = confusion.classes() - 1;
    let (mut missed, mut made_up) = (0, 0);
    for truth in 0..=background {
        for taken in 0..=background {
            if truth != taken {
                let times = confusion.count(truth, taken);
                missed += if truth == background { 0 } else { times };
                made_up += if taken == background { 0 } else { times };
            }
        }
    }
    (missed, made_up)
}

fn page(
    title: &str,
    detector: &Detector,
    measured: &Measured,
    figures: &[Option<f64>; 12],
    voc: &Voc,
    confused: &Confusion,
) -> Result<Report, Failure> {
    let figure = |at: usize, name: &str, note: &str| Metric::new(shown(figures[at]), name, note);
    let images = count(measured.images.len() as u64);
    let mut report = Report::new(title).lead(format!("{images} images.")).metrics(&[
        figure(0, "AP@[.5:.95]", "COCO's first figure"),
        figure(1, "AP50", "boxes right from an overlap of .5"),
        figure(2, "AP75", "from .75"),
        figure(8, "AR100", "found of all objects, up to 100 boxes an image"),
    ]);

    let mut worst: Vec<&Seen> = measured.images.iter().collect();
    worst.sort_by_key(|seen| std::cmp::Reverse(seen.missed + seen.made_up));
    let cards = worst.iter().take(SHOWN).filter_map(|seen| {
        let pixels = decode(&seen.file).ok()?;
        let image = detector.drawn(&pixels, &seen.found);
        let wrong = seen.missed + seen.made_up;
        Some(Card {
            image,
            caption: format!("{} missed, {} made up", seen.missed, seen.made_up),
            note: seen.name.clone(),
            right: Some(wrong == 0),
        })
    });
    report = report.section("The worst images").text(
        "Boxes of a score from .25 on, against the objects at an overlap of .5. An object taken for another class is missed, \
         and its box made up.",
    );
    report =
        report.gallery(&cards.collect::<Vec<_>>(), "The images with most mistakes come first.");

    let mut chart = Chart::new("Precision over recall").x("recall").y("precision");
    for (class, one) in voc.classes.iter().enumerate().filter(|(_, one)| one.objects > 0).take(8) {
        let points = one.curve.iter().map(|point| (point.recall, point.precision));
        chart = chart.series(detector.classes[class].as_str(), points);
    }
    let rows: Vec<Vec<String>> = voc
        .classes
        .iter()
        .enumerate()
        .filter(|(_, one)| one.objects > 0 || one.wrong > 0)
        .map(|(class, one)| {
            let name = detector.classes[class].clone();
            vec![
                name,
                count(one.objects as u64),
                shown(one.ap),
                count(one.right as u64),
                count(one.wrong as u64),
            ]
        })
        .collect();
    report = report
        .section("Classes")
        .picture(
            &chart.picture(560, 360),
            "Precision falls as more objects are found.",
            "From the surest box on, at an overlap of .5; the first eight classes that images show.",
        )
        .table(&["class", "objects", "AP50", "right boxes", "wrong boxes"], &rows, "Each class at an overlap of .5, boxes of every score.");

    // Only classes that images show, or that were seen: eighty names fit on no page.
    let background = confused.classes() - 1;
    let used: Vec<usize> = (0..background)
        .filter(|&class| {
            let seen = |other| confused.count(class, other) + confused.count(other, class) > 0;
            (0..=background).any(seen)
        })
        .chain([background])
        .collect();
    let names: Vec<String> = used
        .iter()
        .map(|&class| detector.classes.get(class).cloned().unwrap_or("background".to_owned()))
        .collect();
    let counts: Vec<u64> = used
        .iter()
        .flat_map(|&row| used.iter().map(move |&column| (row, column)))
        .map(|(row, column)| confused.count(row, column))
        .collect();
    let picture = confusion(&counts, &names).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(report.section("Confusion").picture(
        &picture,
        "Which class was taken for which.",
        "Boxes of a score from .25 on. What is taken for background was missed, and background taken for a class made up.",
    ))
}
