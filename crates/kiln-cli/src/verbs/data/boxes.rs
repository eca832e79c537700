//! `kiln data check` and `kiln data convert` of sets with boxes.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use kiln::data::boxes::{BoxFormat, BoxSet, Findings};
use serde_json::{Value, json};

use super::check::NAMED;
use crate::errors::{Failure, Verb};
use crate::numbers::count;
use crate::output::{self, Output};
use crate::progress::bar;
use crate::table::{BOLD, FAINT, Side, Table};
use crate::target::{self, Force};

/// A format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Pascal VOC: an XML file per image
    Voc,
    /// COCO: a JSON file per part
    Coco,
    /// YOLO: a text file per image, and data.yaml
    Yolo,
}

impl From<Format> for BoxFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Voc => Self::Voc,
            Format::Coco => Self::Coco,
            Format::Yolo => Self::Yolo,
        }
    }
}

/// Whether `name` is a place with boxes and no data set that kiln knows.
pub fn is_place(name: &str) -> bool {
    kiln::data::info(name).is_err() && Path::new(name).exists()
}

/// Reads the set at `path` and says what is in it and what was wrong.
pub fn check(path: &Path, output: Output) -> Verb {
    let set = BoxSet::open(path)?;
    let clean = found(&set) == 0;
    let splits = set.parts.iter().map(|part| {
        let boxes: usize = part.images.iter().map(|image| image.boxes.len()).sum();
        json!({ "name": part.name, "images": part.images.len(), "boxes": boxes })
    });
    let object = json!({ "datasets": [{
        "name": path.display().to_string(),
        "source": set.format.to_string(),
        "classes": set.classes,
        "clean": clean,
        "splits": splits.collect::<Vec<Value>>(),
        "per_class": set.counts(),
        "findings": set.findings,
    }] });
    output.result(&object, |to| {
        writeln!(to, "{BOLD}{}{BOLD:#} ({})\n", path.display(), set.format)?;
        write_table(&set, to)?;
        writeln!(to)?;
        write_findings(&set, to)?;
        if clean {
            writeln!(to, "{FAINT}every image is there, and every box lies in its image{FAINT:#}")?;
        }
        Ok(())
    })?;
    Ok(u8::from(!clean))
}

/// Writes the set at `path`, or its part `split`, in another format.
pub fn convert(
    path: &Path,
    format: Format,
    out: &Path,
    split: Option<&str>,
    force: Force,
    output: Output,
) -> Verb {
    let mut set = BoxSet::open(path)?;
    target::folder(out)?;
    let full = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if full && !force.given() {
        return Err(Failure::usage(format!("{} isn't empty", out.display()))
            .hint("name a new folder with --out, or add --force to overwrite what is there"));
    }
    if let Some(split) = split {
        let names: Vec<String> = set.parts.iter().map(|part| part.name.clone()).collect();
        set.parts.retain(|part| part.name == split);
        if set.parts.is_empty() {
            let path = path.display();
            return Err(Failure::usage(format!("{path} has no split `{split}`"))
                .hint(format!("it has {}", names.join(", "))));
        }
    }
    let images = set.images().count();
    let boxes: usize = set.counts().iter().sum();
    let bar = if output.quiet { indicatif::ProgressBar::hidden() } else { bar(images as u64) };
    let crowds = set.write(format.into(), out, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    if crowds > 0 {
        let words = several(crowds, "box", "boxes");
        output::note(&format!("{words} of crowds left out: COCO alone knows them"));
    }
    let object = json!({
        "name": path.display().to_string(),
        "folder": out.display().to_string(),
        "files": images,
        "errors": [],
        "format": BoxFormat::from(format),
        "boxes": boxes - crowds,
        "crowds_left_out": crowds,
        "findings": set.findings,
    });
    output.result(&object, |to| {
        write_findings(&set, to)?;
        writeln!(
            to,
            "{} with {} written to {} as {}",
            several(images, "image", "images"),
            several(boxes - crowds, "box", "boxes"),
            out.display(),
            BoxFormat::from(format),
        )
    })?;
    Ok(0)
}

fn several(number: usize, one: &str, more: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { more })
}

fn found(set: &BoxSet) -> usize {
    let findings = &set.findings;
    findings.empty.len() + findings.clipped.len() + findings.missing.len()
}

/// Boxes of each class in each part.
fn write_table(set: &BoxSet, to: &mut dyn Write) -> io::Result<()> {
    let mut heads = vec![("class", Side::Left)];
    heads.extend(set.parts.iter().map(|part| (part.name.as_str(), Side::Right)));
    let mut table = Table::new(&heads);
    let boxes = |part: usize, class: Option<usize>| {
        let all = set.parts[part].images.iter().flat_map(|image| &image.boxes);
        all.filter(|one| class.is_none_or(|class| one.class == class)).count() as u64
    };
    let row = |name: &str, class| {
        let counts = (0..set.parts.len()).map(|part| count(boxes(part, class)));
        [name.to_owned()].into_iter().chain(counts).collect::<Vec<_>>()
    };
    for (class, name) in set.classes.iter().enumerate() {
        table.row(row(name, Some(class)));
    }
    table.total(row("boxes", None));
    table.write(to)?;
    let images =
        set.parts.iter().map(|part| format!("{} {}", part.name, count(part.images.len() as u64)));
    writeln!(to, "\nimages: {}", images.collect::<Vec<_>>().join(", "))
}

fn write_findings(set: &BoxSet, to: &mut dyn Write) -> io::Result<()> {
    let Findings { empty, clipped, missing } = &set.findings;
    for (one, more, what, places) in [
        ("box", "boxes", "without area, dropped", empty),
        ("box", "boxes", "beyond the image, cut at its border", clipped),
        ("image", "images", "not there, left out", missing),
    ] {
        if places.is_empty() {
            continue;
        }
        writeln!(to, "{} {what}:", several(places.len(), one, more))?;
        for place in places.iter().take(NAMED) {
            writeln!(to, "  {place}")?;
        }
        if places.len() > NAMED {
            writeln!(to, "  … {} in all", count(places.len() as u64))?;
        }
    }
    Ok(())
}
