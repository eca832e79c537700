//! Image files in a folder per class: ImageNet, or photos of your own.
//!
//! ```text
//! DIR/train/CLASS/…/IMAGE        to learn from
//! DIR/validation/CLASS/…/IMAGE   to choose the best epoch by; also `val` or `valid`
//! DIR/test/CLASS/…/IMAGE         to be judged by; without it, that is what the validation part is for
//! ```
//!
//! `DIR/CLASS/…/IMAGE` will do too: one image in five of each class, drawn at random, is then kept for the test. Classes are in the order
//! in which people sort names, `class2` before `class10`. What begins with a dot is passed over, links are followed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Parts;
use crate::decode::is_image_name;
use crate::manifest::Manifest;
use crate::natural::natural;
use crate::{Dataset, Error, Random, Sample, decode};

pub(crate) const TRAIN: &[&str] = &["train", "training"];
pub(crate) const VALIDATION: &[&str] = &["validation", "val", "valid"];
pub(crate) const TEST: &[&str] = &["test", "testing"];

/// Where no test part is there, one image of so many becomes one, of each class.
pub(crate) const HELD_OUT: usize = 5;

/// The part of a data set that others call `split`: 0 to learn from, 1 to validate, 2 to test.
pub(crate) fn part_of(split: &str) -> Option<usize> {
    let split = split.to_lowercase();
    [TRAIN, VALIDATION, TEST].iter().position(|names| names.contains(&split.as_str()))
}

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

    /// Images at paths of any place, with the class of each.
    pub(crate) fn listed(files: Vec<(Box<Path>, u32)>) -> Self {
        Self { root: PathBuf::new(), files }
    }

    /// The others, and those kept for the test.
    fn hold_out(self, seed: u64) -> [Self; 2] {
        let [rest, kept] = held_out(&self, seed).map(|indices| {
            indices.into_iter().map(|index| self.files[index].clone()).collect::<Vec<_>>()
        });
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

/// The samples of `dataset` that stay, and those kept for the test: of each class one in five, drawn from the seed and the
/// numbers of the classes alone.
pub(crate) fn held_out(dataset: &dyn Dataset, seed: u64) -> [Vec<usize>; 2] {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for index in 0..dataset.len() {
        let class = dataset.label(index);
        classes.resize_with(classes.len().max(class + 1), Vec::new);
        classes[class].push(index);
    }
    let (mut rest, mut kept) = (Vec::new(), Vec::new());
    for (class, mut indices) in classes.into_iter().enumerate() {
        Random::new(&[KEPT, seed, class as u64]).shuffle(&mut indices);
        // To the nearest, so that three are enough to keep one.
        let count = (indices.len() + HELD_OUT / 2) / HELD_OUT;
        kept.extend_from_slice(&indices[..count]);
        rest.extend_from_slice(&indices[count..]);
    }
    rest.sort_unstable();
    kept.sort_unstable();
    [rest, kept]
}

/// Keeps the stream of this split apart from all others of the same seed.
const KEPT: u64 = 0x4B45_5054;

/// The set below `data`.
pub(crate) fn open(manifest: &Manifest, data: &Path, seed: u64) -> Result<Parts, Error> {
    let mut likely = vec![data.to_owned(), data.join(&manifest.name)];
    likely.extend(manifest.places.iter().map(|place| data.join(place)));
    let layouts = likely.into_iter().map(|folder| Layout::of(&folder));
    // The folder itself is asked first, and its complaint is what counts where none has parts.
    let mut layouts = layouts.collect::<Result<Vec<_>, _>>()?;
    let with_parts = layouts.iter().position(Layout::has_parts).unwrap_or(0);
    layouts.swap_remove(with_parts).read(manifest, seed)
}

/// Whether a folder has one of the parts, with folders of classes in it.
pub(crate) fn has_parts(root: &Path) -> Result<bool, Error> {
    Ok(Layout::of(root)?.has_parts())
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

    fn read(self, manifest: &Manifest, seed: u64) -> Result<Parts, Error> {
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
                [learned, judged] = learned.hold_out(seed);
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
pub(crate) fn entries(folder: &Path) -> Result<Vec<String>, Error> {
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
