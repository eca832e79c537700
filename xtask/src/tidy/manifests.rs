//! What every Cargo.toml of ours says.

use super::Finding;
use super::tree::Tree;

/// What a crate inherits from the workspace.
const INHERITED: &[&str] = &["version", "edition", "license"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.texts()
        .filter(|(path, _)| path.ends_with("/Cargo.toml"))
        .flat_map(|(path, text)| manifest(path, text))
        .collect()
}

fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let description = value(text, "package", "description").unwrap_or_default();
    if description.trim_matches('"').len() < 10 {
        findings
            .push(Finding::file(path, "no `description`: one sentence of what the crate is for"));
    }
    // A crate that embeds somebody else's file adds that file's licence.
    let extended = value(text, "package", "license")
        .is_some_and(|license| license.starts_with("\"(MIT OR Apache-2.0) AND "));
    // What is compared with kiln lives in a workspace of its own and inherits nothing.
    if text.lines().any(|line| line.trim() == "[workspace]") {
        return findings;
    }
    for key in INHERITED {
        if value(text, "package", &format!("{key}.workspace")) != Some("true")
            && !(extended && *key == "license")
        {
            findings.push(Finding::file(
                path,
                format!("`{key}` must come from the workspace: {key}.workspace = true"),
            ));
        }
    }
    if value(text, "lints", "workspace") != Some("true") {
        findings.push(Finding::file(path, "no workspace lints: [lints] workspace = true"));
    }
    for (line, entry) in section_lines(text, |section| section.ends_with("dependencies")) {
        if entry.contains('=') && !entry.contains("workspace") {
            findings.push(Finding::line(
                path,
                line,
                "versions live in the workspace's table: { workspace = true }",
            ));
        }
    }
    findings
}

/// The value of `key` in `[section]`, as written.
fn value<'text>(text: &'text str, section: &'text str, key: &str) -> Option<&'text str> {
    section_lines(text, move |name| name == section).find_map(|(_, line)| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then_some(value.trim())
    })
}

/// The numbered lines of the sections that `wanted` picks, without comments, blanks and continued arrays.
fn section_lines<'text>(
    text: &'text str,
    wanted: impl Fn(&str) -> bool + 'text,
) -> impl Iterator<Item = (usize, &'text str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = wanted(section);
            return None;
        }
        (inside && !line.is_empty() && !line.starts_with('#')).then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"kiln-x\"\ndescription = \"Something that kiln needs.\"\nversion.workspace = true\n\
        edition.workspace = true\nlicense.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\n# why\n\
        burn = { workspace = true, features = [\"flex\"] }\nserde.workspace = true\n";

    fn messages(text: &str) -> Vec<Finding> {
        check(&Tree::of(&[("crates/kiln-x/Cargo.toml", text), ("Cargo.toml", "[workspace]")]))
    }

    #[test]
    fn a_workspace_of_its_own_needs_its_description_only() {
        let other = "[workspace]\n[package]\nname = \"x\"\nversion = \"1.0.0\"\n";
        assert_eq!(messages(other).len(), 1);
    }

    #[test]
    fn a_whole_manifest_passes() {
        assert_eq!(messages(GOOD), []);
    }

    #[test]
    fn each_missing_line_is_found() {
        for line in [
            "description = \"Something that kiln needs.\"\n",
            "edition.workspace = true\n",
            "[lints]\nworkspace = true\n",
        ] {
            assert_eq!(messages(&GOOD.replace(line, "")).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_version_of_its_own_is_found() {
        let found = messages(&format!(
            "{GOOD}rayon = \"1\"\n\n[dev-dependencies]\nproptest = {{ version = \"1\" }}\n"
        ));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [15, 18]);
    }
}
