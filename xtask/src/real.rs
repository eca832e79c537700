//! `cargo xtask real [DATA]`: the tests named `real_*`, on complete data sets and real weights.
//!
//! The data isn't in the repository. A test finds it through `$KILN_REAL_DATA`; ordinary runs leave these tests out.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command::root;
use crate::runner::{self, Selection};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let data = match arguments {
        [] => std::env::var_os("KILN_REAL_DATA").map(PathBuf::from),
        [data] => Some(PathBuf::from(data)),
        _ => bail!("give one folder: cargo xtask real DATA"),
    };
    let data = data.unwrap_or_else(|| root().join("../shared/data"));
    let data = folder(&data)?;
    let summary = runner::run(&runner::call(&Selection::Real(data)))?;
    for line in summary {
        println!("{line}");
    }
    Ok(())
}

/// The full path of `data`: a test runs in its crate's folder, where a relative one would miss.
fn folder(data: &Path) -> Result<String> {
    match std::fs::canonicalize(data) {
        Ok(path) if path.is_dir() => Ok(path.display().to_string()),
        _ => bail!(
            "no folder {}; name the one that holds mnist/ and its like: cargo xtask real DATA",
            data.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_named_with_the_remedy() {
        let error = folder(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(
            error.contains("no/such/folder") && error.contains("cargo xtask real DATA"),
            "{error}"
        );
    }
}
