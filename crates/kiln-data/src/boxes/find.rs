//! Which format a folder has, where its files are, and what their parts are called.

use std::fs;
use std::path::{Path, PathBuf};

use super::BoxFormat;
use crate::Error;
use crate::natural::natural;

pub(super) const VALIDATION: &str = "validation";

/// The format of the set at `path`.
pub(super) fn format(path: &Path) -> Result<BoxFormat, Error> {
    if !path.exists() {
        return Err(Error::boxes(path, "it isn't there"));
    }
    if path.is_file() {
        return match ending(path).as_str() {
            "json" => Ok(BoxFormat::Coco),
            "yaml" | "yml" => Ok(BoxFormat::Yolo),
            _ => Err(Error::boxes(path, "it is neither a folder nor .json or .yaml")),
        };
    }
    if description(path)?.is_some() {
        return Ok(BoxFormat::Yolo);
    }
    if voc(path)?.is_some() {
        return Ok(BoxFormat::Voc);
    }
    if !json(path)?.is_empty() {
        return Ok(BoxFormat::Coco);
    }
    Err(Error::boxes(path, "no such file is in it"))
}

/// The folder of a VOC set, which may lie in one folder more.
pub(super) fn voc(path: &Path) -> Result<Option<PathBuf>, Error> {
    let has = |folder: &Path| folder.join("Annotations").is_dir();
    if has(path) {
        return Ok(Some(path.to_owned()));
    }
    let mut inside = entries(path)?;
    inside.retain(|folder| has(folder));
    Ok(if inside.len() == 1 { inside.pop() } else { None })
}

/// The YAML file of a YOLO set.
pub(super) fn description(path: &Path) -> Result<Option<PathBuf>, Error> {
    let mut files = entries(path)?;
    files.retain(|file| matches!(ending(file).as_str(), "yaml" | "yml") && file.is_file());
    let usual = files.iter().position(|file| file.file_stem().is_some_and(|stem| stem == "data"));
    Ok(if files.is_empty() { None } else { Some(files.swap_remove(usual.unwrap_or(0))) })
}

/// The JSON files of a COCO set: in the folder `annotations`, in the folder itself, or in that of each part.
pub(super) fn json(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut folders = vec![path.join("annotations"), path.to_owned()];
    folders.extend(entries(path)?.into_iter().filter(|folder| folder.is_dir()));
    let mut found = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let mut files = entries(folder)?;
        // COCO's folder has captions and keypoints too, of the same images.
        let boxes = |file: &PathBuf| {
            let name = stem(file);
            ending(file) == "json"
                && !["captions", "person_keypoints", "image_info", "panoptic", "stuff"]
                    .iter()
                    .any(|other| name.starts_with(other))
        };
        files.retain(boxes);
        found.extend(files);
        if !found.is_empty() && (*folder == folders[0] || *folder == folders[1]) {
            break;
        }
    }
    Ok(found)
}

/// What kiln calls the part that files call `word`.
pub(super) fn part(word: &str) -> String {
    match word.to_lowercase().as_str() {
        "train" | "training" => "train".to_owned(),
        "val" | "valid" | VALIDATION => VALIDATION.to_owned(),
        "test" | "testing" => "test".to_owned(),
        _ => word.to_owned(),
    }
}

/// The part that a file's name tells of: `train` for `instances_train2017`; its whole name where it tells of none.
pub(super) fn part_in(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphabetic());
    let known = words.map(part).find(|part| rank(part) < 3);
    known.unwrap_or_else(|| name.to_owned())
}

/// The order of parts.
pub(super) fn rank(part: &str) -> usize {
    ["train", VALIDATION, "test"].iter().position(|name| *name == part).unwrap_or(3)
}

/// What is in `folder`, in the order in which people sort names.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    });
    paths.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(paths)
}

pub(super) fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn ending(file: &Path) -> String {
    file.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}
