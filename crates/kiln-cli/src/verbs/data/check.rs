//! `kiln data check`: reads every sample and says what there is, in words and in a picture.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use image::RgbImage;
use kiln::data::check::{Report, SplitReport, check_scenes};
use kiln::data::{SceneSplits, Splits};
use kiln::viz::{Card, contact_sheet};
use serde_json::{Value, json};

use super::{boxes, info, scenes};
use crate::errors::{Failure, Verb};
use crate::numbers::count;
use crate::output::Output;
use crate::progress::bar;
use crate::table::{BOLD, FAINT, Side, Table};
use crate::target::Force;
use crate::verbs::thumbnail::thumbnail;

/// Most sizes of images that are named one by one.
const SIZES: usize = 5;
/// Most unreadable samples and duplicates that are named one by one.
pub const NAMED: usize = 10;
/// A class with fewer images than this to learn from is worth a word.
const FEW: usize = 10;
/// Images on a sheet, if there are no more classes than that.
const SHOWN: usize = 60;

#[derive(Args, Debug)]
pub struct Check {
    /// Data set, or a folder of images with boxes [default: every embedded sample]
    name: Option<String>,
    /// Folder with the data set; without it the embedded sample is checked
    #[arg(long, value_name = "DIR", requires = "name")]
    data: Option<PathBuf>,
    /// Write a sheet of images of each class and part, and of what can't be read
    #[arg(long, value_name = "FILE.png", requires = "name")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// A set of one kind or the other.
enum Opened {
    Images(Splits),
    Scenes(SceneSplits),
}

impl Check {
    pub fn run(self, output: Output) -> Verb {
        if let Some(sheet) = &self.sheet {
            if sheet.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
                return Err(Failure::usage(format!(
                    "{}: a sheet is a PNG picture",
                    sheet.display()
                ))
                .hint("end the file's name with .png"));
            }
            self.force.file(sheet)?;
        }
        let place =
            self.name.as_deref().filter(|name| self.data.is_none() && boxes::is_place(name));
        if let Some(place) = place.filter(|_| self.sheet.is_none()) {
            return boxes::check(Path::new(place), output);
        }
        let names: Vec<String> = match &self.name {
            Some(name) => vec![info(name)?.name],
            None => kiln::data::list()
                .into_iter()
                .filter(|info| info.embedded)
                .map(|info| info.name)
                .collect(),
        };
        let mut reports = Vec::with_capacity(names.len());
        for name in names {
            let opened = match info(&name)?.has_scenes() {
                true => Opened::Scenes(kiln::data::open_scenes(&name)?),
                false => Opened::Images(kiln::data::open(&name, self.data.as_deref())?),
            };
            let bar = if output.quiet { indicatif::ProgressBar::hidden() } else { bar(1) };
            bar.set_message("reading");
            let mut progress = |done, of| {
                bar.set_length(of as u64);
                bar.set_position(done as u64);
            };
            let report = match &opened {
                Opened::Scenes(splits) => check_scenes(splits, &mut progress),
                Opened::Images(splits) => kiln::data::check::check(splits, &mut progress),
            };
            bar.finish_and_clear();
            if let Some(sheet) = &self.sheet {
                let cards = match &opened {
                    Opened::Scenes(splits) => scenes_of(splits)?,
                    Opened::Images(splits) => images_of(splits, &report),
                };
                contact_sheet(&name, &cards).save(sheet)?;
            }
            reports.push(report);
        }

        let clean = reports.iter().all(Report::is_clean);
        let objects = reports.iter().map(|report| {
            let mut object = serde_json::to_value(report).unwrap_or_default();
            object["clean"] = report.is_clean().into();
            object
        });
        let mut object = json!({ "datasets": objects.collect::<Vec<Value>>() });
        if let Some(sheet) = &self.sheet {
            object["sheet"] = sheet.display().to_string().into();
        }
        output.result(&object, |to| {
            reports.iter().try_for_each(|report| write_report(report, to))?;
            match &self.sheet {
                Some(sheet) => writeln!(to, "sheet  {}", sheet.display()),
                None => Ok(()),
            }
        })?;
        Ok(u8::from(!clean))
    }
}

/// Images of every class and part, as many of each, then those that can't be read.
fn images_of(splits: &Splits, report: &Report) -> Vec<Card> {
    let parts = splits.parts().count();
    let each = (SHOWN / (splits.classes.len() * parts).max(1)).max(1);
    let mut cards = Vec::new();
    for (class, name) in splits.classes.iter().enumerate() {
        for (part, dataset) in splits.parts() {
            let of_class: Vec<usize> =
                (0..dataset.len()).filter(|&index| dataset.label(index) == class).collect();
            let shown = each.min(of_class.len());
            for index in (0..shown).map(|number| of_class[number * of_class.len() / shown]) {
                // What can't be read has its own place.
                if let Ok(sample) = dataset.sample(index) {
                    let card = Card::new(thumbnail(&sample.pixels), name);
                    cards.push(Card { note: part.to_owned(), ..card });
                }
            }
            if cards.len() >= 2 * SHOWN {
                break;
            }
        }
    }
    let unreadable = report.splits.iter().flat_map(|split| &split.unreadable);
    for skipped in unreadable.take(NAMED) {
        let name = Path::new(&skipped.name).file_name().unwrap_or_default();
        let card = Card::new(RgbImage::new(1, 1), name.display().to_string());
        cards.push(Card { note: "unreadable".into(), ..card });
    }
    cards
}

/// Some scenes of every part.
fn scenes_of(splits: &SceneSplits) -> Result<Vec<Card>, Failure> {
    let each = SHOWN / 2 / splits.parts().count().max(1);
    let mut cards = Vec::new();
    for (_, part) in splits.parts() {
        cards.extend(scenes::cards(splits, &**part, None, each.min(part.len()))?);
    }
    Ok(cards)
}

fn write_report(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "{BOLD}{}{BOLD:#} ({})\n", report.name, report.source)?;
    let splits = &report.splits;
    let mut heads = vec![("class", Side::Left)];
    heads.extend(splits.iter().map(|split| (split.name.as_str(), Side::Right)));
    let mut table = Table::new(&heads);
    for (class, name) in report.classes.iter().enumerate() {
        let mut row = vec![name.clone()];
        row.extend(splits.iter().map(|split| count(split.per_class[class] as u64)));
        table.row(row);
    }
    let mut total = vec!["total".to_owned()];
    let counted = |split: &SplitReport| split.objects.unwrap_or(split.samples);
    total.extend(splits.iter().map(|split| count(counted(split) as u64)));
    table.total(total);
    table.write(to)?;
    writeln!(to)?;
    write_findings(report, to)
}

/// What is worth knowing about a data set beyond its counts.
fn write_findings(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    for split in &report.splits {
        writeln!(to, "{}: {}", split.name, sizes(&split.sizes))?;
        if split.repeated > 0 {
            writeln!(to, "  {} repeat an earlier one", count(split.repeated as u64))?;
        }
        for sample in split.unreadable.iter().take(NAMED) {
            writeln!(to, "  unreadable: {}: {}", sample.name, sample.reason)?;
        }
        if split.unreadable.len() > NAMED {
            writeln!(to, "  … {} unreadable in all", count(split.unreadable.len() as u64))?;
        }
    }
    for pair in report.duplicates.iter().take(NAMED) {
        let labels = if pair.same_label { "" } else { ", with different labels" };
        writeln!(to, "in two splits: {} = {}{labels}", pair.first, pair.second)?;
    }
    if report.duplicates.len() > NAMED {
        writeln!(to, "… {} in two splits in all", count(report.duplicates.len() as u64))?;
    }
    if let Some(train) =
        report.splits.iter().find(|split| split.name == "train" && split.samples > 0)
    {
        let classes = report.classes.iter().zip(&train.per_class);
        for (class, images) in classes.filter(|(_, images)| **images < FEW) {
            let few = count(*images as u64);
            writeln!(to, "class {class} has {few} to learn from: add some, {FEW} at the least")?;
        }
    }
    for split in report.splits.iter().filter(|split| split.samples == 0) {
        writeln!(to, "{} is empty: there is no image in it", split.name)?;
    }
    if report.is_clean() {
        writeln!(to, "{FAINT}every sample can be read, and none is in two splits{FAINT:#}")?;
    }
    Ok(())
}

/// How many samples of which size, the most frequent sizes first.
fn sizes(sizes: &BTreeMap<String, usize>) -> String {
    let mut sorted: Vec<_> = sizes.iter().collect();
    sorted.sort_by_key(|&(_, &times)| std::cmp::Reverse(times));
    let (shown, rest) = sorted.split_at(sorted.len().min(SIZES));
    let mut words: Vec<String> =
        shown.iter().map(|(size, times)| format!("{} of {size}", count(**times as u64))).collect();
    if !rest.is_empty() {
        let images: usize = rest.iter().map(|&(_, &times)| times).sum();
        words.push(format!("{} of {} other sizes", count(images as u64), count(rest.len() as u64)));
    }
    words.join(", ")
}
