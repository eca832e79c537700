//! Files that a verb writes: what is there already stays, unless `--force` says otherwise.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::errors::Failure;

/// The option `--force` of a verb.
#[derive(Args, Clone, Copy, Debug)]
pub struct Force {
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

impl Force {
    /// Whether the user gave it.
    pub fn given(self) -> bool {
        self.force
    }

    /// Refuses a file that can't or mustn't be written, before any work is done for it.
    ///
    /// # Errors
    ///
    /// Wrong use if something is in its place or its folder isn't there.
    pub fn file(self, path: &Path) -> Result<(), Failure> {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                Err(Failure::usage(format!("{shown} is a folder")).hint("name a file to write"))
            }
            // Writing would put a file in the place of a device or a pipe.
            Ok(found) if !found.is_file() => {
                Err(Failure::usage(format!("{shown} is no plain file"))
                    .hint("name a file to write"))
            }
            Ok(_) if !self.force => Err(Failure::usage(format!("{shown} is there already"))
                .hint("name another file, or add --force to overwrite it")),
            Ok(_) => Ok(()),
            Err(_) => match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                    Err(Failure::usage(format!("{shown}: there is no folder {}", folder.display()))
                        .hint("make the folder first, or name a file in another one"))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Refuses a folder to write into that is something else.
///
/// # Errors
///
/// Wrong use if a file has its name.
pub fn folder(path: &Path) -> Result<(), Failure> {
    if path.exists() && !path.is_dir() {
        return Err(Failure::usage(format!("{} is a file", path.display()))
            .hint("name a folder to write into"));
    }
    Ok(())
}

/// The first of `name`, `name-2`, `name-3` … with `ending` behind it that isn't there.
pub fn numbered(name: &Path, ending: &str) -> PathBuf {
    let name = name.as_os_str();
    (1_u64..)
        .map(|number| {
            let mut numbered = name.to_owned();
            if number > 1 {
                numbered.push(format!("-{number}"));
            }
            numbered.push(ending);
            numbered.into()
        })
        .find(|path: &PathBuf| !path.exists())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_unless_forced_and_folders_always_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        let [asked, forced] = [false, true].map(|force| Force { force });
        assert!(asked.file(&file).is_ok() && asked.file(Path::new("in-this-folder.png")).is_ok());
        fs::write(&file, "mine").unwrap();
        assert!(asked.file(&file).is_err() && forced.file(&file).is_ok());
        for other in [folder.path(), &file.join("b.png"), &folder.path().join("none/b.png")] {
            assert!(forced.file(other).is_err(), "{}", other.display());
        }
        #[cfg(unix)]
        assert!(forced.file(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn a_name_is_numbered_until_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let stem = folder.path().join("sheet");
        assert_eq!(numbered(&stem, ".png"), folder.path().join("sheet.png"));
        for taken in ["sheet.png", "sheet-2.png"] {
            fs::write(folder.path().join(taken), "").unwrap();
        }
        assert_eq!(numbered(&stem, ".png"), folder.path().join("sheet-3.png"));
        assert_eq!(numbered(&stem, ""), stem);
    }
}
