//! Data of your own: what a folder holds, told by a `dataset.toml` in it or else by looking.
//!
//! ```toml
//! # dataset.toml: every key but `format` may be left out
//! format = "table"                  # folders, table, shards, idx or cifar
//! classes = ["cat", "dog"]          # the order of their numbers; else they are sorted by name
//! train = "train.csv"               # a file, several, or a pattern such as "train-*.tar"
//! validation = "val.csv"
//! test = "test.csv"
//! image = "file"                    # what the columns of a table are called
//! label = "species"
//! split = "part"
//! seed = 0                          # of the images that are kept for the test where no part is it
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::catalog::{Parts, idx_files};
use crate::folders::{self, FolderImages, TEST, TRAIN, VALIDATION, part_of};
use crate::listed::{self, Columns, Row, is_table};
use crate::manifest::Manifest;
use crate::natural::natural;
use crate::shards::Shards;
use crate::{Dataset, Error, Subset, cifar};

/// The file that describes a folder.
const DESCRIPTION: &str = "dataset.toml";

/// What a `dataset.toml` of a user says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: Form,
    #[serde(default)]
    classes: Vec<String>,
    train: Option<Files>,
    validation: Option<Files>,
    test: Option<Files>,
    image: Option<String>,
    label: Option<String>,
    split: Option<String>,
    #[serde(default)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    #[default]
    Folders,
    #[serde(alias = "csv", alias = "jsonl")]
    Table,
    #[serde(alias = "webdataset")]
    Shards,
    Idx,
    Cifar,
}

/// One file or pattern, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Files {
    One(String),
    Many(Vec<String>),
}

impl Files {
    fn names(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(name) => std::slice::from_ref(name).iter().map(String::as_str),
            Self::Many(names) => names.iter().map(String::as_str),
        }
    }
}

/// Whether `data`, which is no folder, can be opened: a table or an archive.
pub(crate) fn is_file_of_data(data: &Path) -> bool {
    data.is_file() && (is_table(data) || is_archive(data))
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar"))
}

/// The set in `data`: a folder, a table or an archive.
pub(crate) fn open(manifest: &Manifest, data: &Path) -> Result<Parts, Error> {
    if data.is_file() {
        let name = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let root = data.parent().unwrap_or(Path::new("")).to_owned();
        let format = if is_archive(data) { Form::Shards } else { Form::Table };
        let train = Some(Files::One(name));
        return Own {
            root,
            shown: data.display().to_string(),
            description: Description { format, train, ..Description::default() },
        }
        .open(manifest);
    }
    let mut shown = data.display().to_string();
    let file = data.join(DESCRIPTION);
    let description = if file.is_file() {
        let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            Error::malformed(file.display().to_string(), error.message())
        })?
    } else {
        let found = looked_at(data)?;
        if found.format == Form::Table {
            // Whoever has a table lying there by chance should see that it counts.
            let parts = [&found.train, &found.validation, &found.test];
            let names: Vec<&str> = parts.into_iter().flatten().flat_map(Files::names).collect();
            shown += &format!(" by {}", names.join(", "));
        }
        found
    };
    Own { root: data.to_owned(), shown, description }.open(manifest)
}

/// What a folder without a description seems to hold: archives, a table, or else a folder per class.
fn looked_at(data: &Path) -> Result<Description, Error> {
    let names = folders::entries(data)?;
    let (inner, files): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| data.join(name).is_dir());
    let of_kind = |wanted: fn(&Path) -> bool| -> Vec<String> {
        files.iter().filter(|name| wanted(Path::new(name))).cloned().collect()
    };
    let archives = of_kind(is_archive);
    let (format, found) = match !archives.is_empty() && inner.is_empty() {
        true => (Form::Shards, archives),
        false => (Form::Table, of_kind(is_table)),
    };
    let (format, found) = match format {
        Form::Table if found.is_empty() || folders::has_parts(data)? => {
            return Ok(Description::default());
        }
        Form::Table => {
            // A stray table beside folders of classes describes nothing.
            let (telling, others): (Vec<String>, Vec<String>) =
                found.into_iter().partition(|name| tells_of_images(data, name));
            let classes = inner.iter().filter(|name| holds_images(&data.join(name))).count();
            match telling.is_empty() {
                true if classes >= 2 => return Ok(Description::default()),
                true => (format, others),
                false => (format, telling),
            }
        }
        format => (format, found),
    };
    let part = |words: &[&str]| {
        let mut part = found.clone();
        part.retain(|name| {
            let name = name.to_lowercase();
            let mut words = words.iter();
            words.any(|word| {
                name.split(|c: char| !c.is_ascii_alphabetic()).any(|part| part == *word)
            })
        });
        (!part.is_empty()).then_some(part)
    };
    let (validation, test) = (part(VALIDATION), part(TEST));
    let others = || {
        let mut rest = found.clone();
        rest.retain(|name| {
            ![&validation, &test].into_iter().flatten().flatten().any(|n| n == name)
        });
        rest
    };
    let train = Some(part(TRAIN).unwrap_or_else(others)).filter(|files| !files.is_empty());
    let many = |files: Option<Vec<String>>| files.map(Files::Many);
    Ok(Description {
        format,
        train: many(train),
        validation: many(validation),
        test: many(test),
        ..Description::default()
    })
}

/// Whether a folder has an image right in it.
fn holds_images(folder: &Path) -> bool {
    let mut names = folders::entries(folder).unwrap_or_default().into_iter();
    names.any(|name| crate::decode::is_image_name(Path::new(&name)))
}

/// Whether the table `name` of `data` names images that are there.
fn tells_of_images(data: &Path, name: &str) -> bool {
    let rows = listed::read(&data.join(name), &Columns::default());
    rows.is_ok_and(|rows| rows.iter().take(10).any(|row| data.join(&row.image).is_file()))
}

/// A description and where it holds.
struct Own {
    root: PathBuf,
    shown: String,
    description: Description,
}

/// What a format gave for the three parts, before there is a test part for sure.
type Three = [Option<Arc<dyn Dataset>>; 3];

impl Own {
    fn open(self, manifest: &Manifest) -> Result<Parts, Error> {
        let Self { root, description, .. } = &self;
        let manifest = match description.classes.is_empty() {
            true => manifest.clone(),
            false => Manifest { classes: description.classes.clone(), ..manifest.clone() },
        };
        match description.format {
            Form::Folders => folders::open(&manifest, root, description.seed),
            Form::Idx | Form::Cifar if manifest.classes.is_empty() => {
                let file = root.join(DESCRIPTION).display().to_string();
                Err(Error::malformed(file, "`classes` is missing: the files have numbers alone"))
            }
            Form::Idx => idx_files::open(&manifest, root),
            Form::Cifar => cifar::open(&manifest, root),
            Form::Table => self.tables(),
            Form::Shards => self.archives(),
        }
    }

    /// The files of each part.
    fn files(&self) -> Result<[Vec<PathBuf>; 3], Error> {
        let Description { train, validation, test, .. } = &self.description;
        let mut parts = [const { Vec::new() }; 3];
        for (files, names) in parts.iter_mut().zip([train, validation, test]) {
            for name in names.iter().flat_map(Files::names) {
                files.extend(matching(&self.root, name)?);
            }
        }
        if parts.iter().all(Vec::is_empty) {
            let reason = "its dataset.toml names no file under `train`, `validation` or `test`";
            return Err(Error::malformed(&self.shown, reason));
        }
        Ok(parts)
    }

    fn tables(&self) -> Result<Parts, Error> {
        let Description { image, label, split, .. } = &self.description;
        let columns = Columns { image: image.clone(), label: label.clone(), split: split.clone() };
        let mut rows: Vec<(usize, PathBuf, Row)> = Vec::new();
        for (part, files) in self.files()?.into_iter().enumerate() {
            for file in files {
                let folder = file.parent().unwrap_or(Path::new("")).to_owned();
                for row in listed::read(&file, &columns)? {
                    let part = match row.split.as_deref().filter(|split| !split.is_empty()) {
                        None => part,
                        Some(split) => part_of(split).ok_or_else(|| {
                            let reason = format!(
                                "`{split}` is no part of a data set; train, validation and test are"
                            );
                            Error::malformed(file.display().to_string(), reason)
                        })?,
                    };
                    rows.push((part, folder.join(&row.image), row));
                }
            }
        }
        let mut classes = Classes::new(&self.description.classes);
        rows.iter().for_each(|(_, _, row)| classes.see(&row.label));
        let classes = classes.named();
        let mut files: [Vec<(Box<Path>, u32)>; 3] = Default::default();
        for (part, path, row) in rows {
            let number = classes.number(&row.label).and_then(|class| u32::try_from(class).ok());
            let number = number.ok_or_else(|| {
                let known = classes.names.join(", ");
                Error::malformed(
                    &self.shown,
                    format!("`{}` is no class; those are {known}", row.label),
                )
            })?;
            files[part].push((path.into(), number));
        }
        let parts = files.map(|files| -> Option<Arc<dyn Dataset>> {
            (!files.is_empty()).then(|| Arc::new(FolderImages::listed(files)) as _)
        });
        self.parts(parts, classes.names)
    }

    fn archives(&self) -> Result<Parts, Error> {
        let files = self.files()?;
        let mut classes = Classes::new(&self.description.classes);
        if self.description.classes.is_empty() {
            // Once for the names, once for the numbers: an archive's headers are read fast.
            let mut see = |label: &str| {
                classes.see(label);
                Some(0)
            };
            for files in &files {
                Shards::read(files, &mut see)?;
            }
        }
        let classes = classes.named();
        let mut parts: Three = [None, None, None];
        for (part, files) in parts.iter_mut().zip(&files) {
            if !files.is_empty() {
                let shards = Shards::read(files, &mut |label| classes.number(label))?;
                *part = Some(Arc::new(shards));
            }
        }
        self.parts(parts, classes.names)
    }

    /// The parts with a test part, kept from training where there is none.
    fn parts(&self, parts: Three, classes: Vec<String>) -> Result<Parts, Error> {
        let shown = &self.shown;
        let (train, validation, test, source) = match parts {
            [train, validation, Some(test)] => (train, validation, test, shown.clone()),
            [train, Some(test), None] => {
                (train, None, test, format!("{shown}, tested on its validation part"))
            }
            [Some(train), None, None] => {
                let [rest, kept] = folders::held_out(&*train, self.description.seed);
                let part = |indices| Subset::new(Arc::clone(&train), indices);
                let source =
                    format!("{shown}, one image in {} kept for the test", folders::HELD_OUT);
                let test: Arc<dyn Dataset> = Arc::new(part(kept)?);
                (Some(Arc::new(part(rest)?) as _), None, test, source)
            }
            [None, None, None] => return Err(Error::malformed(shown, "it names no image")),
        };
        let train = train.unwrap_or_else(|| Arc::new(FolderImages::default()));
        Ok(Parts { classes, train, validation, test, source })
    }
}

/// Names of classes, from a description or as they were met.
struct Classes {
    names: Vec<String>,
    known: bool,
}

impl Classes {
    fn new(names: &[String]) -> Self {
        Self { names: names.to_vec(), known: !names.is_empty() }
    }

    fn see(&mut self, label: &str) {
        if !self.known && !self.names.iter().any(|name| name == label) {
            self.names.push(label.to_owned());
        }
    }

    /// With the order of the numbers; those met are sorted.
    fn named(mut self) -> Self {
        if !self.known {
            self.names.sort_by(|a, b| natural(a, b));
        }
        self
    }

    /// The number of a class, by its name, or by its number where names are known.
    fn number(&self, label: &str) -> Option<usize> {
        let named = self.names.iter().position(|name| name == label);
        let numbered =
            || label.parse().ok().filter(|&class| self.known && class < self.names.len());
        named.or_else(numbered)
    }
}

/// The files of `root` that `name` means: itself, or where it has a `*` those of its folder that fit, in natural order.
fn matching(root: &Path, name: &str) -> Result<Vec<PathBuf>, Error> {
    let path = root.join(name);
    let pattern = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !pattern.contains('*') {
        return Ok(vec![path]);
    }
    let folder = path.parent().unwrap_or(root);
    let mut names = folders::entries(folder)?;
    names.retain(|name| fits(&pattern, name));
    if names.is_empty() {
        return Err(Error::malformed(
            folder.display().to_string(),
            format!("no file fits `{pattern}`"),
        ));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether `name` is `pattern`, in which a `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let mut tails = name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
            tails.any(|tail| fits(rest, tail))
        }),
    }
}

#[cfg(test)]
mod tests;
