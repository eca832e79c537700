//! What `kiln predict --out` writes: a table, the JSON object, and sheets of the images with what was seen.

use std::fs;
use std::io;
use std::path::Path;

use image::{Rgb, RgbImage};
use kiln::data::decode;
use kiln::viz::{Card, contact_sheet, units};
use serde_json::Value;

use super::Seen;
use crate::errors::Failure;
use crate::target::{self, Force};
use crate::verbs::thumbnail::thumbnail;

/// The files beside the sheets.
const TABLES: [&str; 2] = ["predictions.csv", "predictions.json"];
/// Cards on a contact sheet: ten rows of six.
const CARDS: usize = 60;

/// Refuses a folder that [`write`] can't use, or that has files which it would replace, unless `force` is given.
pub fn check(folder: &Path, force: Force) -> Result<(), Failure> {
    target::folder(folder)?;
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let ours = |name: &str| TABLES.contains(&name) || is_sheet(name);
    names
        .into_iter()
        .filter(|name| ours(&name.to_string_lossy()))
        .try_for_each(|name| force.file(&folder.join(name)))
}

/// Writes `predictions.csv`, `predictions.json` and the contact sheets into `folder`, in the place of earlier ones.
pub fn write(folder: &Path, seen: &[Seen], object: &Value) -> Result<(), Failure> {
    let failed = |path: &Path, error: io::Error| Failure::file(path, &error);
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, text) in TABLES.into_iter().zip([table(seen), format!("{object:#}\n")]) {
        kiln::train::write_atomically(&folder.join(name), text.as_bytes())?;
    }

    // Of an earlier call with more images, sheets would stay that belong to nothing.
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))?.flatten() {
        if is_sheet(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
        }
    }
    let sheets = seen.chunks(CARDS).count();
    for (number, page) in (1..).zip(seen.chunks(CARDS)) {
        let cards: Vec<Card> = page.iter().map(card).collect();
        let (name, title) = match sheets {
            1 => ("predictions.png".to_owned(), "Predictions".to_owned()),
            _ => {
                (format!("predictions-{number}.png"), format!("Predictions, {number} of {sheets}"))
            }
        };
        contact_sheet(&title, &cards).save(&folder.join(name))?;
    }
    Ok(())
}

/// Whether [`write`] gives this name to a contact sheet.
fn is_sheet(name: &str) -> bool {
    let Some(middle) = name.strip_prefix("predictions").and_then(|rest| rest.strip_suffix(".png"))
    else {
        return false;
    };
    let number = middle.strip_prefix('-');
    middle.is_empty()
        || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A line per image and class, the likeliest first; one line for an image without any, with the error if there is one.
fn table(seen: &[Seen]) -> String {
    let mut text = String::from("path,rank,class,name,score,error\n");
    for (path, result) in seen {
        let path = quoted(&path.display().to_string());
        match result {
            // Nothing as sure as --conf asks for.
            Ok(predictions) if predictions.is_empty() => text += &format!("{path},,,,,\n"),
            Ok(predictions) => {
                for (rank, seen) in (1..).zip(predictions) {
                    let name = quoted(&seen.name);
                    text += &format!("{path},{rank},{},{name},{},\n", seen.class, seen.score);
                }
            }
            Err(reason) => text += &format!("{path},,,,,{}\n", quoted(reason)),
        }
    }
    text
}

/// A field of a table, in quotes where it needs them (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The image with its likeliest class. One that could not be read has an empty card, so that every image is on a sheet.
fn card((path, result): &Seen) -> Card {
    let note = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let best = result.as_ref().map(|predictions| predictions.first());
    let caption = match best {
        Ok(Some(best)) => format!("{} · {}", best.name, units::percent(best.score, 2)),
        Ok(None) => "–".to_owned(),
        Err(_) => "unreadable".to_owned(),
    };
    let image = result.as_ref().ok().and_then(|_| decode(path).ok());
    let empty = || RgbImage::from_pixel(1, 1, Rgb([128; 3]));
    let image = image.map_or_else(empty, |pixels| thumbnail(&pixels));
    Card { note, ..Card::new(image, caption) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln::train::Prediction;

    #[test]
    fn a_table_quotes_what_would_break_it() {
        let seen = |class, name: &str, score| Prediction { class, name: name.into(), score };
        let text = table(&[
            ("a,b.png".into(), Ok(vec![seen(3, "cat", 0.75), seen(1, "say \"x\"", 0.25)])),
            ("c.png".into(), Err("cut, at half".into())),
            ("d.png".into(), Ok(Vec::new())),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "path,rank,class,name,score,error",
                "\"a,b.png\",1,3,cat,0.75,",
                "\"a,b.png\",2,1,\"say \"\"x\"\"\",0.25,",
                "c.png,,,,,\"cut, at half\"",
                "d.png,,,,,",
            ]
        );
    }

    #[test]
    fn only_sheets_of_its_own_are_replaced() {
        assert!(is_sheet("predictions.png") && is_sheet("predictions-12.png"));
        for other in
            ["predictions-.png", "predictions-a.png", "my-predictions.png", "predictions.json"]
        {
            assert!(!is_sheet(other), "{other}");
        }
    }
}
