//! Images with boxes: sets in the formats of Pascal VOC, COCO and YOLO, read, checked, and written as one another.
//!
//! ```text
//! VOC   DIR/Annotations/NAME.xml, DIR/JPEGImages/IMAGE, DIR/ImageSets/Main/PART.txt
//! COCO  DIR/annotations/…PART….json, DIR/images/PART/IMAGE, or one .json file by itself
//! YOLO  DIR/data.yaml, DIR/images/PART/IMAGE, DIR/labels/PART/NAME.txt
//! ```
//!
//! Edges of boxes are taken as they are written: [`MarkedBox::corners`] of a VOC file are its `xmin` and so on, as
//! annotation tools write them. VOC's own files count pixels from 1 there, up to and including the last one.

mod coco;
mod find;
mod voc;
mod xml;
mod yaml;
mod yolo;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use image::metadata::Orientation;
use image::{ImageDecoder, ImageReader};
use serde::Serialize;

use crate::Error;

/// Files of annotations of more bytes than this are refused: 1 GiB.
const LONGEST: u64 = 1 << 30;
/// No side of an image is longer, in pixels.
const LARGEST: usize = 1 << 20;
/// Steps of edges in a pixel. Sums and decimals are rounded; edges on these steps come back as they were.
const STEPS: f64 = 1e11;
/// An edge that is cut by less than this, in pixels, was rounded and not wrong.
const SLIGHT: f64 = 0.5;

/// A format of files with boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxFormat {
    /// Pascal VOC: an XML file per image.
    Voc,
    /// COCO: a JSON file per part.
    Coco,
    /// YOLO: a text file per image and a YAML file for the set.
    Yolo,
}

/// A set of images with boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxSet {
    /// The format that it was read from.
    pub format: BoxFormat,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Its parts in order: `train`, `validation`, `test`, or what else the files call them.
    pub parts: Vec<BoxPart>,
    /// What was passed over or put right.
    pub findings: Findings,
}

/// Images that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxPart {
    /// `train`, `validation`, `test`, or what else the files call it.
    pub name: String,
    /// In the order of the files.
    pub images: Vec<BoxImage>,
}

/// An image that is on disk, and the boxes in it.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxImage {
    /// Where it is.
    pub file: PathBuf,
    /// What the set calls it: a file's name, maybe with folders before it.
    pub name: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// In the order of the file.
    pub boxes: Vec<MarkedBox>,
}

/// An object in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarkedBox {
    /// Its class.
    pub class: usize,
    /// Left, top, right and bottom edge in pixels.
    pub corners: [f64; 4],
    /// Whether it stands for a crowd of objects (COCO's `iscrowd`).
    pub crowd: bool,
    /// Whether nobody is blamed for missing it (VOC's `difficult`).
    pub difficult: bool,
    /// Whether it reaches beyond what is seen of it (VOC's `truncated`).
    pub truncated: bool,
}

/// What was passed over or put right while a set was read; each place is a file and what in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Boxes without area, which were dropped.
    pub empty: Vec<String>,
    /// Boxes that reached out of their image, which were cut at its border.
    pub clipped: Vec<String>,
    /// Images that are named and not there, which were left out with their boxes.
    pub missing: Vec<String>,
}

impl BoxSet {
    /// Reads the set at `path`, a folder or a COCO file, in the format that it has.
    ///
    /// # Errors
    ///
    /// Names what was looked for where nothing was found, or the file and line that can't be right.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let format = find::format(path)?;
        let mut set = match format {
            BoxFormat::Voc => voc::read(path)?,
            BoxFormat::Coco => coco::read(path)?,
            BoxFormat::Yolo => yolo::read(path)?,
        };
        if set.images().next().is_none() {
            let hint = match set.findings.missing.first() {
                Some(missing) => format!("none of its images is there, such as {missing}"),
                None => "there is no image in it".to_owned(),
            };
            return Err(Error::malformed(path.display().to_string(), hint));
        }
        set.parts.sort_by_key(|part| find::rank(&part.name));
        Ok(set)
    }

    /// All images, part by part.
    pub fn images(&self) -> impl Iterator<Item = &BoxImage> {
        self.parts.iter().flat_map(|part| &part.images)
    }

    /// How many boxes there are of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for one in self.images().flat_map(|image| &image.boxes) {
            counts[one.class] += 1;
        }
        counts
    }

    /// Writes the set in `format` below the folder `out`, its images copied. `done` hears of each image. Boxes of crowds,
    /// which COCO alone knows, are left out elsewhere; their number comes back.
    ///
    /// # Errors
    ///
    /// Two images of one name, or a file that can't be read or written.
    pub fn write(
        &self,
        format: BoxFormat,
        out: &Path,
        done: &mut dyn FnMut(),
    ) -> Result<usize, Error> {
        if let Some(class) = self.classes.iter().find(|name| name.contains(char::is_control)) {
            return Err(Error::sample(class.escape_debug().to_string(), "no name of a class"));
        }
        let mut names = HashSet::new();
        for part in &self.parts {
            for image in &part.images {
                inside(&image.name).map_err(|reason| Error::sample(&*image.name, reason))?;
                // VOC has one folder for all parts, and a file of annotations has no ending of the image's.
                let stem = Path::new(&image.name).with_extension("").display().to_string();
                let key =
                    if format == BoxFormat::Voc { stem } else { format!("{}/{stem}", part.name) };
                if !names.insert(key) {
                    return Err(Error::sample(&*image.name, "another image has the same name"));
                }
            }
        }
        match format {
            BoxFormat::Voc => voc::write(self, out, done)?,
            BoxFormat::Coco => coco::write(self, out, done)?,
            BoxFormat::Yolo => yolo::write(self, out, done)?,
        }
        let crowds = self.images().flat_map(|image| &image.boxes).filter(|one| one.crowd).count();
        Ok(if format == BoxFormat::Coco { 0 } else { crowds })
    }
}

impl MarkedBox {
    /// A box that is whole and easy.
    pub fn new(class: usize, corners: [f64; 4]) -> Self {
        Self { class, corners, crowd: false, difficult: false, truncated: false }
    }

    /// The box within an image of this size; `None` for one without area. `place` names it in `findings`.
    fn within(
        mut self,
        [width, height]: [usize; 2],
        findings: &mut Findings,
        place: impl Fn() -> String,
    ) -> Result<Option<Self>, String> {
        self.corners = self.corners.map(|edge| (edge * STEPS).round() / STEPS);
        let [left, top, right, bottom] = self.corners;
        if !self.corners.iter().all(|edge| edge.is_finite()) {
            return Err(format!("the edges of a box must be numbers, found {:?}", self.corners));
        }
        if left > right || top > bottom {
            return Err(format!(
                "a box must begin before it ends, found {left}, {top} to {right}, {bottom}"
            ));
        }
        let (w, h) = (width as f64, height as f64);
        let cut =
            [left.clamp(0.0, w), top.clamp(0.0, h), right.clamp(0.0, w), bottom.clamp(0.0, h)];
        if cut[0] >= cut[2] || cut[1] >= cut[3] {
            findings.empty.push(place());
            return Ok(None);
        }
        if cut.iter().zip(self.corners).any(|(cut, edge)| (cut - edge).abs() >= SLIGHT) {
            findings.clipped.push(place());
        }
        self.corners = cut;
        Ok(Some(self))
    }
}

impl fmt::Display for BoxFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voc => "Pascal VOC",
            Self::Coco => "COCO",
            Self::Yolo => "YOLO",
        })
    }
}

/// The text of `file`.
fn text_of(file: &Path) -> Result<String, Error> {
    let length = fs::metadata(file).map_err(Error::io("read", file))?.len();
    let name = || file.display().to_string();
    if length > LONGEST {
        return Err(Error::malformed(
            name(),
            format!("{length} bytes; at most {LONGEST} are read"),
        ));
    }
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        at(file, line, "the text is not UTF-8")
    })
}

/// The error in a line of `file`.
fn at(file: &Path, line: usize, reason: impl fmt::Display) -> Error {
    Error::malformed(file.display().to_string(), format!("line {line}: {reason}"))
}

/// Whether `name` means a file below a folder, whatever that is.
fn inside(name: &str) -> Result<(), String> {
    let usual = |part: Component<'_>| matches!(part, Component::Normal(_));
    if name.is_empty() || name.contains('\\') || !Path::new(name).components().all(usual) {
        return Err(format!("`{name}` is no name of a file below the set's folder"));
    }
    Ok(())
}

/// Width and height of the image in `file` as it stands upright.
fn size_of(file: &Path) -> Result<[usize; 2], Error> {
    let wrong = |error: image::ImageError| Error::decode(file.display().to_string(), error);
    let reader = ImageReader::open(file).map_err(Error::io("read", file))?;
    let reader = reader.with_guessed_format().map_err(Error::io("read", file))?;
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    let turned = matches!(
        decoder.orientation().unwrap_or(Orientation::NoTransforms),
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let [width, height] = if turned { [height, width] } else { [width, height] };
    Ok([width as usize, height as usize])
}

/// Writes `text`, with the folders that it needs.
fn save(file: &Path, text: &str) -> Result<(), Error> {
    folder_of(file)?;
    fs::write(file, text).map_err(Error::io("write", file))
}

/// Copies an image, with the folders that it needs.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    folder_of(to)?;
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    Ok(())
}

fn folder_of(file: &Path) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))
}

/// What VOC, COCO and YOLO call a part.
fn part_word(name: &str) -> &str {
    if name == find::VALIDATION { "val" } else { name }
}

#[cfg(test)]
mod tests;
