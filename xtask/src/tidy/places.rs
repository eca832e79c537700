//! No path of somebody's machine in the tree: it is wrong everywhere else.

use super::Finding;
use super::tree::Tree;

/// Folders that only a certain machine has. Put together here so that this file passes its own rule.
const FOLDERS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:\\Us", "ers\\"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| *path != "Cargo.lock") {
        for (index, line) in text.lines().enumerate() {
            if let Some(folder) = machine_path(line) {
                findings.push(Finding::line(
                    path,
                    index + 1,
                    format!("a path of one machine: `{folder}…`"),
                ));
            }
        }
    }
    findings
}

/// The first machine's folder in `line` that begins a path: `crates/…/` and a web address go on from a name.
fn machine_path(line: &str) -> Option<&'static str> {
    let begins =
        |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~*}$".contains(c));
    FOLDERS.iter().copied().find(|folder| line.match_indices(folder).any(|(at, _)| begins(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_of_a_machine_are_found() {
        for folder in FOLDERS {
            let tree = Tree::of(&[("a.md", &format!("see\n`{folder}me/x`\n"))]);
            let findings = check(&tree);
            assert!(findings.len() == 1 && findings[0].line == 2, "{folder}");
        }
    }

    #[test]
    fn relative_paths_and_addresses_pass() {
        for folder in FOLDERS {
            let text = format!("src{folder}x https://example.org{folder} $ROOT{folder}");
            assert_eq!(check(&Tree::of(&[("a.md", &text)])), [], "{text}");
        }
    }
}
