//! `kiln data convert`: a classification set as image files, one folder per class, or a set with boxes in another format.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::boxes::{self, Format};
use super::info;
use crate::errors::{Failure, Verb};
use crate::numbers::count;
use crate::output::{self, Output};
use crate::progress::bar;
use crate::target::{self, Force};

/// Arguments of `kiln data convert`.
#[derive(Args, Debug)]
pub struct Convert {
    /// Data set, or with --to a folder of images with boxes: VOC, COCO or YOLO
    name: String,
    /// For sets with boxes: the format to write
    #[arg(long, value_name = "FORMAT", conflicts_with = "data")]
    to: Option<Format>,
    /// Folder to write to; it must not exist yet, or be empty, unless --force is given
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder with the data set; without it the embedded sample is converted
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Convert only this part: train, test or, where it has one, validation [default: all]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    #[command(flatten)]
    force: Force,
}

impl Convert {
    /// Writes `OUT/SPLIT/CLASS/NUMBER.png`.
    pub fn run(self, output: Output) -> Verb {
        let (name, out) = (self.name.as_str(), self.out.as_path());
        if let Some(to) = self.to {
            let split = self.split.as_deref();
            return boxes::convert(Path::new(name), to, out, split, self.force, output);
        }
        if boxes::is_place(name) {
            return Err(Failure::usage(format!("{name} is no data set that kiln knows"))
                .hint("a folder of images with boxes needs --to voc, coco or yolo"));
        }
        let info = info(name)?;
        if info.task != "classification" {
            return Err(Failure::usage(format!(
                "{name} can't be converted: it is for {}",
                info.task
            ))
            .hint("classification sets become a folder of images per class"));
        }
        let splits = kiln::data::open(name, self.data.as_deref())?;
        target::folder(out)?;
        let full = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        if full && !self.force.given() {
            return Err(Failure::usage(format!("{} isn't empty", out.display()))
                .hint("name a new folder with --out, or add --force to overwrite what is there"));
        }

        let wanted = |part: &str| self.split.as_ref().is_none_or(|split| split == part);
        let parts: Vec<_> = splits.parts().filter(|(part, _)| wanted(part)).collect();
        if parts.is_empty() {
            let split = self.split.as_deref().unwrap_or_default();
            return Err(Failure::usage(format!("{name} has no split `{split}`"))
                .hint(format!("it has {}", splits.part_names())));
        }
        let total: usize = parts.iter().map(|(_, part)| part.len()).sum();
        let bar = if output.quiet { indicatif::ProgressBar::hidden() } else { bar(total as u64) };
        let mut written = 0;
        let mut errors = Vec::new();
        for (split, part) in parts {
            for class in &splits.classes {
                let folder = out.join(split).join(folder_name(class));
                fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
            }
            for index in 0..part.len() {
                bar.inc(1);
                match part.sample(index) {
                    Ok(sample) => {
                        let class =
                            splits.classes.get(sample.label).map_or("unknown", String::as_str);
                        let folder = out.join(split).join(folder_name(class));
                        let file = folder.join(format!("{index:05}.png"));
                        sample.pixels.to_image().save(&file).map_err(|error| {
                            Failure::failed(format!("{}: {error}", file.display()))
                        })?;
                        written += 1;
                    }
                    Err(error) => errors.push((part.name(index), error.to_string())),
                }
            }
        }
        bar.finish_and_clear();

        for (name, error) in &errors {
            output::note(&format!("{name}: {error}"));
        }
        let object = json!({
            "name": name,
            "folder": out.display().to_string(),
            "files": written,
            "errors": errors.iter().map(|(path, error)| json!({ "path": path, "error": error }))
                .collect::<Vec<_>>(),
        });
        output.result(&object, |to| {
            writeln!(to, "{} images written to {}", count(written), out.display())
        })?;
        Ok(u8::from(!errors.is_empty()))
    }
}

/// The name of a class as that of a folder on every system: `T-shirt/top` is `T-shirt-top`.
fn folder_name(class: &str) -> String {
    let name: String = class
        .chars()
        .map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '-' } else { c })
        .collect();
    if name.starts_with('.') { name.replacen('.', "-", 1) } else { name }
}
