//! Pascal VOC: an XML file per image.
//!
//! Everingham et al. *The Pascal Visual Object Classes (VOC) Challenge.* IJCV 2010; its development kit describes the files.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::xml::{self, Element, Fault};
use super::{
    BoxFormat, BoxImage, BoxPart, BoxSet, Findings, LARGEST, MarkedBox, at, copy, find, inside,
    part_word, save, text_of,
};
use crate::Error;
use crate::decode::EXTENSIONS;
use crate::natural::natural;

/// Names of the classes in order, a line each. VOC's own sets have no such file; those that kiln writes do.
const CLASSES: &str = "classes.txt";

/// An image as its file describes it, classes by name.
pub(super) struct Annotation {
    pub name: Option<String>,
    pub size: [usize; 2],
    pub objects: Vec<(usize, String, MarkedBox)>,
}

pub(super) fn read(path: &Path) -> Result<BoxSet, Error> {
    let root = find::voc(path)?.unwrap_or_else(|| path.to_owned());
    let parts = parts(&root)?;
    let mut findings = Findings::default();
    let mut classes = match root.join(CLASSES) {
        file if file.is_file() => lines(&file)?.into_iter().map(|(_, name)| name).collect(),
        _ => Vec::new(),
    };
    let given = !classes.is_empty();
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for (name, files) in parts {
        let mut images = Vec::new();
        for file in files {
            let annotation = parse(&text_of(&file)?)
                .map_err(|Fault { line, reason }| at(&file, line, reason))?;
            let called = annotation.name.clone().filter(|name| inside(name).is_ok());
            let Some((image, called)) = image_of(&root, &file, called) else {
                let called = annotation.name.unwrap_or_else(|| find::stem(&file));
                findings.missing.push(format!("{called} of {}", file.display()));
                continue;
            };
            for (line, class, _) in &annotation.objects {
                if given && !classes.contains(class) {
                    let reason = format!("`{class}` is no class of {CLASSES}");
                    return Err(at(&file, *line, reason));
                }
                names.insert(class.clone());
            }
            images.push((file, image, called, annotation));
        }
        read.push((name, images));
    }
    if !given {
        classes = names.into_iter().collect();
        classes.sort_by(|a, b| natural(a, b));
    }
    let number: HashMap<&str, usize> =
        classes.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut parts = Vec::new();
    for (name, images) in read {
        let mut part = BoxPart { name, images: Vec::new() };
        for (file, image, name, Annotation { size, objects, .. }) in images {
            let mut boxes = Vec::new();
            for (line, class, one) in objects {
                let one = MarkedBox { class: number[class.as_str()], ..one };
                let place = || format!("{} line {line}", file.display());
                let one = one.within(size, &mut findings, place);
                boxes.extend(one.map_err(|reason| at(&file, line, reason))?);
            }
            let [width, height] = size;
            part.images.push(BoxImage { file: image, name, width, height, boxes });
        }
        parts.push(part);
    }
    Ok(BoxSet { format: BoxFormat::Voc, classes, parts, findings })
}

/// Each part with its files: as `ImageSets/Main` says, or all of them.
fn parts(root: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, Error> {
    let folder = root.join("Annotations");
    let lists = root.join("ImageSets/Main");
    let mut parts = Vec::new();
    if lists.is_dir() {
        for list in find::entries(&lists)? {
            // `trainval` is of other lists, and `dog_train` tells who has a dog.
            let name = find::part(&find::stem(&list));
            if find::ending(&list) != "txt" || find::rank(&name) == 3 {
                continue;
            }
            let mut files = Vec::new();
            for (line, name) in lines(&list)? {
                inside(&name).map_err(|reason| at(&list, line, reason))?;
                let file = folder.join(format!("{name}.xml"));
                if !file.is_file() {
                    return Err(at(&list, line, format!("there is no {}", file.display())));
                }
                files.push(file);
            }
            parts.push((name, files));
        }
    }
    if parts.is_empty() {
        let mut files = find::entries(&folder)?;
        files.retain(|file| find::ending(file) == "xml");
        parts.push(("train".to_owned(), files));
    }
    Ok(parts)
}

/// The lines of a list that say something.
fn lines(file: &Path) -> Result<Vec<(usize, String)>, Error> {
    let text = text_of(file)?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    Ok(lines.filter(|(_, line)| !line.is_empty()).collect())
}

/// The image of the annotation in `file`, and what it is called: as the file says, else as itself.
fn image_of(root: &Path, file: &Path, called: Option<String>) -> Option<(PathBuf, String)> {
    let folder = root.join("JPEGImages");
    let stem = find::stem(file);
    let own = EXTENSIONS.iter().flat_map(|ending| {
        [format!("{stem}.{ending}"), format!("{stem}.{}", ending.to_uppercase())]
    });
    let found = called.into_iter().chain(own).find(|name| folder.join(name).is_file())?;
    Some((folder.join(&found), found))
}

/// What the text of a file says.
pub(super) fn parse(text: &str) -> Result<Annotation, Fault> {
    let root = xml::parse(text)?;
    if root.name != "annotation" {
        return xml::fault(root.line, format!("expected <annotation>, found <{}>", root.name));
    }
    let size = root.needed("size")?;
    let side = |name: &str| -> Result<usize, Fault> {
        let side = size.needed(name)?;
        match side.text.parse() {
            Ok(pixels) if (1..=LARGEST).contains(&pixels) => Ok(pixels),
            _ => xml::fault(side.line, format!("<{name}> must be from 1 to {LARGEST} pixels")),
        }
    };
    let size = [side("width")?, side("height")?];
    let objects = root.children.iter().filter(|child| child.name == "object").map(object);
    Ok(Annotation {
        name: root.child("filename").map(|name| name.text.clone()),
        size,
        objects: objects.collect::<Result<_, _>>()?,
    })
}

fn object(object: &Element) -> Result<(usize, String, MarkedBox), Fault> {
    let name = object.needed("name")?;
    if name.text.is_empty() {
        return xml::fault(name.line, "<name> of an object is empty");
    }
    let bounds = object.needed("bndbox")?;
    let edge = |name: &str| bounds.needed(name)?.number();
    let corners = [edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?];
    let flag = |name: &str| object.child(name).is_some_and(|flag| flag.text == "1");
    let (difficult, truncated) = (flag("difficult"), flag("truncated"));
    let one = MarkedBox { difficult, truncated, ..MarkedBox::new(0, corners) };
    Ok((bounds.line, name.text.clone(), one))
}

pub(super) fn write(set: &BoxSet, out: &Path, done: &mut dyn FnMut()) -> Result<(), Error> {
    save(&out.join(CLASSES), &listed(set.classes.iter().map(String::as_str)))?;
    for part in &set.parts {
        let list = out.join("ImageSets/Main").join(format!("{}.txt", part_word(&part.name)));
        let stems: Vec<String> = part.images.iter().map(|image| stem(&image.name)).collect();
        save(&list, &listed(stems.iter().map(String::as_str)))?;
        for (image, stem) in part.images.iter().zip(&stems) {
            copy(&image.file, &out.join("JPEGImages").join(&image.name))?;
            let file = out.join("Annotations").join(format!("{stem}.xml"));
            save(&file, &text(image, &set.classes))?;
            done();
        }
    }
    Ok(())
}

/// The image's name without its ending, folders and all.
fn stem(name: &str) -> String {
    Path::new(name).with_extension("").display().to_string()
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{name}\n")).collect()
}

fn text(image: &BoxImage, classes: &[String]) -> String {
    let BoxImage { name, width, height, boxes, .. } = image;
    let mut text = format!(
        "<annotation>\n\t<filename>{}</filename>\n\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\
         \t\t<depth>3</depth>\n\t</size>\n",
        xml::escape(name)
    );
    for one in boxes.iter().filter(|one| !one.crowd) {
        let [left, top, right, bottom] = one.corners;
        let (truncated, difficult) = (u8::from(one.truncated), u8::from(one.difficult));
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "\t<object>\n\t\t<name>{}</name>\n\t\t<truncated>{truncated}</truncated>\n\
             \t\t<difficult>{difficult}</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{left}</xmin>\n\t\t\t<ymin>{top}</ymin>\n\
             \t\t\t<xmax>{right}</xmax>\n\t\t\t<ymax>{bottom}</ymax>\n\t\t</bndbox>\n\t</object>\n",
            xml::escape(&classes[one.class])
        );
    }
    text + "</annotation>\n"
}
