//! The sections of a `.cfg` and the values in them, each with its line.

use std::str::FromStr;

/// What is wrong, and in which line.
#[derive(Debug)]
pub(super) struct Fault {
    pub line: usize,
    pub reason: String,
}

/// `[kind]` and the lines until the next one.
#[derive(Debug)]
pub(super) struct Section {
    /// Line of the head, from 1.
    pub line: usize,
    pub kind: String,
    /// Line, key and value. Of a key that comes twice the first one counts, as in darknet.
    options: Vec<(usize, String, String)>,
}

/// The sections of `text` in order. Blanks count nowhere, `#` and `;` begin lines that don't count, as in darknet.
pub(super) fn sections(text: &str) -> Result<Vec<Section>, Fault> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, content) in text.lines().enumerate().map(|(at, content)| (at + 1, content)) {
        let content: String = content.chars().filter(|c| !c.is_whitespace()).collect();
        if content.is_empty() || content.starts_with(['#', ';', '\u{feff}']) {
            continue;
        }
        if let Some(head) = content.strip_prefix('[') {
            let Some((kind, _)) = head.split_once(']') else {
                return fault(line, format!("`{}` has no `]`", short(&content)));
            };
            sections.push(Section { line, kind: kind.to_owned(), options: Vec::new() });
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            let expected = "expected [section] or key=value";
            return fault(line, format!("{expected}, found `{}`", short(&content)));
        };
        let Some(section) = sections.last_mut() else {
            return fault(line, "the file must begin with [net]".to_owned());
        };
        // A comment may follow a value.
        let value = value.split('#').next().unwrap_or_default();
        section.options.push((line, key.to_owned(), value.to_owned()));
    }
    Ok(sections)
}

pub(super) fn fault<T>(line: usize, reason: String) -> Result<T, Fault> {
    Err(Fault { line, reason })
}

/// As much of `text` as a message can take.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Section {
    /// The line and value of `key`.
    pub fn find(&self, key: &str) -> Option<(usize, &str)> {
        let found = self.options.iter().find(|(_, name, _)| name == key);
        found.map(|(line, _, value)| (*line, value.as_str()))
    }

    /// The line of `key`, else that of the section.
    pub fn line_of(&self, key: &str) -> usize {
        self.find(key).map_or(self.line, |(line, _)| line)
    }

    /// The number at `key`, which must be in `range`.
    pub fn number(
        &self,
        key: &str,
        default: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, Fault> {
        let Some((line, value)) = self.find(key) else { return Ok(default) };
        match value.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let (least, most) = (range.start(), range.end());
                let found = short(value);
                fault(
                    line,
                    format!("{key} must be a whole number from {least} to {most}, found `{found}`"),
                )
            }
        }
    }

    pub fn is_set(&self, key: &str) -> Result<bool, Fault> {
        Ok(self.number(key, 0, 0..=1)? == 1)
    }

    /// The finite number at `key`.
    pub fn real(&self, key: &str, default: f32) -> Result<f32, Fault> {
        let Some((line, value)) = self.find(key) else { return Ok(default) };
        match value.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => fault(line, format!("{key} must be a number, found `{}`", short(value))),
        }
    }

    /// The numbers at `key`, with commas between them; none if there is no such key.
    pub fn list<T: FromStr>(&self, key: &str) -> Result<Vec<T>, Fault> {
        let Some((line, value)) = self.find(key) else { return Ok(Vec::new()) };
        let words = value.split(',').filter(|word| !word.is_empty());
        words
            .map(|word| match word.parse() {
                Ok(number) => Ok(number),
                Err(_) => fault(line, format!("{key} must be numbers, found `{}`", short(word))),
            })
            .collect()
    }
}
