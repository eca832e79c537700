//! Image files that a table names: CSV with a header, or JSON with an object per line.
//!
//! ```text
//! image,label,split          {"image": "a/1.jpg", "label": "cat", "split": "train"}
//! a/1.jpg,cat,train          {"image": "a/2.jpg", "label": "dog"}
//! ```
//!
//! The column of the image is called `image`, `file`, `filename`, `filepath` or `path`, that of its class `label`, `class`,
//! `category` or `target`, and, where there is one, that of its part `split`, `set`, `subset` or `part`. A label may be the
//! name of a class or its number. Paths start at the table's folder.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

/// What the columns of a table are called; none where they have a usual name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Columns {
    pub image: Option<String>,
    pub label: Option<String>,
    pub split: Option<String>,
}

/// A line of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub image: String,
    pub label: String,
    pub split: Option<String>,
}

const IMAGE: &[&str] =
    &["image", "file", "filename", "file_name", "filepath", "image_path", "path"];
const LABEL: &[&str] = &["label", "class", "category", "target"];
const SPLIT: &[&str] = &["split", "set", "subset", "part"];

/// No larger table is read, in bytes.
const MAX_TABLE: u64 = 1 << 30;

/// Whether a file is a table, by its name.
pub(crate) fn is_table(path: &Path) -> bool {
    is_csv(path) || is_json_lines(path)
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    endings.contains(&ending.as_str())
}

fn is_csv(path: &Path) -> bool {
    ends_with(path, &["csv", "tsv"])
}

fn is_json_lines(path: &Path) -> bool {
    ends_with(path, &["jsonl", "ndjson"])
}

/// The rows of the table at `path`, blank ones left out.
pub(crate) fn read(path: &Path, columns: &Columns) -> Result<Vec<Row>, Error> {
    let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
    let shown = path.display().to_string();
    if length > MAX_TABLE {
        let reason = format!("{length} bytes; at most {MAX_TABLE} are read");
        return Err(Error::malformed(shown, reason));
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::malformed(&shown, format!("byte {at} is not UTF-8: save it as UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let rows = match is_json_lines(path) {
        true => json_lines(text, columns),
        false => csv(text, columns, ends_with(path, &["tsv"])),
    };
    let rows = rows.map_err(|reason| Error::malformed(&shown, reason))?;
    if rows.is_empty() {
        return Err(Error::malformed(shown, "it names no image"));
    }
    Ok(rows)
}

fn csv(text: &str, columns: &Columns, tabs: bool) -> Result<Vec<Row>, String> {
    // Spreadsheets of half of Europe write semicolons.
    let head = text.lines().next().unwrap_or_default();
    let separator = match (tabs, head.contains(','), head.contains(';')) {
        (true, ..) => b'\t',
        (_, false, true) => b';',
        _ => b',',
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let names: Vec<String> =
        reader.headers().map_err(|error| error.to_string())?.iter().map(Into::into).collect();
    let find = |own: &Option<String>, usual: &[&str]| match own {
        Some(own) => names.iter().position(|name| name == own),
        None => names.iter().position(|name| usual.contains(&name.to_lowercase().as_str())),
    };
    let missing = |what: &str, own: &Option<String>, usual: &[&str]| {
        let wanted = own.clone().unwrap_or_else(|| usual.join(", "));
        format!("no column for the {what} ({wanted}); its first line names {}", names.join(", "))
    };
    let image =
        find(&columns.image, IMAGE).ok_or_else(|| missing("image", &columns.image, IMAGE))?;
    let label =
        find(&columns.label, LABEL).ok_or_else(|| missing("class", &columns.label, LABEL))?;
    let split = find(&columns.split, SPLIT);
    if columns.split.is_some() && split.is_none() {
        return Err(missing("part", &columns.split, SPLIT));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = |column: usize| record.get(column).unwrap_or_default().to_owned();
        let row = Row { image: text(image), label: text(label), split: split.map(text) };
        rows.push(row.checked(line)?);
    }
    Ok(rows)
}

fn json_lines(text: &str, columns: &Columns) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("line {line}: {error}"))?;
        let find = |own: &Option<String>, usual: &[&str]| match own {
            Some(own) => object.get(own),
            None => usual.iter().find_map(|name| object.get(*name)),
        };
        let word = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let words = |own, usual| find(own, usual).map(word);
        let row = Row {
            image: words(&columns.image, IMAGE).unwrap_or_default(),
            label: words(&columns.label, LABEL).unwrap_or_default(),
            split: words(&columns.split, SPLIT),
        };
        rows.push(row.checked(line)?);
    }
    Ok(rows)
}

impl Row {
    fn checked(self, line: u64) -> Result<Self, String> {
        for (what, text) in [("image", &self.image), ("class", &self.label)] {
            if text.is_empty() {
                return Err(format!("line {line} names no {what}"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str, columns: &Columns) -> Result<Vec<Row>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path, columns).map_err(|error| error.to_string())
    }

    fn row(image: &str, label: &str, split: Option<&str>) -> Row {
        Row { image: image.into(), label: label.into(), split: split.map(Into::into) }
    }

    #[test]
    fn tables_of_every_kind_say_the_same() {
        let expected = [row("a, b.jpg", "cat", Some("train")), row("c.png", "2", Some("test"))];
        let plain = Columns::default();
        let csv = "split,Filename,label\r\ntrain,\"a, b.jpg\",cat\r\n\r\ntest, c.png ,2\r\n";
        assert_eq!(read_text("x.csv", csv, &plain).unwrap(), expected);
        let semicolons = "\u{feff}image;class;split\na, b.jpg;cat;train\nc.png;2;test";
        assert_eq!(read_text("x.csv", semicolons, &plain).unwrap(), expected);
        let tabs = "image\tclass\tset\na, b.jpg\tcat\ttrain\nc.png\t2\ttest";
        assert_eq!(read_text("x.tsv", tabs, &plain).unwrap(), expected);
        let lines = "{\"image\":\"a, b.jpg\",\"label\":\"cat\",\"split\":\"train\"}\n\n{\"path\":\"c.png\",\"class\":2,\"set\":\"test\"}";
        assert_eq!(read_text("x.jsonl", lines, &plain).unwrap(), expected);
        let own = Columns { image: Some("which".into()), label: Some("what".into()), split: None };
        let found = read_text("x.csv", "what,which\ncat,1.jpg", &own).unwrap();
        assert_eq!(found, [row("1.jpg", "cat", None)]);
    }

    #[test]
    fn what_is_missing_is_named_with_its_line() {
        let plain = Columns::default();
        let refused = |name: &str, text: &str| read_text(name, text, &plain).unwrap_err();
        let message = refused("x.csv", "picture,label\na.jpg,cat");
        assert!(message.contains("no column for the image"), "{message}");
        assert!(message.contains("names picture, label"), "{message}");
        assert!(
            refused("x.csv", "image,label\na.jpg,cat\nb.jpg,\n").ends_with("line 3 names no class")
        );
        assert!(refused("x.csv", "image,label\na.jpg,cat,more\n").contains("line: 2"));
        assert!(refused("x.csv", "image,label\n").ends_with("it names no image"));
        assert!(refused("x.jsonl", "{\"image\": 1}\n").ends_with("line 1 names no class"));
        assert!(refused("x.jsonl", "{\"image\": \n").contains("line 1: "));
    }
}
