//! docs/backends.md: the last result of each backend, with date, commit and machine.

use std::path::Path;

use anyhow::{Context, Result};

use super::comparison::Difference;
use crate::stamp::Stamp;

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
        stamp: &Stamp,
    ) -> Row {
        let cells = format!(
            "{} | {:.1e} | `{}` | {tolerance:e} | {seconds:.1} s | {}",
            difference.tensors,
            difference.relative,
            difference.tensor,
            stamp.cells()
        );
        Row { name: name.to_owned(), cells }
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
}
