//! Data and weights that are not part of the repository.

use std::path::{Path, PathBuf};

/// The folder `name` of the real data, for tests called `real_…`: in `$KILN_REAL_DATA`, or else beside the repository in
/// `../shared/data`. Where there is none, it says so, and the test has nothing to do.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("KILN_REAL_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no real data");
    None
}
