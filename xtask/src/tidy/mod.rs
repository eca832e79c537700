//! `cargo xtask tidy`: the house rules that need no build. Each file here is one group of rules, a function from what
//! it reads to findings, so that its tests need no workspace.

mod layers;
mod manifests;
mod places;
mod rooms;
mod rust;
mod source;
mod tree;
mod units;

use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{Call, root};
use tree::Tree;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("tidy takes no argument, not `{argument}`");
    }
    let tree = Tree::read(&root())?;
    let mut findings = Vec::new();
    findings.extend(layers::check(&metadata()?)?);
    findings.extend(units::check(&units::trees()?));
    findings.extend(manifests::check(&tree));
    findings.extend(source::check(&tree));
    findings.extend(places::check(&tree));
    findings.extend(rooms::check(&tree));
    if findings.is_empty() {
        println!("tidy: {} files", tree.len());
        return Ok(());
    }
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("{} untidy places", findings.len());
}

/// `cargo metadata` of the workspace's own packages.
pub(crate) fn metadata() -> Result<Value> {
    let text = Call::cargo("metadata --format-version 1 --no-deps --locked").output()?;
    serde_json::from_str(&text).context("`cargo metadata` wrote no JSON")
}

/// A broken rule, at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1; 0 means the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn file(path: &str, message: impl Into<String>) -> Finding {
        Finding::line(path, 0, message)
    }

    fn line(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_like_a_compiler_message() {
        assert_eq!(Finding::line("a.rs", 3, "too long").to_string(), "a.rs:3: too long");
        assert_eq!(Finding::file("a.rs", "no header").to_string(), "a.rs: no header");
    }
}
