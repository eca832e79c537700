//! docs/performance.md: one section per measurement, renewed by itself.

use anyhow::{Context, Result};

use crate::command::root;
use crate::stamp::Stamp;

const HEAD: &str = "\
# Performance

What `cargo xtask bench` measured. A section is written by the command that it names and by nothing else.
";

/// Replaces the section called `title`; when, of what and where it was measured is added to `body`.
pub(super) fn renew(stamp: &Stamp, title: &str, body: &str) -> Result<()> {
    let file = root().join("docs/performance.md");
    let old = std::fs::read_to_string(&file).unwrap_or_default();
    let page = renewed(&old, title, &format!("{}\n\n{}\n", body.trim_end(), stamp.line()));
    std::fs::create_dir_all(root().join("docs")).context("cannot make docs")?;
    std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))
}

fn renewed(old: &str, title: &str, body: &str) -> String {
    let old = if old.trim().is_empty() { HEAD } else { old };
    let mut parts = old.split("\n## ");
    let head = parts.next().unwrap_or_default().trim_end().to_owned();
    let section = format!("{title}\n\n{body}");
    let mut found = false;
    let mut sections = Vec::new();
    for part in parts {
        if part.lines().next() == Some(title) {
            found = true;
            sections.push(section.clone());
        } else {
            sections.push(part.to_owned());
        }
    }
    if !found {
        sections.push(section);
    }
    sections.iter().fold(head, |page, section| format!("{page}\n\n## {}", section.trim_end()))
        + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_added_once_and_then_replaced_in_its_place() {
        let page = renewed("", "A", "one\n");
        let page = renewed(&page, "B", "two\n");
        let page = renewed(&page, "A", "three\n");

        assert!(page.starts_with("# Performance\n"), "{page}");
        assert!(page.ends_with("\n\n## A\n\nthree\n\n## B\n\ntwo\n"), "{page}");
    }
}
