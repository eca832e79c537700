//! The files of the project, as git sees them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::command::Call;

/// Paths from the root, with `/`, and the text of the text files.
pub(super) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Tracked files and new ones that git doesn't ignore.
    pub(super) fn read(root: &Path) -> Result<Tree> {
        let list =
            Call::new("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
                .output()?;
        let mut files = BTreeMap::new();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            let full = root.join(path);
            // A link shows another room's files again, and a deleted file may still be in the index.
            if full.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                files.insert(path.to_owned(), std::fs::read_to_string(full).ok());
            }
        }
        Ok(Tree { files })
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Tree {
        let file = |&(path, text): &(&str, &str)| (path.to_owned(), Some(text.to_owned()));
        Tree { files: files.iter().map(file).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The text of one file; none for a binary or missing one.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Every text file.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The paths of all files, binary ones too.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The names of the folders directly in `room` ("models/").
    pub(super) fn folders(&self, room: &str) -> Vec<&str> {
        let inside = self.paths().filter_map(|path| path.strip_prefix(room)?.split_once('/'));
        let mut folders: Vec<&str> = inside.map(|(folder, _)| folder).collect();
        folders.dedup();
        folders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_once() {
        let tree = Tree::of(&[
            ("models/a/README.md", ""),
            ("models/a/x.toml", ""),
            ("models/b/y", ""),
            ("models/z", ""),
        ]);
        assert_eq!(tree.folders("models/"), ["a", "b"]);
    }
}
