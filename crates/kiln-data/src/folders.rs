//! Image files in a folder per class: ImageNet, or photos of your own.
//!
//! ```text
//! DIR/train/CLASS/…/IMAGE        to learn from
//! DIR/validation/CLASS/…/IMAGE   to choose the best epoch by; also `val` or `valid`
//! DIR/test/CLASS/…/IMAGE         to be judged by; without it, that is what the validation part is for
//! ```
//!
//! `DIR/CLASS/…/IMAGE` will do too: one image in five of each class is then kept for the test. Classes are in the order
//! in which people sort names, `class2` before `class10`. What begins with a dot is passed over, links are followed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Parts;
use crate::decode::is_image_name;
use crate::manifest::Manifest;
use crate::natural::natural;
use crate::{Dataset, Error, Sample, decode};

const TRAIN: &[&str] = &["train", "training"];
const VALIDATION: &[&str] = &["validation", "val", "valid"];
const TEST: &[&str] = &["test", "testing"];

/// Where no test part is there, every image whose number in its class has this remainder by [`HELD_OUT`] becomes one.
const REMAINDER: usize = 2;
const HELD_OUT: usize = 5;

/// Image files with the class of each, read when they are asked for.
#[derive(Debug, Default)]
pub struct FolderImages {
    root: PathBuf,
    /// Below the root, to keep a million paths short.
    files: Vec<(Box<Path>, u32)>,
}

impl FolderImages {
    /// The images below each of the folders `classes` of `root`, in natural order; the place of a folder in `classes` is
    /// the label. A folder that isn't there has no images.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with a folder that can't be read.
    pub fn read<S: AsRef<str>>(root: &Path, classes: &[S]) -> Result<Self, Error> {
        let mut files = Vec::new();
        for (label, class) in (0..).zip(classes) {
            let folder = root.join(class.as_ref());
            if folder.is_dir() {
                search(root, Path::new(class.as_ref()), label, &mut HashSet::new(), &mut files)?;
            }
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// The others, and those kept for the test.
    fn hold_out(self) -> [Self; 2] {
        let mut seen = Vec::new();
        let (mut rest, mut kept) = (Vec::new(), Vec::new());
        for file in self.files {
            let class = file.1 as usize;
            seen.resize(seen.len().max(class + 1), 0);
            let number = seen[class];
            seen[class] += 1;
            if number % HELD_OUT == REMAINDER { kept.push(file) } else { rest.push(file) }
        }
        [rest, kept].map(|files| Self { root: self.root.clone(), files })
    }
}

impl Dataset for FolderImages {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let (file, label) = &self.files[index];
        Ok(Sample { pixels: decode(&self.root.join(file))?, label: *label as usize })
    }

    fn name(&self, index: usize) -> String {
        self.root.join(&self.files[index].0).display().to_string()
    }

    fn label(&self, index: usize) -> usize {
        self.files[index].1 as usize
    }
}

/// The set below `data`.
pub(crate) fn open(manifest: &Manifest, data: &Path) -> Result<Parts, Error> {
    let mut likely = vec![data.to_owned(), data.join(&manifest.name)];
    likely.extend(manifest.places.iter().map(|place| data.join(place)));
    let layouts = likely.into_iter().map(|folder| Layout::of(&folder));
    // The folder itself is asked first, and its complaint is what counts where none has parts.
    let mut layouts = layouts.collect::<Result<Vec<_>, _>>()?;
    let with_parts = layouts.iter().position(Layout::has_parts).unwrap_or(0);
    layouts.swap_remove(with_parts).read(manifest)
}

/// Which folders of a root hold what.
#[derive(Debug)]
struct Layout {
    root: PathBuf,
    train: Option<PathBuf>,
    validation: Option<PathBuf>,
    test: Option<PathBuf>,
}

impl Layout {
    fn of(root: &Path) -> Result<Self, Error> {
        let part = |names: &[&str]| -> Result<Option<PathBuf>, Error> {
            for name in names {
                let folder = root.join(name);
                // A class may be called `train` too, and then it has images and no classes.
                if folder.is_dir() && !subfolders(&folder)?.is_empty() {
                    return Ok(Some(folder));
                }
            }
            Ok(None)
        };
        let (train, validation, test) = (part(TRAIN)?, part(VALIDATION)?, part(TEST)?);
        Ok(Self { root: root.to_owned(), train, validation, test })
    }

    fn has_parts(&self) -> bool {
        self.train.is_some() || self.validation.is_some() || self.test.is_some()
    }

    fn read(self, manifest: &Manifest) -> Result<Parts, Error> {
        let Self { root, train, validation, test } = self;
        let shown = root.display().to_string();
        // What is judged by, and what else there is.
        let (validation, test) = match (validation, test) {
            (validation, Some(test)) => (validation, Some(test)),
            (validation, None) => (None, validation),
        };
        let split = train.is_some() || test.is_some();
        let train = if split { train } else { Some(root.clone()) };

        let folders: Vec<&Path> =
            [&train, &validation, &test].into_iter().flatten().map(PathBuf::as_path).collect();
        let names = class_folders(manifest, &root, &folders)?;
        let read = |folder: Option<&PathBuf>| {
            folder.map_or_else(|| Ok(FolderImages::default()), |at| FolderImages::read(at, &names))
        };
        let (mut learned, chosen) = (read(train.as_ref())?, read(validation.as_ref())?);
        let mut judged = read(test.as_ref())?;
        let source = match &test {
            None => {
                [learned, judged] = learned.hold_out();
                format!("{shown}, one image in {HELD_OUT} kept for the test")
            }
            Some(test) if !TEST.iter().any(|name| test.ends_with(name)) => {
                format!("{shown}, tested on {}", test.file_name().unwrap_or_default().display())
            }
            Some(_) => shown.clone(),
        };

        let images = learned.len() + chosen.len() + judged.len();
        let mut empty = vec![manifest.classes.is_empty(); names.len()];
        for part in [&learned, &chosen, &judged] {
            part.files.iter().for_each(|&(_, label)| empty[label as usize] = false);
        }
        let empty = empty.iter().position(|&empty| empty);
        if let Some(class) = empty.map(|at| &names[at]).filter(|_| images > 0) {
            return Err(Error::folders(root, format!("no image in its folder `{class}`")));
        }
        if images == 0 {
            return Err(Error::folders(root, "no images in folders"));
        }
        let known = &manifest.classes;
        Ok(Parts {
            classes: if known.is_empty() { names } else { known.clone() },
            train: Arc::new(learned),
            validation: validation.map(|_| -> Arc<dyn Dataset> { Arc::new(chosen) }),
            test: Arc::new(judged),
            source,
        })
    }
}

/// The folder of each class: those of the manifest, or else those that are there.
fn class_folders(manifest: &Manifest, root: &Path, parts: &[&Path]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for part in parts {
        found.extend(subfolders(part)?);
    }
    found.sort_by(|a, b| natural(a, b));
    found.dedup();
    let known = manifest.class_folders();
    if known.is_empty() {
        return Ok(found);
    }
    let names: HashSet<&str> = known.iter().map(String::as_str).collect();
    match found.iter().find(|folder| !names.contains(folder.as_str())) {
        Some(folder) => Err(Error::folders(
            root,
            format!(
                "its folder `{folder}` is no class of `{}`, whose folders are called {} … {}",
                manifest.name,
                known[0],
                known[known.len() - 1]
            ),
        )),
        None => Ok(known.to_vec()),
    }
}

/// The names of the folders in `folder`, in natural order.
fn subfolders(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = entries(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    Ok(names)
}

/// The names of what is in `folder` and not hidden, in natural order. Names that aren't Unicode are reported.
fn entries(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let name = name.into_string().map_err(|name| {
            let reason = format!("the name {name:?} is not UTF-8: rename it");
            Error::malformed(folder.display().to_string(), reason)
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_by(|a, b| natural(a, b));
    Ok(names)
}

/// Adds the images below `folder` of `root`. Each folder is entered once, so that a link that leads back ends.
fn search(
    root: &Path,
    folder: &Path,
    label: u32,
    entered: &mut HashSet<PathBuf>,
    files: &mut Vec<(Box<Path>, u32)>,
) -> Result<(), Error> {
    let whole = root.join(folder);
    if !entered.insert(fs::canonicalize(&whole).map_err(Error::io("read", &whole))?) {
        return Ok(());
    }
    for name in entries(&whole)? {
        let path = folder.join(&name);
        if is_image_name(Path::new(&name)) && !root.join(&path).is_dir() {
            files.push((path.into(), label));
        } else if root.join(&path).is_dir() {
            search(root, &path, label, entered, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
