//! docs/backends.md: the last result of each backend, with date, commit and machine.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::comparison::Difference;
use crate::command::Call;

const HEAD: &str = "\
# Backends compared

`cargo xtask backends` takes one training step of LeNet-5 (forward, loss, backward, an optimizer step) from the same
weights on the same images on every backend, and compares the loss, the scores, each gradient and each new weight with
flex. The difference is `max|a - b| / max|b|` of a tensor; the table shows the worst tensor. The wgpu row runs on a
software Vulkan driver (Mesa's lavapipe) unless `VK_DRIVER_FILES` names another.

| backend | tensors | largest difference | in | allowed | step | date | commit | machine |
| --- | ---: | ---: | --- | ---: | ---: | --- | --- | --- |
";

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    name: String,
    cells: String,
}

impl Row {
    pub(super) fn new(
        name: &str,
        tolerance: f64,
        difference: &Difference,
        seconds: f64,
    ) -> Result<Row> {
        let cells = format!(
            "{} | {:.1e} | `{}` | {tolerance:e} | {seconds:.1} s | {} | {} | {} |",
            difference.tensors,
            difference.relative,
            difference.tensor,
            today()?,
            commit(),
            machine()
        );
        Ok(Row { name: name.to_owned(), cells })
    }
}

/// Puts `rows` into the file; rows of other backends stay as they were.
pub(super) fn update(path: &Path, rows: &[Row]) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, merged(&old, rows))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn merged(old: &str, rows: &[Row]) -> String {
    let mut all: Vec<Row> = old.lines().filter_map(parse).collect();
    for row in rows {
        match all.iter_mut().find(|other| other.name == row.name) {
            Some(other) => other.clone_from(row),
            None => all.push(row.clone()),
        }
    }
    let lines: String =
        all.iter().map(|row| format!("| `{}` | {}\n", row.name, row.cells)).collect();
    format!("{HEAD}{lines}")
}

fn parse(line: &str) -> Option<Row> {
    let (name, cells) = line.strip_prefix("| `")?.split_once("` | ")?;
    Some(Row { name: name.to_owned(), cells: cells.to_owned() })
}

/// The commit, and whether the tree holds more than it.
fn commit() -> String {
    let Ok(hash) = Call::new("git", ["rev-parse", "--short", "HEAD"]).output() else {
        return "none yet".to_owned();
    };
    let changed = Call::new("git", ["status", "--porcelain"])
        .output()
        .is_ok_and(|list| !list.trim().is_empty());
    format!("{}{}", hash.trim(), if changed { " and changes" } else { "" })
}

/// The processor and its threads.
fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = list.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{model}, {threads} threads")
}

/// Today in UTC, as `2026-01-31`.
fn today() -> Result<String> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?
        .as_secs();
    let (year, month, day) = date(seconds / 86_400);
    Ok(format!("{year}-{month:02}-{day:02}"))
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01. Years are counted from March, so that the
/// leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, cells: &str) -> Row {
        Row { name: name.to_owned(), cells: cells.to_owned() }
    }

    #[test]
    fn other_backends_keep_their_rows() {
        let first = merged("", &[row("ndarray", "1 |"), row("wgpu", "2 |")]);
        let second = merged(&first, &[row("wgpu", "3 |")]);
        assert!(second.contains("| `ndarray` | 1 |\n| `wgpu` | 3 |\n"), "{second}");
        assert!(!second.contains("2 |\n"), "{second}");
        assert_eq!(merged(&second, &[]), second);
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_453), (2025, 12, 31));
    }
}
