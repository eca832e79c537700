//! `kiln data`: what data sets there are, whether they are sound, what training sees of them.

mod boxes;
mod check;
mod convert;
mod preview;
mod scenes;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kiln::data::Info;
use serde_json::json;

use crate::errors::{Failure, Verb};
use crate::numbers::count;
#[cfg(feature = "fetch")]
use crate::output;
use crate::output::Output;
#[cfg(feature = "fetch")]
use crate::progress::bar;
use crate::table::{Side, Table};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln data list                          What there is
  kiln data check mnist --data mnist/     Read every sample: counts, sizes, damage, duplicates
  kiln data fetch mnist                   Download, verify, and print the folder for --data
  kiln data preview mnist                 A sheet of digits as training sees them
  kiln data convert mnist --out digits/   One PNG per digit, one folder per class
  kiln data check folders --data photos/ --sheet sheet.png
                                          Your own images, and what they look like
  kiln data preview digit-scenes          Scenes of digits with their boxes and masks
  kiln data check cells/                  Images with boxes: VOC, COCO or YOLO
  kiln data convert cells/ --to coco --out cells-coco/

JSON:
  list     {datasets: [{name, task, classes, summary, samples, sample, licence, homepage,
           embedded, fetchable}]}
  check    {datasets: [{name, source, classes, clean, splits: [{name, samples, per_class, sizes,
           unreadable, repeated}], duplicates}]}; exit status 1 unless all are clean; splits
           of scenes have `objects` too, and count them in `per_class`; `sheet` is the picture's file
  fetch    {name, folder}
  preview  {name, split, count, augment, file}
  convert  {name, folder, files, errors: [{path, error}]}
  of sets with boxes: check {datasets: [{name, source, classes, clean, splits: [{name, images,
           boxes}], per_class, findings: {empty, clipped, missing}}]}; convert has format, boxes,
           crowds_left_out and findings too";

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
    Check(check::Check),
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
            Action::Check(check) => check.run(output),
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
