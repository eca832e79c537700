//! `kiln data`: what data sets there are, whether they are sound, what training sees of them.

mod boxes;
mod convert;
mod preview;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kiln::data::Info;
use kiln::data::check::Report;
use serde_json::{Value, json};

use crate::errors::{Failure, Verb};
use crate::numbers::count;
#[cfg(feature = "fetch")]
use crate::output;
use crate::output::Output;
use crate::progress::bar;
use crate::table::{BOLD, FAINT, Side, Table};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln data list                          What there is
  kiln data check mnist --data mnist/     Read every sample: counts, sizes, damage, duplicates
  kiln data fetch mnist                   Download, verify, and print the folder for --data
  kiln data preview mnist                 A sheet of digits as training sees them
  kiln data convert mnist --out digits/   One PNG per digit, one folder per class
  kiln data check folders --data photos/  Your own images, in a folder per class
  kiln data check cells/                  Images with boxes: VOC, COCO or YOLO
  kiln data convert cells/ --to coco --out cells-coco/

JSON:
  list     {datasets: [{name, task, classes, summary, samples, sample, licence, homepage,
           embedded, fetchable}]}
  check    {datasets: [{name, source, classes, clean, splits: [{name, samples, per_class, sizes,
           unreadable, repeated}], duplicates}]}; exit status 1 unless all are clean
  fetch    {name, folder}
  preview  {name, split, count, augment, file}
  convert  {name, folder, files, errors: [{path, error}]}
  of sets with boxes: check {datasets: [{name, source, classes, clean, splits: [{name, images,
           boxes}], per_class, findings: {empty, clipped, missing}}]}; convert has format, boxes,
           crowds_left_out and findings too";

/// Most sizes of images that are named one by one.
const SIZES: usize = 5;
/// Most unreadable samples and duplicates that are named one by one.
const NAMED: usize = 10;

/// List, check, fetch, preview and convert data sets
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Data {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the data sets that kiln knows
    List {
        /// Show only those that mention this
        name: Option<String>,
    },
    /// Read every sample: counts, sizes, unreadable samples, duplicates across splits
    Check {
        /// Data set, or a folder of images with boxes [default: every embedded sample]
        name: Option<String>,
        /// Folder with the data set; without it the embedded sample is checked
        #[arg(long, value_name = "DIR", requires = "name")]
        data: Option<PathBuf>,
    },
    /// Download a complete data set, verify it and print its folder
    Fetch {
        /// Data set
        name: String,
        /// Where to put it [default: the user's cache folder, or KILN_CACHE]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Write a sheet of samples as training sees them
    Preview(preview::Preview),
    /// Write a data set as image files, one folder per class, or one with boxes in another format
    Convert(convert::Convert),
}

impl Data {
    /// Does what was asked.
    pub fn run(self, output: Output) -> Verb {
        match self.action {
            Action::List { name } => list(&name.unwrap_or_default(), output),
            Action::Check { name, data } => check(name.as_deref(), data.as_deref(), output),
            Action::Fetch { name, out } => fetch(&name, out.as_deref(), output),
            Action::Preview(preview) => preview.run(output),
            Action::Convert(convert) => convert.run(output),
        }
    }
}

/// What is known about the data set `name`.
///
/// # Errors
///
/// Wrong use with the nearest name if there is none.
pub fn info(name: &str) -> Result<Info, Failure> {
    Ok(kiln::data::info(name)?)
}

fn list(filter: &str, output: Output) -> Verb {
    let filter = filter.to_lowercase();
    let shown: Vec<Info> = kiln::data::list()
        .into_iter()
        .filter(|info| {
            [&info.name, &info.task, &info.summary]
                .iter()
                .any(|text| text.to_lowercase().contains(&filter))
        })
        .collect();
    if shown.is_empty() {
        info(&filter)?;
    }
    let object = json!({ "datasets": shown.iter().map(|info| json!({
        "name": info.name,
        "task": info.task,
        "classes": info.classes,
        "summary": info.summary,
        "samples": info.samples,
        "sample": info.sample,
        "licence": info.licence,
        "homepage": info.homepage,
        "embedded": info.embedded,
        "fetchable": info.fetchable,
    })).collect::<Vec<_>>() });

    output.result(&object, |to| {
        let mut table = Table::new(&[
            ("data set", Side::Left),
            ("task", Side::Left),
            ("classes", Side::Right),
            ("images", Side::Right),
            ("in kiln", Side::Right),
            ("", Side::Left),
        ]);
        // Of a user's own images nothing is known.
        let number = |number: usize| match number {
            0 => "–".to_owned(),
            _ => count(number as u64),
        };
        for info in &shown {
            table.row([
                info.name.clone(),
                info.task.clone(),
                number(info.classes.len()),
                number(info.samples.values().sum()),
                number(info.sample.values().sum()),
                info.summary.clone(),
            ]);
        }
        table.write(to)
    })
}

fn check(name: Option<&str>, data: Option<&Path>, output: Output) -> Verb {
    if let Some(name) = name.filter(|name| data.is_none() && boxes::is_place(name)) {
        return boxes::check(Path::new(name), output);
    }
    let names: Vec<String> = match name {
        Some(name) => vec![info(name)?.name],
        None => kiln::data::list()
            .into_iter()
            .filter(|info| info.embedded)
            .map(|info| info.name)
            .collect(),
    };
    let mut reports = Vec::with_capacity(names.len());
    for name in names {
        let splits = kiln::data::open(&name, data)?;
        let bar = if output.quiet { indicatif::ProgressBar::hidden() } else { bar(1) };
        bar.set_message("reading");
        reports.push(kiln::data::check::check(&splits, &mut |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }));
        bar.finish_and_clear();
    }

    let clean = reports.iter().all(Report::is_clean);
    let objects = reports.iter().map(|report| {
        let mut object = serde_json::to_value(report).unwrap_or_default();
        object["clean"] = report.is_clean().into();
        object
    });
    let object = json!({ "datasets": objects.collect::<Vec<Value>>() });
    output.result(&object, |to| {
        for report in &reports {
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
            total.extend(splits.iter().map(|split| count(split.samples as u64)));
            table.total(total);
            table.write(to)?;
            writeln!(to)?;
            write_findings(report, to)?;
        }
        Ok(())
    })?;
    Ok(u8::from(!clean))
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

fn fetch(name: &str, out: Option<&Path>, output: Output) -> Verb {
    info(name)?;
    #[cfg(not(feature = "fetch"))]
    {
        let _ = (out, output);
        Err(Failure::failed("this kiln was built without downloads")
            .hint("build it with `cargo build --release --features fetch`"))
    }
    #[cfg(feature = "fetch")]
    {
        use kiln::data::fetch::{Progress, fetch};

        let bar = if output.quiet { indicatif::ProgressBar::hidden() } else { bar(1) };
        let folder = fetch(name, out, &mut |progress| match progress {
            Progress::Started { file, have, total, .. } => {
                bar.set_message(file.to_owned());
                bar.set_length(total);
                bar.set_position(have);
            }
            Progress::Received { have, .. } => bar.set_position(have),
            Progress::Failed { url, reason, .. } => {
                bar.suspend(|| output::note(&format!("{url}: {reason}")));
            }
            Progress::Present { .. } | Progress::Done { .. } => {}
        })?;
        bar.finish_and_clear();

        let object = json!({ "name": name, "folder": folder.display().to_string() });
        output.result(&object, |to| {
            writeln!(to, "{}", folder.display())?;
            writeln!(to, "use it with: --data {}", folder.display())
        })
    }
}
