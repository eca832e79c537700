//! Data sets in four IDX files as MNIST's: where they lie, how they are spelled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BuiltIn, Parts};
use crate::idx::{Idx, IdxImages};
use crate::manifest::Manifest;
use crate::{Dataset, Error};

/// The complete set below `data`.
pub(crate) fn open(manifest: &Manifest, data: &Path) -> Result<Parts, Error> {
    let folder = folder(manifest, data);
    let read = |prefix, part| from_folder(manifest, &folder, prefix, part);
    Ok(Parts {
        classes: manifest.classes.clone(),
        train: read("train", "train")?,
        validation: None,
        test: read("t10k", "test")?,
        source: folder.display().to_string(),
    })
}

/// The embedded sample.
pub(super) fn embedded(built_in: &BuiltIn) -> Result<Parts, Error> {
    let read = |prefix, part| from_sample(built_in, prefix, part);
    Ok(Parts {
        classes: built_in.manifest.classes.clone(),
        train: read("train", "train")?,
        validation: None,
        test: read("t10k", "test")?,
        source: "embedded sample".into(),
    })
}

/// Where below `data` the files are: the first likely folder that has one, else `data` itself.
fn folder(manifest: &Manifest, data: &Path) -> PathBuf {
    let mut likely = vec![data.to_owned(), data.join(&manifest.name), data.join("raw")];
    likely.extend(manifest.places.iter().map(|place| data.join(place)));
    let has_images = |folder: &&PathBuf| {
        let stems = ["train-images", "t10k-images"];
        stems.iter().any(|stem| spellings(stem, 3).iter().any(|file| folder.join(file).is_file()))
    };
    likely.iter().find(has_images).unwrap_or(&likely[0]).clone()
}

/// The spellings in use: mirrors write `-idx3`, unpacking by hand often `.idx3`.
fn spellings(stem: &str, rank: usize) -> [String; 4] {
    [
        format!("{stem}-idx{rank}-ubyte.gz"),
        format!("{stem}-idx{rank}-ubyte"),
        format!("{stem}.idx{rank}-ubyte"),
        format!("{stem}.idx{rank}-ubyte.gz"),
    ]
}

/// The split whose files in `folder` begin with `prefix`.
fn from_folder(
    manifest: &Manifest,
    folder: &Path,
    prefix: &str,
    part: &str,
) -> Result<Arc<dyn Dataset>, Error> {
    let Manifest { name, classes, .. } = manifest;
    let read = |kind: &str, rank: usize| {
        let names = spellings(&format!("{prefix}-{kind}"), rank);
        let found = names.iter().map(|file| folder.join(file)).find(|path| path.is_file());
        let path = found.ok_or_else(|| Error::MissingFile {
            name: name.into(),
            file: format!("{}[.gz]", names[1]),
            folder: folder.into(),
        })?;
        Idx::read(&path)
    };
    let (images, labels) = (read("images", 3)?, read("labels", 1)?);
    Ok(IdxImages::new(&format!("{name} {part}"), images, labels, classes.len())?.shared())
}

/// The split whose embedded files begin with `prefix`.
fn from_sample(built_in: &BuiltIn, prefix: &str, part: &str) -> Result<Arc<dyn Dataset>, Error> {
    let Manifest { name, classes, .. } = &built_in.manifest;
    let parse = |kind: &str| {
        let file = format!("{prefix}-{kind}-ubyte.gz");
        let found = built_in.sample.iter().find(|(name, _)| *name == file);
        let bytes = found.map_or(&[][..], |(_, bytes)| bytes);
        Idx::parse(bytes, &format!("the embedded {file}"))
    };
    let label = format!("{name} sample {part}");
    let (images, labels) = (parse("images-idx3")?, parse("labels-idx1")?);
    Ok(IdxImages::new(&label, images, labels, classes.len())?.shared())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idx::tests::{file, gzip};
    use crate::open;
    use std::fs;

    fn counts(dataset: &dyn Dataset, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        (0..dataset.len()).for_each(|index| counts[dataset.label(index)] += 1);
        counts
    }

    #[test]
    fn the_embedded_digits_are_as_their_card_says() {
        let digits = open("mnist", None).unwrap();
        assert_eq!(digits.source, "embedded sample");
        assert_eq!(digits.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(counts(&*digits.train, 10), [851, 966, 833, 864, 842, 735, 852, 910, 802, 845]);
        assert_eq!(counts(&*digits.test, 10), [150, 161, 158, 168, 138, 128, 162, 160, 142, 133]);
        assert_eq!(digits.train.name(7), "mnist sample train/7");

        let first = digits.train.sample(0).unwrap();
        assert_eq!((first.label, first.pixels.width, first.pixels.channels), (5, 28, 1));
    }

    #[test]
    fn the_embedded_clothes_are_as_their_card_says() {
        let clothes = open("fashion-mnist", None).unwrap();
        assert_eq!(counts(&*clothes.train, 10), [172, 194, 176, 178, 171, 181, 175, 193, 178, 182]);
        assert_eq!(counts(&*clothes.test, 10), [42, 44, 54, 36, 43, 32, 39, 40, 34, 36]);
        assert_eq!((clothes.classes[0].as_str(), clothes.train.label(0)), ("T-shirt/top", 9));
    }

    /// A folder with a two-digit MNIST; `spell` names each file.
    fn write(folder: &Path, spell: impl Fn(&str, usize) -> String) {
        fs::create_dir_all(folder).unwrap();
        for (split, labels) in [("train", [3, 9]), ("t10k", [0, 1])] {
            let images = file(&[2, 28, 28], &[7; 2 * 784]);
            for (kind, rank, bytes) in [("images", 3, images), ("labels", 1, file(&[2], &labels))] {
                let name = spell(&format!("{split}-{kind}"), rank);
                let bytes = if name.ends_with(".gz") { gzip(&bytes) } else { bytes };
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
    }

    #[test]
    fn every_spelling_and_place_of_the_files_is_found() {
        let root = tempfile::tempdir().unwrap();
        for (number, (name, place)) in [
            ("mnist", ""),
            ("mnist", "mnist"),
            ("mnist", "raw"),
            ("mnist", "MNIST/raw"),
            ("fashion-mnist", "FashionMNIST/raw"),
        ]
        .into_iter()
        .enumerate()
        {
            let data = root.path().join(format!("data{number}"));
            write(&data.join(place), |stem, rank| spellings(stem, rank)[number % 4].clone());
            let digits = open(name, Some(&data)).unwrap();
            assert_eq!(digits.train.label(1), 9, "{place}");
            assert_eq!(digits.test.name(0), format!("{name} test/0"));
            assert!(digits.source.starts_with(&data.display().to_string()));
        }
    }

    #[test]
    fn a_missing_or_cut_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        let message = || open("mnist", Some(root.path())).err().unwrap().to_string();
        assert!(message().starts_with("no train-images-idx3-ubyte[.gz] in "), "{}", message());

        write(root.path(), |stem, rank| spellings(stem, rank)[0].clone());
        fs::remove_file(root.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
        assert!(message().starts_with("no t10k-labels-idx1-ubyte[.gz] in "), "{}", message());

        let images = root.path().join("train-images-idx3-ubyte.gz");
        let bytes = fs::read(&images).unwrap();
        fs::write(&images, &bytes[..bytes.len() / 2]).unwrap();
        let message = message();
        assert!(message.contains("train-images-idx3-ubyte.gz is damaged"), "{message}");
    }
}
