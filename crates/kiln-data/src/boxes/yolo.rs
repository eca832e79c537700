//! YOLO: a text file per image, with a class and a box as parts of the image in each line, and a YAML file for the set.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use super::yaml::{self, Value};
use super::{
    BoxFormat, BoxImage, BoxPart, BoxSet, Findings, MarkedBox, at, copy, find, inside, part_word,
    save, size_of, text_of,
};
use crate::Error;
use crate::decode::is_image_name;

const KEYS: [&str; 7] = ["path", "train", "val", "valid", "test", "names", "nc"];
/// Digits behind the point. Fewer would move edges, and more are those of rounding.
const DIGITS: usize = 12;
/// How far off an edge is at most that was a number of hundredths before it was written, in images.
const ROUNDING: f64 = 2e-12;

/// What the YAML file says: the classes, the folder that paths start from, and each part's paths with their line.
pub(super) struct Description {
    pub classes: Vec<String>,
    pub path: Option<String>,
    pub parts: Vec<(usize, String, Vec<String>)>,
}

/// What the text of a YAML file says.
///
/// # Errors
///
/// The line and what is wrong there.
pub(super) fn describe(text: &str) -> Result<Description, yaml::Fault> {
    let (mut classes, mut count, mut path) = (None, None, None);
    let mut parts: Vec<(usize, String, Vec<String>)> = Vec::new();
    for (line, key, value) in yaml::parse(text, &KEYS)? {
        let kind = |kind: &str| Err((line, format!("`{key}` must be {kind}")));
        match (key.as_str(), value) {
            ("names", Value::List(names)) => classes = Some((line, names)),
            ("names", Value::Table(names)) => {
                let mut list = vec![None; names.len()];
                for (number, name) in names {
                    let slot = number.parse().ok().and_then(|at: usize| list.get_mut(at));
                    match slot {
                        Some(slot @ None) => *slot = Some(name),
                        _ => {
                            let reason = format!(
                                "`names` must have the numbers from 0 on, each once, found `{number}`"
                            );
                            return Err((line, reason));
                        }
                    }
                }
                classes = Some((line, list.into_iter().flatten().collect()));
            }
            ("names", Value::Word(_)) => return kind("a list of names"),
            ("nc", Value::Word(number)) => match number.parse::<usize>() {
                Ok(number) => count = Some((line, number)),
                Err(_) => return kind("a whole number"),
            },
            ("path", Value::Word(word)) => path = Some(word),
            ("train" | "val" | "valid" | "test", Value::Word(word)) => {
                // A part without images is named too, and is none.
                if !word.is_empty() && word != "null" && word != "~" {
                    parts.push((line, find::part(&key), vec![word]));
                }
            }
            ("train" | "val" | "valid" | "test", Value::List(words)) => {
                if !words.is_empty() {
                    parts.push((line, find::part(&key), words));
                }
            }
            _ => return kind("a plain value"),
        }
    }
    let Some((line, classes)) = classes else {
        return Err((1, "there are no `names` of classes".to_owned()));
    };
    if classes.is_empty() || classes.iter().any(String::is_empty) {
        return Err((line, "`names` must be a name for each class".to_owned()));
    }
    match count {
        Some((line, count)) if count != classes.len() => {
            Err((line, format!("nc is {count}, and there are {} names", classes.len())))
        }
        _ => Ok(Description { classes, path, parts }),
    }
}

pub(super) fn read(path: &Path) -> Result<BoxSet, Error> {
    let file = match path.is_file() {
        true => path.to_owned(),
        false => find::description(path)?
            .ok_or_else(|| Error::boxes(path, "there is no .yaml file in it"))?,
    };
    let text = text_of(&file)?;
    let Description { classes, path, parts } =
        describe(&text).map_err(|(line, reason)| at(&file, line, reason))?;
    let root = file.parent().unwrap_or(Path::new("."));
    let mut findings = Findings::default();
    let mut read = Vec::new();
    for (line, name, words) in parts {
        let mut part = BoxPart { name, images: Vec::new() };
        for word in words {
            let place = place(root, path.as_deref(), &word);
            let Some(place) = place else {
                return Err(at(&file, line, format!("there is no `{word}` to be found")));
            };
            for (image, name) in images(&place, &mut findings)? {
                part.images.push(annotated(image, name, classes.len(), &mut findings)?);
            }
        }
        read.push(part);
    }
    Ok(BoxSet { format: BoxFormat::Yolo, classes, parts: read, findings })
}

/// Where the images are that the description calls `word`: below `path`, below its own folder, or, as some exports have it,
/// there with the leading `..` taken away.
fn place(root: &Path, path: Option<&str>, word: &str) -> Option<PathBuf> {
    let word = Path::new(word);
    let bare: PathBuf =
        word.components().skip_while(|part| matches!(part, Component::ParentDir)).collect();
    let below = path.map(|path| root.join(path));
    let roots = below.iter().map(PathBuf::as_path).chain([root]);
    let candidates = roots.flat_map(|root| [root.join(word), root.join(&bare)]);
    candidates.into_iter().find(|place| place.exists())
}

/// The images of a folder, or those that a list names, with their names.
fn images(place: &Path, findings: &mut Findings) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut images = Vec::new();
    if place.is_dir() {
        let mut folders = vec![(place.to_owned(), String::new())];
        while let Some((folder, before)) = folders.pop() {
            for entry in find::entries(&folder)? {
                let name = entry.file_name().unwrap_or_default().to_string_lossy();
                let name = format!("{before}{name}");
                if entry.is_dir() && !entry.is_symlink() {
                    folders.push((entry, format!("{name}/")));
                } else if is_image_name(&entry) && entry.is_file() {
                    images.push((entry, name));
                }
            }
        }
        return Ok(images);
    }
    for (number, line) in text_of(place)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let file = place.parent().unwrap_or(Path::new(".")).join(line);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.is_file() {
            images.push((file, name));
        } else {
            findings.missing.push(format!("{line} of {} line {}", place.display(), number + 1));
        }
    }
    Ok(images)
}

/// The image with the boxes of its text file; one without a file has none.
fn annotated(
    image: PathBuf,
    name: String,
    classes: usize,
    findings: &mut Findings,
) -> Result<BoxImage, Error> {
    let [width, height] = size_of(&image)?;
    let file = labels(&image);
    let mut boxes = Vec::new();
    if file.is_file() {
        let text = text_of(&file)?;
        let lines = parse(&text, [width, height], classes);
        for (line, one) in lines.map_err(|(line, reason)| at(&file, line, reason))? {
            let place = || format!("{} line {line}", file.display());
            let one = one.within([width, height], findings, place);
            boxes.extend(one.map_err(|reason| at(&file, line, reason))?);
        }
    }
    Ok(BoxImage { file: image, name, width, height, boxes })
}

/// The text file of an image: the last folder `images` on the way to it becomes `labels`.
fn labels(image: &Path) -> PathBuf {
    let parts: Vec<Component<'_>> = image.components().collect();
    let at = parts.iter().rposition(|part| part.as_os_str() == "images");
    let moved = parts.iter().enumerate().map(|(place, part)| match Some(place) == at {
        true => Path::new("labels").as_os_str(),
        false => part.as_os_str(),
    });
    moved.collect::<PathBuf>().with_extension("txt")
}

/// The boxes of a text file, each with its line.
///
/// # Errors
///
/// The line and what is wrong there.
pub(super) fn parse(
    text: &str,
    [width, height]: [usize; 2],
    classes: usize,
) -> Result<Vec<(usize, MarkedBox)>, (usize, String)> {
    let mut boxes = Vec::new();
    for (line, content) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let words: Vec<&str> = content.split_whitespace().collect();
        let [class, sides @ ..] = &words[..] else { continue };
        let Some(class) = class.parse().ok().filter(|&class: &usize| class < classes) else {
            let class: String = class.chars().take(40).collect();
            let reason = format!(
                "the class must be from 0 to {}, found `{class}`",
                classes.saturating_sub(1)
            );
            return Err((line, reason));
        };
        let numbers: Option<Vec<f64>> = sides
            .iter()
            .map(|word| word.parse().ok().filter(|number: &f64| number.is_finite()))
            .collect();
        let Some(&[x, y, w, h]) = numbers.as_deref() else {
            let found = sides.len();
            return Err((line, format!("expected 4 numbers after the class, found {found} words")));
        };
        // Fractions of an image can't say exactly where pixels meet, but closely.
        let edge = |middle: f64, side: f64, whole: usize| {
            let whole = whole as f64;
            [middle - side / 2.0, middle + side / 2.0].map(|part| {
                let edge = part * whole;
                let near = (100.0 * edge).round() / 100.0;
                if (edge - near).abs() <= ROUNDING * whole { near } else { edge }
            })
        };
        if w < 0.0 || h < 0.0 {
            return Err((line, format!("a box of {w}×{h}; sides can't be below 0")));
        }
        let ([left, right], [top, bottom]) = (edge(x, w, width), edge(y, h, height));
        boxes.push((line, MarkedBox::new(class, [left, top, right, bottom])));
    }
    Ok(boxes)
}

pub(super) fn write(set: &BoxSet, out: &Path, done: &mut dyn FnMut()) -> Result<(), Error> {
    let mut description = String::from("path: .\n");
    for part in &set.parts {
        let word = part_word(&part.name);
        // Writing to a string can't fail.
        let _ = writeln!(description, "{word}: images/{word}");
        for image in &part.images {
            inside(&image.name).map_err(|reason| Error::sample(&*image.name, reason))?;
            copy(&image.file, &out.join("images").join(word).join(&image.name))?;
            let file = out.join("labels").join(word).join(&image.name).with_extension("txt");
            save(&file, &text(image))?;
            done();
        }
    }
    let _ = writeln!(description, "nc: {}\nnames:", set.classes.len());
    for (number, name) in set.classes.iter().enumerate() {
        let _ = writeln!(description, "  {number}: {}", yaml::quoted(name));
    }
    save(&out.join("data.yaml"), &description)
}

pub(super) fn text(image: &BoxImage) -> String {
    let (width, height) = (image.width as f64, image.height as f64);
    let lines = image.boxes.iter().filter(|one| !one.crowd).map(|one| {
        let [left, top, right, bottom] = one.corners;
        let numbers = [
            (left + right) / 2.0 / width,
            (top + bottom) / 2.0 / height,
            (right - left) / width,
            (bottom - top) / height,
        ];
        let [x, y, w, h] = numbers.map(|number| {
            let text = format!("{number:.DIGITS$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        });
        format!("{} {x} {y} {w} {h}\n", one.class)
    });
    lines.collect()
}
