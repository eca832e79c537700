//! COCO: a JSON file per part, with images, classes and boxes by numbers that may have gaps.
//!
//! Lin et al. *Microsoft COCO: Common Objects in Context.* ECCV 2014. <https://cocodataset.org/#format-data>

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    BoxFormat, BoxImage, BoxPart, BoxSet, Findings, LARGEST, MarkedBox, at, copy, find, inside,
    part_word, save, text_of,
};
use crate::Error;

/// What kiln reads of a file; what else is in it is passed over.
#[derive(Deserialize)]
pub(super) struct Document {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
    #[serde(default)]
    difficult: u8,
    #[serde(default)]
    truncated: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// What is wrong, and where: the list and the place in it.
pub(super) type Fault = (&'static str, usize, String);

impl Document {
    /// Reads `text` and checks that its numbers name something.
    ///
    /// # Errors
    ///
    /// The line and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let document: Self =
            serde_json::from_str(text).map_err(|error| (error.line().max(1), error.to_string()))?;
        document.check().map_err(|(list, at, reason)| (line_of(text, list, at), reason))?;
        Ok(document)
    }

    fn check(&self) -> Result<(), Fault> {
        let mut categories = HashMap::new();
        for (at, category) in self.categories.iter().enumerate() {
            if categories.insert(category.id, at).is_some() {
                return Err((
                    "categories",
                    at,
                    format!("two categories have the id {}", category.id),
                ));
            }
        }
        let mut images = HashMap::new();
        for (at, image) in self.images.iter().enumerate() {
            let fault = |reason| Err(("images", at, reason));
            if images.insert(image.id, at).is_some() {
                return fault(format!("two images have the id {}", image.id));
            }
            if let Err(reason) = inside(&image.file_name) {
                return fault(reason);
            }
            let sides = 1..=LARGEST;
            if !sides.contains(&image.width) || !sides.contains(&image.height) {
                return fault(format!(
                    "width and height must be from 1 to {LARGEST}, found {} and {}",
                    image.width, image.height
                ));
            }
        }
        for (at, one) in self.annotations.iter().enumerate() {
            let fault = |reason| Err(("annotations", at, reason));
            if !images.contains_key(&one.image_id) {
                return fault(format!("there is no image with the id {}", one.image_id));
            }
            if !categories.contains_key(&one.category_id) {
                return fault(format!("there is no category with the id {}", one.category_id));
            }
            let [_, _, width, height] = one.bbox;
            if width < 0.0 || height < 0.0 {
                return fault(format!("a box of {width}×{height}; sides can't be below 0"));
            }
        }
        Ok(())
    }
}

/// The line of element number `at` of the list called `list` at the top of `text`, which is JSON.
pub(super) fn line_of(text: &str, list: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut position, mut found, mut seen) = (0_usize, 0, false, 0);
    let mut key = None;
    while position < bytes.len() {
        match bytes[position] {
            b'"' => {
                let start = position + 1;
                position = start;
                while position < bytes.len() && bytes[position] != b'"' {
                    position += if bytes[position] == b'\\' { 2 } else { 1 };
                }
                if depth == 1 {
                    key = text.get(start..position);
                }
            }
            b'{' | b'[' => {
                if found && depth == 2 {
                    if seen == at {
                        break;
                    }
                    seen += 1;
                }
                found |= depth == 1 && bytes[position] == b'[' && key == Some(list);
                depth += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                found &= depth > 1;
            }
            _ => {}
        }
        position += 1;
    }
    1 + bytes[..position.min(bytes.len())].iter().filter(|&&byte| byte == b'\n').count()
}

pub(super) fn read(path: &Path) -> Result<BoxSet, Error> {
    let (files, root) = match path.is_file() {
        true => (vec![path.to_owned()], path.parent().unwrap_or(Path::new("."))),
        false => (find::json(path)?, path),
    };
    let mut documents = Vec::new();
    for file in files {
        let text = text_of(&file)?;
        let document = Document::parse(&text).map_err(|(line, reason)| at(&file, line, reason))?;
        documents.push((file, text, document));
    }
    // Several files of one set may have their categories in another order, but not by other numbers.
    let mut names = BTreeMap::new();
    for (file, text, document) in &documents {
        for (place, category) in document.categories.iter().enumerate() {
            let known = names.entry(category.id).or_insert_with(|| category.name.clone());
            if *known != category.name {
                let (id, name) = (category.id, &category.name);
                let reason =
                    format!("category {id} is `{name}` here and `{known}` in another file");
                return Err(at(file, line_of(text, "categories", place), reason));
            }
        }
    }
    let number: HashMap<u64, usize> = names.keys().enumerate().map(|(at, &id)| (id, at)).collect();
    let mut findings = Findings::default();
    let mut parts: Vec<BoxPart> = Vec::new();
    for (file, text, document) in documents {
        let stem = find::stem(&file);
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
        let folder = find::part(&folder.to_string_lossy());
        let name = if find::rank(&folder) < 3 { folder } else { find::part_in(&stem) };
        let images = place(document, &number, (&file, &text), root, &name, &mut findings)?;
        match parts.iter_mut().find(|part| part.name == name) {
            Some(part) => part.images.extend(images),
            None => parts.push(BoxPart { name, images }),
        }
    }
    let classes = names.into_values().collect();
    Ok(BoxSet { format: BoxFormat::Coco, classes, parts, findings })
}

/// The images of a file that are on disk, with their boxes.
fn place(
    document: Document,
    number: &HashMap<u64, usize>,
    (file, text): (&Path, &str),
    root: &Path,
    part: &str,
    findings: &mut Findings,
) -> Result<Vec<BoxImage>, Error> {
    let folders = folders(file, root, part);
    let mut images = Vec::new();
    let mut at_id = HashMap::new();
    let mut sorted: Vec<(usize, Annotation)> =
        document.annotations.into_iter().enumerate().collect();
    for Image { id, file_name: name, width, height } in document.images {
        let here = folders.iter().map(|folder| folder.join(&name)).find(|image| image.is_file());
        let Some(here) = here else {
            findings.missing.push(format!("{name} of {}", file.display()));
            continue;
        };
        at_id.insert(id, images.len());
        images.push(BoxImage { file: here, name, width, height, boxes: Vec::new() });
    }
    sorted.retain(|(_, one)| at_id.contains_key(&one.image_id));
    for (place, one) in sorted {
        let image: &mut BoxImage = &mut images[at_id[&one.image_id]];
        let [left, top, width, height] = one.bbox;
        let corners = [left, top, left + width, top + height];
        let marked = MarkedBox {
            crowd: one.iscrowd == 1,
            difficult: one.difficult == 1,
            truncated: one.truncated == 1,
            ..MarkedBox::new(number[&one.category_id], corners)
        };
        let line = || line_of(text, "annotations", place);
        let named = || format!("{} line {}", file.display(), line());
        let marked = marked.within([image.width, image.height], findings, named);
        image.boxes.extend(marked.map_err(|reason| at(file, line(), reason))?);
    }
    Ok(images)
}

/// Where the images of a part may be, likeliest first.
fn folders(file: &Path, root: &Path, part: &str) -> Vec<PathBuf> {
    let stem = find::stem(file);
    let own = stem.strip_prefix("instances_").unwrap_or(&stem).to_owned();
    let mut words = vec![own, part.to_owned(), part_word(part).to_owned(), "valid".to_owned()];
    words.dedup();
    let beside = file.parent().unwrap_or(root);
    // COCO's own JSON files lie beside the folders of images, in `annotations`.
    let roots = [root, beside, beside.parent().unwrap_or(beside)];
    let mut folders = Vec::new();
    for root in roots {
        for word in &words {
            folders.push(root.join("images").join(word));
            folders.push(root.join(word));
        }
        folders.push(root.join("images"));
        folders.push(root.to_owned());
    }
    folders
}

pub(super) fn write(set: &BoxSet, out: &Path, done: &mut dyn FnMut()) -> Result<(), Error> {
    let categories: Vec<Value> =
        (1..).zip(&set.classes).map(|(id, name)| json!({ "id": id, "name": name })).collect();
    for part in &set.parts {
        let word = part_word(&part.name);
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (id, image) in (1..).zip(&part.images) {
            let BoxImage { file, name, width, height, boxes } = image;
            images.push(json!({ "id": id, "file_name": name, "width": width, "height": height }));
            for one in boxes {
                let [left, top, right, bottom] = one.corners;
                let (width, height) = (right - left, bottom - top);
                annotations.push(json!({
                    "id": annotations.len() + 1,
                    "image_id": id,
                    "category_id": one.class + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": u8::from(one.crowd),
                    "difficult": u8::from(one.difficult),
                    "truncated": u8::from(one.truncated),
                }));
            }
            copy(file, &out.join("images").join(word).join(name))?;
            done();
        }
        // A line for each, so that an error can name one.
        let lines = |list: &[Value]| {
            let lines: Vec<String> = list.iter().map(|value| format!("  {value}")).collect();
            lines.join(",\n")
        };
        let text = format!(
            "{{\"categories\": [\n{}\n],\n\"images\": [\n{}\n],\n\"annotations\": [\n{}\n]}}\n",
            lines(&categories),
            lines(&images),
            lines(&annotations)
        );
        save(&out.join("annotations").join(format!("instances_{word}.json")), &text)?;
    }
    Ok(())
}
